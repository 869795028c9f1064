snug_add_passes(Fuse fuse
  SOURCES AttentionOperands.cpp Convolutions.cpp Epilogues.cpp FoldCopies.cpp Fuse.cpp FuseAttention.cpp FuseRows.cpp ScalarExpression.cpp ScatteredViews.cpp SelectForms.cpp SplitKeys.cpp TensorAccess.cpp
    VerifyKernels.cpp
  LINK SnugNn SnugAnalysis)
