snug_add_passes(Fuse fuse SOURCES Convolutions.cpp Epilogues.cpp FoldCopies.cpp Fuse.cpp FuseRows.cpp ScalarExpression.cpp VerifyKernels.cpp LINK SnugNn)
