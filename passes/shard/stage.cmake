snug_add_passes(Shard shard SOURCES Annotations.cpp CutCandidates.cpp FunctionLayouts.cpp KeysInParts.cpp LayoutCosts.cpp LayoutSearch.cpp
  Layouts.cpp LinearLayers.cpp LocalOps.cpp OpenExtents.cpp Partition.cpp Pins.cpp Resharding.cpp RowsInParts.cpp SelectLayouts.cpp ShardRule.cpp Summands.cpp
  VerifyPartition.cpp
  LINK SnugNn SnugMesh SnugAnalysis SnugSolver)
