snug_add_passes(Canonicalize canonicalize
  SOURCES BuildingBlocks.cpp DimSymbols.cpp ElementTypes.cpp Extents.cpp InlineFunctions.cpp LoweredValues.cpp Lowering.cpp LoweringTable.cpp LowerOnnx.cpp
    OpSchemas.cpp Reshape.cpp VerifyCanonical.cpp WidenFloats.cpp Window.cpp ops/Activations.cpp ops/Attention.cpp ops/ClosedIntegers.cpp ops/Contraction.cpp ops/Convolution.cpp
    ops/Cast.cpp ops/Einsum.cpp ops/Elementwise.cpp ops/Gather.cpp ops/Layout.cpp ops/Pad.cpp ops/Positions.cpp ops/Pooling.cpp ops/Quantization.cpp ops/Reduce.cpp ops/Resize.cpp
    ops/RotaryEmbedding.cpp ops/Rows.cpp ops/Shape.cpp
  LINK SnugNn SnugOnnx)

set(schemas ${CMAKE_CURRENT_BINARY_DIR}/canonicalize/OpSchemas.inc)
set(generator ${CMAKE_CURRENT_SOURCE_DIR}/canonicalize/generate_schemas.py)
add_custom_command(OUTPUT ${schemas} COMMAND ${SNUG_PYTHON} ${generator} ${schemas} DEPENDS ${generator} ${SNUG_ONNX_PROTO} VERBATIM)
add_custom_target(SnugOpSchemas DEPENDS ${schemas})
add_dependencies(SnugCanonicalizePasses SnugOpSchemas)
