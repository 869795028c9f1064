snug_add_passes(Memory memory SOURCES Bufferize.cpp ChooseBuckets.cpp PlaceParts.cpp PlanArena.cpp VerifyPlan.cpp LINK SnugAnalysis SnugNn SnugPlan SnugSolver)
