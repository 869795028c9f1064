snug_add_passes(Shard shard SOURCES Annotations.cpp CutCandidates.cpp FunctionLayouts.cpp LayoutCosts.cpp LayoutSearch.cpp Layouts.cpp Partition.cpp Pins.cpp Resharding.cpp RowsInParts.cpp SelectLayouts.cpp ShardRule.cpp VerifyPartition.cpp
  LINK SnugNn SnugMesh SnugAnalysis SnugSolver)
