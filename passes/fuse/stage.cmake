snug_add_passes(Fuse fuse SOURCES Fuse.cpp FuseAttention.cpp TensorAccess.cpp VerifyKernels.cpp LINK SnugNn SnugAnalysis)
