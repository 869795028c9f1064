// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What parts of a program share keeps them from being chunked apart: a value that is both read whole by all iterations
// of a loop and made in it slice by slice, as the keys and the queries of attention are from one contraction of one
// normalized tensor. These rewrites give each reader its own; the results keep their bits.
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/chunk/ChunkProgram.h"

using namespace mlir;
using namespace snug;

namespace {
// A part of one dim.
struct Part {
  int64_t offset, size;
};

// The part of one column dim of a contraction that a slice reads; `position` is the dim's in the result.
std::optional<Part> partOf(tensor::ExtractSliceOp slice, unsigned position) {
  auto source = slice.getSourceType();
  if (slice.getType().getRank() != source.getRank() || !slice.hasUnitStride())
    return std::nullopt;
  auto offset = getConstantIntValue(slice.getMixedOffsets()[position]);
  auto size = getConstantIntValue(slice.getMixedSizes()[position]);
  for (int64_t dim = 0; dim < source.getRank(); ++dim)
    if (dim != position && !isZeroInteger(slice.getMixedOffsets()[dim]))
      return std::nullopt;
  return offset && size ? std::optional(Part{*offset, *size}) : std::nullopt;
}

// The dim along which the slice is smaller than its source: the only one whose offset or static size says so.
std::optional<unsigned> slicedDim(tensor::ExtractSliceOp slice) {
  std::optional<unsigned> found;
  auto source = slice.getSourceType();
  for (auto [dim, size] : llvm::enumerate(slice.getMixedSizes())) {
    if (source.isDynamicDim(dim) || getConstantIntValue(size) == source.getDimSize(dim))
      continue;
    if (found)
      return std::nullopt;
    found = dim;
  }
  return found;
}

class ContractionSplitter {
public:
  explicit ContractionSplitter(nn::ContractOp op) : op(op), builder(op), maps(op.getMaps()) {}

  bool run() {
    auto empty = op.getInit().getDefiningOp<tensor::EmptyOp>();
    if (!empty || op->use_empty())
      return false;
    SmallVector<tensor::ExtractSliceOp> slices;
    std::optional<unsigned> position;
    for (Operation *user : op->getResult(0).getUsers()) {
      if (isa<tensor::DimOp>(user))
        continue;
      auto slice = dyn_cast<tensor::ExtractSliceOp>(user);
      std::optional<unsigned> dim = slice ? slicedDim(slice) : std::nullopt;
      if (!dim || (position && *position != *dim) || !partOf(slice, *dim))
        return false;
      position = dim;
      slices.push_back(slice);
    }
    if (slices.size() < 2)
      return false;
    auto column = dyn_cast<AffineDimExpr>(maps.back().getResult(*position));
    if (!column || maps[0].isFunctionOfDim(column.getPosition()))
      return false;
    extent = empty.getType().getDimSize(*position);
    llvm::sort(slices, [&](auto a, auto b) { return a->isBeforeInBlock(b); });
    for (tensor::ExtractSliceOp slice : slices)
      if (slice.getType() != typeWith(empty.getType(), *position, partOf(slice, *position)->size))
        return false;
    for (tensor::ExtractSliceOp slice : slices) {
      Part part = *partOf(slice, *position);
      SmallVector<OpFoldResult> sizes = empty.getMixedSizes();
      sizes[*position] = builder.getIndexAttr(part.size);
      SmallVector<Value> operands;
      for (auto [index, operand] : llvm::enumerate(op->getOperands()))
        operands.push_back(index + 1 == op->getNumOperands() ? tensor::EmptyOp::create(builder, empty.getLoc(), sizes,
                                                                                       empty.getType().getElementType())
                                                             : partOfOperand(index, column.getPosition(), part));
      Operation *copy = mlir::clone(builder, op, TypeRange(slice.getType()), operands);
      slice.replaceAllUsesWith(copy->getResult(0));
      slice.erase();
    }
    return true;
  }

private:
  static RankedTensorType typeWith(RankedTensorType type, unsigned position, int64_t size) {
    SmallVector<int64_t> shape(type.getShape());
    shape[position] = size;
    return RankedTensorType::get(shape, type.getElementType());
  }

