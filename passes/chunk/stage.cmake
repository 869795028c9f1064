snug_add_passes(Chunk chunk SOURCES SelectChunks.cpp BuildProblem.cpp Blocks.cpp ChunkSearch.cpp GrowRegion.cpp LoopBody.cpp LoopBuffers.cpp PlanCost.cpp PlanTime.cpp ApplyChunks.cpp LoosenSharing.cpp SplitNorms.cpp LowerBounds.cpp SeparateInits.cpp SearchState.cpp
  LINK SnugNn SnugAnalysis SnugSolver)
