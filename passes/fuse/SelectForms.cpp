// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "passes/fuse/Passes.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/fuse/SpellOutRows.h"
#include "passes/fuse/SplitKeys.h"
#include "passes/fuse/SplitSums.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
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
    IndexBounds bounds(getOperation());
    if (auto few = getOperation()->getAttrOfType<IntegerAttr>("snug.few_rows"))
      selectFewRows(few.getInt(), bounds);
    auto blocks = getOperation()->getAttrOfType<IntegerAttr>("snug.blocks");
    spellOutSteps(blocks ? blocks.getInt() : 0, bounds);
    if (blocks)
      splitReductions(blocks.getInt(), bounds);
  }

private:
  void selectFewRows(int64_t few, IndexBounds &bounds) {
    SmallVector<nn::AttentionOp> attentions;
    getOperation().walk([&](nn::AttentionOp op) { attentions.push_back(op); });
    for (nn::AttentionOp op : attentions) {
      std::optional<int64_t> rows = extentOf(op, op.rowDim(), 0, bounds);
      op.setFewRows(rows && *rows <= few);
      if (int64_t parts = partsOf(op, bounds); parts > 1)
        splitKeys(op, parts);
    }
    getOperation().walk([&](nn::ContractOp op) {
      auto areFew = [&](unsigned factor) {
        std::optional<int64_t> count = countOf(op, factor, bounds);
        return count && *count <= few;
      };
      if (areFew(0))
        op.setFewRows(true);
      else if (areFew(1))
        op.setFewColumns(true);
    });
  }
  // The most elements that a tensor can have, but for those along `dim`; nothing if nothing bounds them.
  static std::optional<int64_t> rowsOf(Value tensor, int64_t dim, IndexBounds &bounds) {
    int64_t rows = 1;
    for (int64_t other = 0; other < cast<RankedTensorType>(tensor.getType()).getRank(); ++other) {
      std::optional<Interval> extent = other == dim ? Interval{1, 1} : bounds.ofDim(tensor, other);
      std::optional<int64_t> product = extent ? llvm::checkedMul(rows, extent->max) : std::nullopt;
      if (!product)
        return std::nullopt;
      rows = *product;
    }
    return rows;
  }
  template <class Op> SmallVector<Op> collect() {
    SmallVector<Op> ops;
    getOperation().walk([&](Op op) { ops.push_back(op); });
    return ops;
  }
  // Scans and sorts become scalar code, a row after the other, where no block of threads works on each.
  void spellOutSteps(int64_t blocks, IndexBounds &bounds) {
    constexpr int64_t longRow = 128, threadsOfBlock = 256;
    auto isForBlocks = [&](Value input, int64_t dim) {
      std::optional<Interval> length = bounds.ofDim(input, dim);
      std::optional<int64_t> rows = rowsOf(input, dim, bounds);
      // Of rows that lie across each other, threads side by side read neighbours.
      bool isAcross = dim + 1 < cast<RankedTensorType>(input.getType()).getRank();
      bool fillsTarget = isAcross && rows && *rows >= blocks * threadsOfBlock;
      return blocks && !fillsTarget && (!length || length->max >= longRow);
    };
    for (nn::ScanOp op : collect<nn::ScanOp>())
      if (!isForBlocks(op.getInput(), op.getDim()))
        spellOut(op);
    for (nn::TopKOp op : collect<nn::TopKOp>())
      if (!isForBlocks(op.getInput(), op.getDim()))
        spellOut(op);
  }
  // Where results alone do not give a target as many blocks as it wants. Of few long rows, softmax and norms are the same.
  void splitReductions(int64_t blocks, IndexBounds &bounds) {
    constexpr int64_t longRow = 65536, leastParts = 4; // worth the starts of several kernels
    auto areFewLongRows = [&](Value input) {
      int64_t last = cast<RankedTensorType>(input.getType()).getRank() - 1;
      std::optional<Interval> length = bounds.ofDim(input, last);
      std::optional<int64_t> rows = rowsOf(input, last, bounds);
      return length && length->max >= longRow && rows && *rows * leastParts <= blocks;
    };
    for (nn::SoftmaxOp op : collect<nn::SoftmaxOp>())
      if (areFewLongRows(op.getInput()))
        spellOut(op);
    for (nn::NormOp op : collect<nn::NormOp>())
      if (areFewLongRows(op.getInput())) {
        Block *block = op->getBlock();
        if (!splitNorm(op))
          spellOut(op);
        for (Operation &left : llvm::make_early_inc_range(llvm::reverse(*block))) // views and a destination that nobody uses any more
          if (isOpTriviallyDead(&left))
            left.erase();
      }
    SmallVector<linalg::GenericOp> reductions;
    getOperation().walk([&](linalg::GenericOp op) {
      if (!op.getNumReductionLoops() || !op.hasPureTensorSemantics())
        return;
      reductions.push_back(op);
      for (Value value : op.getBlock()->getTerminator()->getOperands()) // products of all are in any order, as sums are
        if (auto product = value.getDefiningOp<arith::MulFOp>())
          product.setFastmath(product.getFastmath() | arith::FastMathFlags::reassoc);
    });
    for (linalg::GenericOp op : reductions)
      if (int64_t parts = snug::partsOf(op, blocks, bounds); parts > 1)
        splitSums(op, parts);
  }
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
