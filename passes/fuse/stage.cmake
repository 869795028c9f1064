snug_add_passes(Fuse fuse SOURCES Epilogues.cpp FoldCopies.cpp Fuse.cpp FuseRows.cpp ScalarExpression.cpp VerifyKernels.cpp LINK SnugNn)
