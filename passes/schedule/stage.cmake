snug_add_passes(Schedule schedule SOURCES Bodies.cpp Destinations.cpp Schedule.cpp LINK SnugMesh SnugNn SnugAnalysis)
