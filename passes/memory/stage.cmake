snug_add_passes(Memory memory SOURCES Bufferize.cpp DeferWaits.cpp ChooseBuckets.cpp OverlapCollectives.cpp OverlapPrice.cpp PlaceParts.cpp PlanArena.cpp ReserveWorkspace.cpp RowChain.cpp VerifyInFlight.cpp VerifyPlan.cpp
  LINK SnugAnalysis SnugMesh SnugNn SnugPlan SnugSolver)
