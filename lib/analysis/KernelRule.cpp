// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/KernelRule.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace snug;

// Rows that a contraction holds in registers and packs at once; shorter slices waste the tile.
static constexpr int64_t kContractionRows = 16;
// Operations an element for exp and the like, which dominate elementwise kernels and rows.
static constexpr double kRowOperations = 8;

// A block of rows keeps its weighted values on the stack.
static constexpr int64_t kLargestHead = 512;

bool snug::streamsAttention(int64_t headSize, int64_t valueSize) {
  return !ShapedType::isDynamic(headSize) && !ShapedType::isDynamic(valueSize) && headSize <= kLargestHead &&
         valueSize <= kLargestHead;
}

KernelRule snug::kernelRule(Operation *op, const IndexRule &rule, ArrayRef<int64_t> extents) {
  KernelRule kernel;
  kernel.tile.assign(rule.dims.size(), 1);
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp>(op)) {
    kernel.movesNoData = true;
    return kernel;
  }
  double iterations = 1;
  for (int64_t extent : extents)
    iterations *= static_cast<double>(extent);
  if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
    // Both products.
    int64_t d = extents[attention.headSizeDim()], e = extents[attention.valueSizeDim()];
    kernel.flops = 2 * iterations / std::max<int64_t>(1, e) + 2 * iterations / std::max<int64_t>(1, d);
    kernel.tile[attention.rowDim()] = kContractionRows;
    return kernel;
  }
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  bool contraction = isa<nn::ContractOp>(op) ||
                     (linalgOp && linalgOp.getNumDpsInputs() == 2 && linalg::isaContractionOpInterface(linalgOp));
  if (!contraction) {
    if (isa<nn::GatherOp>(op)) // one element of the gathered dim each
      iterations /= static_cast<double>(std::max<int64_t>(1, extents.back()));
    kernel.flops = iterations * (isa<nn::SoftmaxOp, nn::NormOp, linalg::SoftmaxOp>(op) ? kRowOperations : 1);
    return kernel;
  }
  kernel.flops = 2 * iterations;
  // Rows and columns, but not the batch: in one factor and the result only. Several dims of one factor are the rows
  // together, so that a step of an outer one is as many rows as the inner ones have.
  for (unsigned factor : {0, 1}) {
    int64_t inner = 1;
    for (int64_t dim = rule.dims.size() - 1; dim >= 0; --dim) {
      auto has = [&](AffineMap map) { return map && map.isFunctionOfDim(dim); };
      if (rule.dims[dim].kind == IterKind::Reduction || !has(rule.operands[factor]) || has(rule.operands[1 - factor]))
        continue;
      if (rule.dims[dim].kind == IterKind::Parallel)
        kernel.tile[dim] = std::max<int64_t>(1, kContractionRows / inner);
      inner *= std::clamp<int64_t>(extents[dim], 1, kContractionRows);
    }
  }
  return kernel;
}

bool snug::mayBeRecomputed(Operation *op) {
  auto dps = dyn_cast<DestinationStyleOpInterface>(op);
  if (!dps || op->getNumResults() != 1 || !dps.getDpsInitOperand(0)->get().getDefiningOp<tensor::EmptyOp>())
    return false;
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return linalgOp.getNumParallelLoops() == linalgOp.getNumLoops();
  return isa<nn::NormOp>(op);
}
