snug_add_passes(Schedule schedule SOURCES Schedule.cpp Order.cpp IndexBounds.cpp LINK SnugNn)
