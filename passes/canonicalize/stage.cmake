snug_add_passes(Canonicalize canonicalize
  SOURCES BuildingBlocks.cpp Canonicalize.cpp DimSymbols.cpp Extents.cpp InlineFunctions.cpp LoweredValues.cpp Lowering.cpp LoweringTable.cpp LowerOnnx.cpp
    Reshape.cpp VerifyCanonical.cpp WidenFloats.cpp Window.cpp ops/Activations.cpp ops/Attention.cpp ops/ClosedIntegers.cpp ops/Contraction.cpp ops/Convolution.cpp
    ops/Cast.cpp ops/Einsum.cpp ops/Elementwise.cpp ops/Gather.cpp ops/Layout.cpp ops/Pad.cpp ops/Positions.cpp ops/Pooling.cpp ops/Reduce.cpp ops/Resize.cpp
    ops/RotaryEmbedding.cpp ops/Rows.cpp ops/Shape.cpp
  LINK SnugNn SnugOnnx)
