snug_add_passes(Canonicalize canonicalize SOURCES DimSymbols.cpp Lowering.cpp InlineFunctions.cpp Reshape.cpp LoweringTable.cpp LowerOnnx.cpp
  VerifyCanonical.cpp ops/Activations.cpp ops/Attention.cpp ops/Contraction.cpp ops/Convolution.cpp ops/Einsum.cpp ops/Elementwise.cpp ops/Gather.cpp ops/Layout.cpp ops/Pooling.cpp ops/Reduce.cpp ops/Rows.cpp ops/Shape.cpp
  LINK SnugNn SnugOnnx)
