snug_add_passes(Schedule schedule SOURCES Schedule.cpp LINK SnugNn SnugAnalysis)
