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

OpFoldResult SliceRanges::least(ArrayRef<AffineExpr> exprs, ArrayRef<OpFoldResult> symbols) {
  SmallVector<AffineExpr> simple;
  for (AffineExpr expr : exprs)
    simple.push_back(simplifyAffineExpr(expr, 0, symbols.size()));
  return affine::makeComposedFoldedAffineMin(builder, induction.getLoc(),
                                             AffineMap::get(0, symbols.size(), simple, builder.getContext()), symbols);
}

OpFoldResult SliceRanges::most(ArrayRef<AffineExpr> exprs, ArrayRef<OpFoldResult> symbols) {
  return affine::makeComposedFoldedAffineMax(builder, induction.getLoc(),
                                             AffineMap::get(0, symbols.size(), exprs, builder.getContext()), symbols);
}

// What one iteration takes of `length` elements. The size is said in a way from which the most there are of it follows.
SliceRange SliceRanges::of(const LoopSlice &slice, llvm::function_ref<OpFoldResult()> length) {
  OpFoldResult end = slice.hasHalo() ? length() : OpFoldResult();
  bool startsLate = slice.fromStart && slice.before < 0; // but for the first iteration
  SliceRange &range = ranges[{slice.scale, slice.before, slice.after, startsLate, end.getOpaqueValue()}];
  if (range.size)
    return range;
  if (!slice.hasHalo())
    return range = {times(induction, slice.scale), times(size, slice.scale)};
  if (startsLate) {
    AffineExpr o = builder.getAffineSymbolExpr(0), n = builder.getAffineSymbolExpr(1), all = builder.getAffineSymbolExpr(2),
               begin = builder.getAffineSymbolExpr(3);
    // o * scale - before, and 0 where o is.
    range.offset = least({o * (slice.scale - slice.before), o * slice.scale - slice.before}, {induction});
    range.size = least({n * slice.scale + slice.after, (o + n) * slice.scale + slice.after - begin, all - begin},
                       {induction, size, end, range.offset});
    return range;
  }
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
  SmallVector<OpFoldResult> symbols{induction, size, end};
  range.size = least(sizes, symbols);
  range.offset = beginsLate ? most({first, zero}, symbols) : evaluate(first, symbols);
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
  return of({-1, m.scale, m.before, m.after, m.fromStart}, [&] { return iterationsOf(m); });
}

SliceRanges::Kept SliceRanges::kept(const ChunkMember &m) {
  SliceRange all = of(m);
  AffineExpr o = builder.getAffineSymbolExpr(0), n = builder.getAffineSymbolExpr(1), begin = builder.getAffineSymbolExpr(2),
             have = builder.getAffineSymbolExpr(3), from = builder.getAffineSymbolExpr(4);
  const int64_t halo = m.before + m.after;
  Kept kept;
  SmallVector<OpFoldResult> symbols{induction, size, all.offset, all.size};
  // None in the first iteration, fewer than the halo as long as that reaches out of the tensor.
  kept.old = least({o * halo, o * m.scale + m.after - begin, builder.getAffineConstantExpr(halo)}, symbols);
  kept.next.offset = most({(o + n) * m.scale - m.before - begin, builder.getAffineConstantExpr(0) - begin}, symbols);
  // The last iteration keeps what is there, if anything.
  kept.next.offset = least({builder.getAffineSymbolExpr(0), builder.getAffineSymbolExpr(1)}, {kept.next.offset, all.size});
  symbols.push_back(kept.next.offset);
  kept.next.size = least({builder.getAffineConstantExpr(halo), have - from}, symbols);
  return kept;
}

// What iterations [begin, begin + n) take of a tensor that they may reach out of.
SliceRange SliceRanges::taken(const ChunkUse &use, const SliceRange &iterations, const DimAccess &access) {
  OpFoldResult length = extentOf(program.values[use.value], access.position);
  AffineExpr i = builder.getAffineSymbolExpr(0), n = builder.getAffineSymbolExpr(1), all = builder.getAffineSymbolExpr(2),
             begin = builder.getAffineSymbolExpr(3);
  SliceRange range;
  SmallVector<OpFoldResult> symbols{iterations.offset, iterations.size, length};
  range.offset = most({i * access.scale + access.offset, builder.getAffineConstantExpr(0)}, symbols);
  symbols.push_back(range.offset);
  AffineExpr reach = n * access.scale + (access.window - access.scale);
  range.size = least({reach, i * access.scale + access.offset + reach - begin, all - begin}, symbols);
  return range;
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
  bool reachesOut = access.offset < 0 || last >= program.problem.values[use.value].extents[access.position];
  if (reachesOut && m.fromStart) {
    SliceRange each = of(m);
    SliceRange &known =
        derived[{each.offset.getOpaqueValue(), each.size.getOpaqueValue(), access.scale, access.window, access.offset}];
    return known.size ? known : known = taken(use, each, access);
  }
  if (reachesOut)
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
