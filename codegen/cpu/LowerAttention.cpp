// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/NnDialect.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

KernelRange codegen::planAttention(nn::AttentionOp, const CpuTarget &) { return {}; }
LogicalResult codegen::lowerAttention(nn::AttentionOp op, KernelBuilder &) { return op.emitOpError("has no CPU kernel yet"); }
