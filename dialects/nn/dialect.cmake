# snug_nn.text has files of its own: few need it.
set(LLVM_TARGET_DEFINITIONS nn/TextKind.td)
mlir_tablegen(nn/TextKind.h.inc -gen-enum-decls)
mlir_tablegen(nn/TextKind.cpp.inc -gen-enum-defs)
set(LLVM_TARGET_DEFINITIONS nn/TextOps.td)
mlir_tablegen(nn/TextOps.h.inc -gen-op-decls "-op-include-regex=snug_nn[.]text" EXTRA_INCLUDES ${PROJECT_SOURCE_DIR})
mlir_tablegen(nn/TextOps.cpp.inc -gen-op-defs "-op-include-regex=snug_nn[.]text" EXTRA_INCLUDES ${PROJECT_SOURCE_DIR})
# Nor do many need snug_nn.scatter.
set(LLVM_TARGET_DEFINITIONS nn/ScatterOp.td)
mlir_tablegen(nn/ScatterOp.h.inc -gen-op-decls "-op-include-regex=snug_nn[.]scatter" EXTRA_INCLUDES ${PROJECT_SOURCE_DIR})
mlir_tablegen(nn/ScatterOp.cpp.inc -gen-op-defs "-op-include-regex=snug_nn[.]scatter" EXTRA_INCLUDES ${PROJECT_SOURCE_DIR})
snug_add_dialect(Nn nn SOURCES Contiguous.cpp Floats.cpp NnDialect.cpp NnOps.cpp IndexRule.cpp IndexRuleModels.cpp PartialReduce.cpp ScalarKernel.cpp Scans.cpp ScatterOp.cpp TextOps.cpp INTERFACES IndexRuleInterface)
set(TABLEGEN_OUTPUT)
