// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "passes/fuse/Passes.h"
#include "passes/fuse/SplitKeys.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/CheckedArithmetic.h"

#define DEBUG_TYPE "snug-select-forms"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_SELECTFORMS
#include "passes/fuse/Passes.h.inc"
} // namespace snug

namespace {
struct SelectForms : snug::impl::SelectFormsBase<SelectForms> {
  using Base::Base;

  void runOnOperation() final {
    auto few = getOperation()->getAttrOfType<IntegerAttr>("snug.few_rows");
    if (!few)
      return;
    IndexBounds bounds(getOperation());
    SmallVector<nn::AttentionOp> attentions;
    getOperation().walk([&](nn::AttentionOp op) { attentions.push_back(op); });
    for (nn::AttentionOp op : attentions) {
      std::optional<int64_t> rows = extentOf(op, op.rowDim(), 0, bounds);
      op.setFewRows(rows && *rows <= few.getInt());
      if (int64_t parts = partsOf(op, bounds); parts > 1)
        splitKeys(op, parts);
    }
    getOperation().walk([&](nn::ContractOp op) {
      auto areFew = [&](unsigned factor) {
        std::optional<int64_t> count = countOf(op, factor, bounds);
        return count && *count <= few.getInt();
      };
      if (areFew(0))
        op.setFewRows(true);
      else if (areFew(1))
        op.setFewColumns(true);
    });
  }

private:
  static std::optional<int64_t> extentOf(nn::AttentionOp op, unsigned dim, unsigned operand, IndexBounds &bounds) {
    auto place = op.getMaps()[operand].getResultPosition(getAffineDimExpr(dim, op.getContext()));
    std::optional<Interval> extent = place ? bounds.ofDim(op->getOperand(operand), *place) : std::nullopt;
    return extent ? std::optional<int64_t>(extent->max) : std::nullopt;
  }
  // In how many parts of its keys an attention of few rows is done: where heads alone do not give a target as many blocks as it wants,
  // so that it has them, but no shorter parts than are worth a block each.
  int64_t partsOf(nn::AttentionOp op, IndexBounds &bounds) {
    constexpr int64_t leastKeys = 256;
    auto blocks = getOperation()->getAttrOfType<IntegerAttr>("snug.blocks");
    std::optional<int64_t> keys = extentOf(op, op.keyDim(), 1, bounds);
    if (!blocks || !op.getFewRows() || op.getMax() || !keys)
      return 1;
    // Heads of keys: query heads that share one are in a block.
    int64_t heads = 1;
    for (auto [position, index] : llvm::enumerate(op.getMaps()[1].getResults()))
      if (!index.isFunctionOfDim(op.keyDim()) && !index.isFunctionOfDim(op.headSizeDim())) {
        std::optional<Interval> extent = bounds.ofDim(op.getK(), position);
        std::optional<int64_t> product = extent ? llvm::checkedMul(heads, extent->max) : std::nullopt;
        if (!product)
          return 1;
        heads = *product;
      }
    uint64_t parts = std::min(blocks.getInt() / std::max<int64_t>(1, heads), *keys / leastKeys);
    return static_cast<int64_t>(llvm::bit_floor(parts));
  }
  // The most rows (columns) that the result can have of what is in this factor alone; nothing if nothing bounds them.
  static std::optional<int64_t> countOf(nn::ContractOp op, unsigned factor, IndexBounds &bounds) {
    SmallVector<AffineMap> maps = op.getMaps();
    int64_t count = 1;
    for (auto [position, expr] : llvm::enumerate(maps.back().getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      if (!dim || !maps[factor].isFunctionOfDim(dim.getPosition()) || maps[1 - factor].isFunctionOfDim(dim.getPosition()))
        continue;
      std::optional<Interval> extent = bounds.ofDim(op.getInit(), position);
      std::optional<int64_t> product = extent ? llvm::checkedMul(count, extent->max) : std::nullopt;
      if (!product)
        return std::nullopt;
      count = *product;
    }
    return count;
  }
};
} // namespace