  Value partOfOperand(unsigned index, unsigned column, Part part) {
    Value operand = op->getOperand(index);
    auto type = cast<RankedTensorType>(operand.getType());
    Location loc = operand.getLoc();
    auto weight = operand.getDefiningOp<nn::WeightOp>();
    SmallVector<Attribute> recipe;
    if (weight)
      llvm::append_range(recipe, weight.getRecipe());
    if (index == 1 && op.getPacked()) {
      // Cut before it is packed. The logical dims are (k, n).
      Attribute pack = recipe.pop_back_val();
      int64_t rows = type.getDimSize(1), width = type.getDimSize(2);
      recipe.push_back(nn::RecipeSliceAttr::get(builder.getContext(), {0, part.offset}, {rows, part.size}));
      recipe.push_back(pack);
      auto packed = RankedTensorType::get({(part.size + width - 1) / width, rows, width}, type.getElementType());
      return nn::WeightOp::create(builder, loc, packed, weight.getDataAttr(), builder.getArrayAttr(recipe));
    }
    for (auto [position, expr] : llvm::enumerate(maps[index].getResults())) {
      if (expr != builder.getAffineDimExpr(column) || type.getDimSize(position) != extent)
        continue;
      SmallVector<int64_t> offsets(type.getRank(), 0), sizes(type.getShape());
      offsets[position] = part.offset;
      sizes[position] = part.size;
      if (weight && type.hasStaticShape()) {
        recipe.push_back(nn::RecipeSliceAttr::get(builder.getContext(), offsets, sizes));
        return nn::WeightOp::create(builder, loc, typeWith(type, position, part.size), weight.getDataAttr(),
                                    builder.getArrayAttr(recipe));
      }
      SmallVector<OpFoldResult> mixedOffsets(type.getRank(), builder.getIndexAttr(0)),
          strides(type.getRank(), builder.getIndexAttr(1)), mixedSizes = tensor::getMixedSizes(builder, loc, operand);
      mixedOffsets[position] = builder.getIndexAttr(part.offset);
      mixedSizes[position] = builder.getIndexAttr(part.size);
      return tensor::ExtractSliceOp::create(builder, loc, operand, mixedOffsets, mixedSizes, strides);
    }
    return operand;
  }

  nn::ContractOp op;
  OpBuilder builder;
  SmallVector<AffineMap> maps;
  int64_t extent = 0;
};

// The place of a copy of `op` that is as near to its reader as what it reads is still there.
Operation *lastPlace(Operation *op, Operation *reader) {
  Operation *place = reader;
  SmallVector<Value> read;
  auto isView = [](Operation *at) {
    return isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp, tensor::CastOp>(at);
  };
  for (OpOperand &operand : op->getOpOperands()) {
    if (cast<DestinationStyleOpInterface>(op).isDpsInit(&operand))
      continue;
    Value root = operand.get();
    while (isView(root.getDefiningOp()))
      root = root.getDefiningOp()->getOperand(0);
    read.push_back(root);
  }
  for (size_t i = 0; i < read.size(); ++i)
    for (OpOperand &use : read[i].getUses()) {
      // What reads it in its body or in a loop counts as one op.
      Operation *user = op->getBlock()->findAncestorOpInBlock(*use.getOwner());
      if (!user)
        continue;
      auto dps = dyn_cast<DestinationStyleOpInterface>(user);
      if (isView(user))
        read.push_back(user->getResult(0));
      else if ((isa<LoopLikeOpInterface>(user) || (dps && use.getOwner() == user && dps.isDpsInit(&use))) && user->isBeforeInBlock(place))
        place = user;
    }
  return place;
}

bool recomputeForEachReader(Operation *op) {
  SmallVector<Operation *> readers;
  for (OpOperand &use : op->getResult(0).getUses()) {
    auto dps = dyn_cast<DestinationStyleOpInterface>(use.getOwner());
    if (dps && dps.isDpsInit(&use))
      return false; // written over: the readers before need it as it was
    Operation *reader = op->getBlock()->findAncestorOpInBlock(*use.getOwner());
    if (!isa<tensor::DimOp>(use.getOwner()) && !llvm::is_contained(readers, reader))
      readers.push_back(reader);
  }
  if (readers.size() < 2)
    return false;
  for (Operation *reader : readers) {
    Operation *init = cast<DestinationStyleOpInterface>(op).getDpsInitOperand(0)->get().getDefiningOp();
    OpBuilder builder(lastPlace(op, reader));
    IRMapping mapping;
    mapping.map(init->getResult(0), builder.clone(*init)->getResult(0));
    Value copy = builder.clone(*op, mapping)->getResult(0);
    op->getResult(0).replaceUsesWithIf(
        copy, [&](OpOperand &use) { return reader->isAncestor(use.getOwner()) && !isa<tensor::DimOp>(use.getOwner()); });
  }
  return true;
}
} // namespace

bool snug::loosenSharing(func::FuncOp function, Sharing sharing, bool exact) {
  if (sharing == Sharing::AsItIs)
    return false;
  if (sharing == Sharing::OneSum && (exact || !mergeParts(function)))
    return false;
  bool changed = !exact && splitNorms(function);
  if (changed) {
    RewritePatternSet patterns(function.getContext());
    tensor::populateReassociativeReshapeFoldingPatterns(patterns);
    tensor::ExpandShapeOp::getCanonicalizationPatterns(patterns, function.getContext());
    tensor::CollapseShapeOp::getCanonicalizationPatterns(patterns, function.getContext());
    (void)applyPatternsGreedily(function, std::move(patterns));
  }
  for (nn::ContractOp contract : llvm::to_vector(function.front().getOps<nn::ContractOp>()))
    changed |= ContractionSplitter(contract).run();
  // Backwards, so that a reader that was copied counts for what it reads.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.front()))) {
    if (sharing != Sharing::Split && mayBeRecomputed(&op))
      changed |= recomputeForEachReader(&op);
    if (isOpTriviallyDead(&op))
      op.erase();
  }
  return changed || sharing == Sharing::OneSum;
}
