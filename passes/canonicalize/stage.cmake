snug_add_passes(Canonicalize canonicalize
  SOURCES BuildingBlocks.cpp DimSymbols.cpp Extents.cpp InlineFunctions.cpp LoweredValues.cpp Lowering.cpp LoweringTable.cpp LowerOnnx.cpp
    Reshape.cpp ScalarKernel.cpp VerifyCanonical.cpp WidenFloats.cpp Window.cpp ops/Activations.cpp ops/Attention.cpp ops/AttentionSteps.cpp ops/ClosedIntegers.cpp ops/Contraction.cpp ops/Convolution.cpp
    ops/Cast.cpp ops/Einsum.cpp ops/Elementwise.cpp ops/Gather.cpp ops/Layout.cpp ops/Pad.cpp ops/Positions.cpp ops/Pooling.cpp ops/Reduce.cpp ops/Resize.cpp
    ops/RotaryEmbedding.cpp ops/Rows.cpp ops/Shape.cpp
    ops/Classic.cpp ops/Images.cpp ops/Indexed.cpp ops/Legacy.cpp ops/Loss.cpp ops/Random.cpp ops/Sampling.cpp ops/Scans.cpp ops/Spectrum.cpp ops/Training.cpp
  LINK SnugNn SnugOnnx)
