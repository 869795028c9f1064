// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/SliceRanges.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

using namespace mlir;
using namespace snug;

void SliceRanges::begin(Value theInduction, OpFoldResult theSize, OpFoldResult theExtent) {
  induction = theInduction;
  size = theSize;
  extent = theExtent;
}

OpFoldResult SliceRanges::difference(OpFoldResult a, OpFoldResult b) {
  return evaluate(builder.getAffineSymbolExpr(0) - builder.getAffineSymbolExpr(1), {a, b});
}

// A member without a halo takes equal steps from start to end.
OpFoldResult SliceRanges::iterations() {
  auto steps = std::find_if(loop.members.rbegin(), loop.members.rend(), [&](const ChunkMember &m) {
    return m.dim >= 0 && !m.hasHalo() && program.problem.nodes[m.node].extents[m.dim] == loop.extent * m.scale;
  });
  return evaluate(builder.getAffineSymbolExpr(0).floorDiv(steps->scale), iterationsOf(*steps));
}

OpFoldResult SliceRanges::times(OpFoldResult value, int64_t factor) {
  return factor == 1 ? value : evaluate(builder.getAffineSymbolExpr(0) * factor, value);
}

OpFoldResult SliceRanges::evaluate(AffineExpr expr, ArrayRef<OpFoldResult> symbols) {
  return affine::makeComposedFoldedAffineApply(builder, program.ops[loop.last]->getLoc(),
                                               AffineMap::get(0, symbols.size(), expr), symbols);
}

// An extent in the program before it was chunked, as a value that is there outside of the loop.
OpFoldResult SliceRanges::extentOf(Value value, int position) {
  auto type = cast<RankedTensorType>(value.getType());
  if (!type.isDynamicDim(position))
    return builder.getIndexAttr(type.getDimSize(position));
  Operation *op = value.getDefiningOp();
  if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes()[position];
  if (llvm::none_of(loop.members, [&](const ChunkMember &m) { return program.ops[m.node] == op; })) {
    OpBuilder::InsertionGuard guard(builder);
    if (induction)
      builder.setInsertionPoint(induction.getParentBlock()->getParentOp());
    return tensor::getMixedSize(builder, value.getLoc(), value, position);
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
    return expand.getMixedOutputShape()[position];
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    int64_t inner = 1; // its rule merges one dynamic dim with static ones
    OpFoldResult outer = builder.getIndexAttr(1);
    for (int64_t dim : collapse.getReassociationIndices()[position])
      if (collapse.getSrcType().isDynamicDim(dim))
        outer = extentOf(collapse.getSrc(), dim);
      else
        inner *= collapse.getSrcType().getDimSize(dim);
    return times(outer, inner);
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [dim, size] : llvm::enumerate(slice.getMixedSizes()))
      if (!dropped.test(dim) && position-- == 0)
        return size;
  }
  return extentOf(cast<DestinationStyleOpInterface>(op).getTiedOpOperand(cast<OpResult>(value))->get(), position);
}

// What one iteration takes of `length` elements. The size is said in a way from which the most there are of it follows.
SliceRange SliceRanges::of(const LoopSlice &slice, llvm::function_ref<OpFoldResult()> length) {
  Location loc = induction.getLoc();
  OpFoldResult end = slice.hasHalo() ? length() : OpFoldResult();
  SliceRange &range = ranges[{slice.scale, slice.before, slice.after, end.getOpaqueValue()}];
  if (range.size)
    return range;
  if (!slice.hasHalo())
    return range = {times(induction, slice.scale), times(size, slice.scale)};
  AffineExpr first = builder.getAffineSymbolExpr(0) * slice.scale - slice.before;
  AffineExpr last = (builder.getAffineSymbolExpr(0) + builder.getAffineSymbolExpr(1)) * slice.scale + slice.after;
  AffineExpr all = builder.getAffineSymbolExpr(2), zero = builder.getAffineConstantExpr(0);
  std::optional<int64_t> steps = getConstantIntValue(extent), constant = getConstantIntValue(end);
  bool endsEarly = !steps || !constant || *steps * slice.scale + slice.after > *constant, beginsLate = slice.before > 0;
  SmallVector<AffineExpr> sizes{builder.getAffineSymbolExpr(1) * slice.scale + (slice.before + slice.after)};
  if (endsEarly)
    sizes.push_back(all - first);
  if (beginsLate)
    sizes.push_back(last);
  if (endsEarly && beginsLate)
    sizes.push_back(all);
  for (AffineExpr &expr : sizes)
    expr = simplifyAffineExpr(expr, 0, 3);
  auto context = builder.getContext();
  SmallVector<OpFoldResult> symbols{induction, size, end};
  range.size = affine::makeComposedFoldedAffineMin(builder, loc, AffineMap::get(0, 3, sizes, context), symbols);
  range.offset = beginsLate ? affine::makeComposedFoldedAffineMax(builder, loc,
                                                                  AffineMap::get(0, 3, {first, zero}, context), symbols)
                            : evaluate(first, symbols);
  return range;
}

// Iterations of the whole op along the member's dim.
OpFoldResult SliceRanges::iterationsOf(const ChunkMember &m) {
  const ChunkNode &node = program.problem.nodes[m.node];
  for (const auto *uses : {&node.results, &node.uses})
    for (const ChunkUse &use : *uses)
      if (!use.access.empty())
        if (const DimAccess &access = use.access[m.dim];
            access.position >= 0 && access.scale == 1 && access.window == 1 && access.offset == 0)
          return extentOf(program.values[use.value], access.position);
  llvm_unreachable("a dim that is cut stands bare somewhere");
}

SliceRange SliceRanges::of(const ChunkMember &m) {
  return of({-1, m.scale, m.before, m.after}, [&] { return iterationsOf(m); });
}

// What the member's iterations take of an operand or result.
SliceRange SliceRanges::of(const ChunkUse &use, const ChunkMember &m) {
  LoopSlice slice = sliceOf(use, m);
  if (slice.position < 0)
    return {};
  const DimAccess &access = use.access[m.dim];
  if (m.before == 0 && m.after == 0 && !slice.hasHalo())
    return of(slice, [] { return OpFoldResult(); });
  // Of what some iterations reach out of, they take what there is.
  int64_t last = (program.problem.nodes[m.node].extents[m.dim] - 1) * access.scale + access.window - 1 + access.offset;
  if (access.offset < 0 || last >= program.problem.values[use.value].extents[access.position])
    return of(slice, [&] { return extentOf(program.values[use.value], access.position); });
  SliceRange range = of(m);
  if (access.scale == 1 && access.window == 1 && access.offset == 0)
    return range;
  SliceRange &taken =
      derived[{range.offset.getOpaqueValue(), range.size.getOpaqueValue(), access.scale, access.window, access.offset}];
  AffineExpr s0 = builder.getAffineSymbolExpr(0);
  if (!taken.size)
    taken = {evaluate(s0 * access.scale + access.offset, range.offset),
             evaluate(s0 * access.scale + (access.window - access.scale), range.size)};
  return taken;
}
