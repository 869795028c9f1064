snug_add_passes(Chunk chunk SOURCES SelectChunks.cpp ChunkPlanner.cpp BuildProblem.cpp Blocks.cpp ChunkSearch.cpp Descent.cpp GrowRegion.cpp SearchState.cpp LoopBody.cpp LoopBuffers.cpp OrderMembers.cpp PlanCost.cpp PlanTime.cpp ApplyChunks.cpp SliceRanges.cpp CarryOut.cpp BlockSearch.cpp LoosenSharing.cpp SplitNorms.cpp LowerBounds.cpp SeparateInits.cpp
  LINK SnugNn SnugAnalysis SnugSolver)
