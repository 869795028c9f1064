snug_add_passes(Fuse fuse SOURCES Epilogues.cpp FoldCopies.cpp Fuse.cpp VerifyKernels.cpp LINK SnugNn)
