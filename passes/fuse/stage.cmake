snug_add_passes(Fuse fuse
  SOURCES AttentionOperands.cpp Convolutions.cpp Epilogues.cpp FoldCopies.cpp Fuse.cpp FuseAttention.cpp FuseRows.cpp ScalarExpression.cpp ScalarRows.cpp ScatteredViews.cpp SelectForms.cpp SpellOutRows.cpp SplitKeys.cpp SplitSums.cpp TensorAccess.cpp
    VerifyKernels.cpp
  LINK SnugNn SnugAnalysis SnugCanonicalizePasses SnugChunkPasses)
