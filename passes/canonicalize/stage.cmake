snug_add_passes(Canonicalize canonicalize
  SOURCES
    Bodies.cpp
    BuildingBlocks.cpp
    Canonicalize.cpp
    DataExtents.cpp
    DimBounds.cpp
    DimSymbols.cpp
    ElementTypes.cpp
    ExpandInputs.cpp
    Extents.cpp
    InlineFunctions.cpp
    LowerOnnx.cpp
    LoweredValues.cpp
    Lowering.cpp
    LoweringTable.cpp
    OpSchemas.cpp
    Requirements.cpp
    Reshape.cpp
    ScalarKernel.cpp
    ShareNodes.cpp
    VerifyCanonical.cpp
    WidenFloats.cpp
    Window.cpp
    ops/Activations.cpp
    ops/Attention.cpp
    ops/AttentionSteps.cpp
    ops/Cast.cpp
    ops/Classic.cpp
    ops/Classifiers.cpp
    ops/ClosedIntegers.cpp
    ops/Contraction.cpp
    ops/ContribAttention.cpp
    ops/ContribFused.cpp
    ops/ContribNorms.cpp
    ops/ContribQuantized.cpp
    ops/ControlFlow.cpp
    ops/Convolution.cpp
    ops/DataSizes.cpp
    ops/Einsum.cpp
    ops/Elementwise.cpp
    ops/Gather.cpp
    ops/Grams.cpp
    ops/GroupQueryAttention.cpp
    ops/Images.cpp
    ops/Indexed.cpp
    ops/LabelEncoder.cpp
    ops/Layout.cpp
    ops/Legacy.cpp
    ops/Logic.cpp
    ops/Loop.cpp
    ops/LoopCourse.cpp
    ops/Loss.cpp
    ops/Maps.cpp
    ops/NonMaxSuppression.cpp
    ops/Optional.cpp
    ops/Pad.cpp
    ops/Pooling.cpp
    ops/Positions.cpp
    ops/Quantization.cpp
    ops/Random.cpp
    ops/Recurrent.cpp
    ops/Reduce.cpp
    ops/Regions.cpp
    ops/Resize.cpp
    ops/ResizeAxes.cpp
    ops/RotaryEmbedding.cpp
    ops/Rows.cpp
    ops/Sampling.cpp
    ops/Scatter.cpp
    ops/Scans.cpp
    ops/Sequences.cpp
    ops/Shape.cpp
    ops/Spectrum.cpp
    ops/Strings.cpp
    ops/SupportVectors.cpp
    ops/Training.cpp
    ops/Trees.cpp
  LINK SnugMesh SnugNn SnugOnnx)

set(schemas ${CMAKE_CURRENT_BINARY_DIR}/canonicalize/OpSchemas.inc)
set(generator ${CMAKE_CURRENT_SOURCE_DIR}/canonicalize/generate_schemas.py)
add_custom_command(OUTPUT ${schemas} COMMAND ${SNUG_PYTHON} ${generator} ${schemas} DEPENDS ${generator} ${SNUG_ONNX_PROTO} VERBATIM)
add_custom_target(SnugOpSchemas DEPENDS ${schemas})
add_dependencies(SnugCanonicalizePasses SnugOpSchemas)
