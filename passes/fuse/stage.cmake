snug_add_passes(Fuse fuse SOURCES Fuse.cpp VerifyKernels.cpp LINK SnugNn)
