snug_add_passes(Chunk chunk SOURCES SelectChunks.cpp BuildProblem.cpp ChunkSearch.cpp GrowRegion.cpp ApplyChunks.cpp MemoryBounds.cpp
  LINK SnugNn SnugAnalysis SnugSolver SnugSchedulePasses)
