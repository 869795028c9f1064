snug_add_passes(Memory memory SOURCES Bufferize.cpp PlanArena.cpp VerifyPlan.cpp LINK SnugAnalysis SnugNn SnugPlan SnugSolver)
