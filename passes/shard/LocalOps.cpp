// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LocalOps.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/shard/KeysInParts.h"
#include "passes/shard/Resharding.h"
#include "passes/shard/RowsInParts.h"

using namespace mlir;
using namespace snug;

static SmallVector<int64_t> axesOf(const OpCuts &cuts, function_ref<bool(unsigned)> cutsDim) {
  SmallVector<int64_t> axes;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis] && cutsDim(cuts[axis]->dim))
      axes.push_back(axis);
  return axes;
}

// Cuts of iterations as a layout: of what there is one for each of.
static TensorLayout iterations(const OpCuts &cuts) {
  TensorLayout layout;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis])
      layout[axis] = AxisLayout::cut(cuts[axis]->dim, cuts[axis]->segments);
  return layout;
}

SmallVector<Value> LocalOps::make(Operation *op, const ShardRule &rule, const OpCuts &cuts, ArrayRef<Type> types,
                             ArrayRef<Value> operands) {
  Location loc = op->getLoc();
  SmallVector<int64_t> rowAxes = axesOf(cuts, [&](unsigned dim) { return rule.isRow(dim); });
  if (!rowAxes.empty())
    return {computeRowsInParts(b, op, operands, rowAxes, sizeOf(rowAxes))};
  if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
    if (SmallVector<int64_t> keyAxes = axesOf(cuts, [&](unsigned dim) { return rule.isKeys(dim); }); !keyAxes.empty())
      return {attendInParts(attention, rule, cuts, operands, keyAxes)};
    if (llvm::any_of(cuts, [](const auto &cut) { return cut && cut->isRing; }))
      return {attendInRing(attention, rule, cuts, operands)};
  }
  auto localAll = [&](SmallVector<OpFoldResult> numbers) { // of what is counted along dims of the iterations
    for (auto [dim, number] : llvm::enumerate(numbers))
      number = localExtent(b, loc, number, dim, iterations(cuts), mesh);
    return numbers;
  };
  if (isa<mesh::PinOp>(op))
    return {operands[0]};
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
    return {tensor::ExpandShapeOp::create(b, loc, types[0], operands[0], expand.getReassociationIndices(),
                                          localAll(expand.getMixedOutputShape()))};
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op))
    return {tensor::CollapseShapeOp::create(b, loc, types[0], operands[0], collapse.getReassociationIndices())};
  if (auto extract = dyn_cast<tensor::ExtractSliceOp>(op))
    return {tensor::ExtractSliceOp::create(b, loc, cast<RankedTensorType>(types[0]), operands[0],
                                           localAll(extract.getMixedOffsets()), localAll(extract.getMixedSizes()),
                                           extract.getMixedStrides())};
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op))
    return {tensor::InsertSliceOp::create(b, loc, operands[0], operands[1], localAll(insert.getMixedOffsets()),
                                          localAll(insert.getMixedSizes()), insert.getMixedStrides())};
  Operation *copy = mlir::clone(b, op, types, operands);
  placeIterations(op, copy, rule, cuts);
  return copy->getResults();
}

int64_t LocalOps::sizeOf(ArrayRef<int64_t> axes) const {
  int64_t devices = 1;
  for (int64_t axis : axes)
    devices *= mesh[axis];
  return devices;
}

std::pair<OpFoldResult, OpFoldResult> LocalOps::thereOf(Location loc, OpFoldResult start, OpFoldResult length, OpFoldResult extent) {
  AffineExpr x = b.getAffineSymbolExpr(0), y = b.getAffineSymbolExpr(1), z = b.getAffineSymbolExpr(2);
  OpFoldResult first = affine::makeComposedFoldedAffineMin(b, loc, AffineMap::get(0, 2, {x, y}, b.getContext()), {start, extent});
  OpFoldResult count =
      affine::makeComposedFoldedAffineMin(b, loc, AffineMap::get(0, 3, {x - y, z}, b.getContext()), {extent, first, length});
  return {first, count};
}

// A summand of attention, by the keys that this device has.
Value LocalOps::attendInParts(nn::AttentionOp op, const ShardRule &rule, const OpCuts &cuts, ArrayRef<Value> operands, ArrayRef<int64_t> axes) {
  Location loc = op.getLoc();
  const IterationCut &cut = *cuts[axes[0]];
  SmallVector<Value> own(operands);
  if (isFilled(AxisLayout::cut(0, cut.segments), axes[0], mesh)) { // the last devices have fewer keys, or none
    OpFoldResult extent = extentOfIterations(op, rule, cut);
    OpFoldResult length = localExtent(b, loc, extent, cut.dim, iterations(cuts), mesh), start = startOf(loc, cuts, cut.dim, length);
    OpFoldResult count = thereOf(loc, start, length, extent).second;
    for (auto [number, value] : llvm::enumerate(own))
      value = keysOf(b, op, number, value, b.getIndexAttr(0), count);
  }
  nn::AttentionOp part = attendToPart(b, op, own);
  placeIterations(op, part, rule, cuts);
  return summandOfAll(b, part, axes, sizeOf(axes), op.getZeroIfMasked());
}

// Attention to all keys, of which each device has a part that goes round: while rows attend to the one that is here, it is on its
// way to the next device. Of a ring over both axes the inner one is that of axis 1, whose devices are neighbours.
Value LocalOps::attendInRing(nn::AttentionOp op, const ShardRule &rule, const OpCuts &cuts, ArrayRef<Value> operands) {
  Location loc = op.getLoc();
  OpCuts keys;
  SmallVector<int64_t> shifts(kMeshAxes, 0), turns(kMeshAxes, 1);
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis] && cuts[axis]->isRing) {
      keys[axis] = rule.keysOfRing(*cuts[axis]);
      turns[axis] = mesh[axis];
    }
  const IterationCut &cut = keys[0] ? *keys[0] : *keys[1];
  OpFoldResult extent = extentOfIterations(op, rule, cut), length = localExtent(b, loc, extent, cut.dim, iterations(keys), mesh);
  Value k = operands[1], v = operands[2];
  auto shift = [&](Value value, int64_t axis) -> Value {
    Value init = tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, value), cast<RankedTensorType>(value.getType()).getElementType());
    return mesh::ShiftOp::create(b, loc, init.getType(), SmallVector<int64_t>{axis}, value, init).getResult(0);
  };
  RowsSeen seen;
  const int64_t steps = turns[0] * turns[1];
  const bool filled = isFilled(AxisLayout::cut(0, cut.segments), keys[0] ? 0 : 1, mesh); // the last parts have fewer keys, or none
  for (int64_t step = 0; step < steps; ++step) {
    OpFoldResult start = startOf(loc, keys, cut.dim, length, shifts);
    OpFoldResult first = start, count = length;
    SmallVector<Value> own(operands);
    own[1] = k;
    own[2] = v;
    if (filled) {
      std::tie(first, count) = thereOf(loc, start, length, extent);
      own[1] = keysOf(b, op, 1, k, b.getIndexAttr(0), count);
      own[2] = keysOf(b, op, 2, v, b.getIndexAttr(0), count);
    }
    for (unsigned i = 3; i + 1 < own.size(); ++i)
      own[i] = keysOf(b, op, i, own[i], first, count);
    own.back() = tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, own.back()), b.getF32Type());
    if (step + 1 < steps) { // before the rows attend to it, so that it is sent meanwhile
      int64_t axis = (step + 1) % turns[1] != 0 ? 1 : 0;
      k = shift(k, axis);
      v = shift(v, axis);
      ++shifts[axis];
    }
    nn::AttentionOp part = attendToPart(b, op, own);
    placeIterations(op, part, rule, cuts);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(part);
      cast<IndexRuleOpInterface>(part.getOperation()).placeSlice(b, cut.dim, getValueOrCreateConstantIndexOp(b, loc, start));
    }
    seen = seen.most ? seenTogether(b, loc, seen, seenBy(part), part) : seenBy(part);
  }
  return resultOf(b, loc, seen, op);
}

// Where this device's iterations of a dim begin, in parts of that length. Where both axes cut the dim, axis 1 cuts the parts
// of axis 0.
// `shifts`: of what a device got that many places away, along each axis.
OpFoldResult LocalOps::startOf(Location loc, const OpCuts &cuts, unsigned dim, OpFoldResult length, ArrayRef<int64_t> shifts) {
  AffineExpr place = b.getAffineConstantExpr(0);
  SmallVector<OpFoldResult> symbols;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis] && cuts[axis]->dim == dim) {
      AffineExpr here = b.getAffineSymbolExpr(symbols.size());
      int64_t back = shifts[axis] % mesh[axis];
      place = place * mesh[axis] + (back ? (here + (mesh[axis] - back)) % mesh[axis] : here);
      symbols.push_back(Value(mesh::IndexOp::create(b, loc, b.getIndexType(), axis)));
    }
  AffineExpr start = place * b.getAffineSymbolExpr(symbols.size());
  symbols.push_back(length);
  return affine::makeComposedFoldedAffineApply(b, loc, start, symbols);
}

OpFoldResult LocalOps::extentOfIterations(Operation *op, const ShardRule &rule, const IterationCut &cut) {
  if (int64_t extent = rule.extents()[cut.dim]; extent != AxisLayout::kOpen)
    return b.getIndexAttr(extent);
  auto [tensor, dim] = tensorOf(op, rule, cut);
  return extents.find(tensor)->second[dim];
}

// What asks for the place of an iteration counts from where this device's begin.
void LocalOps::placeIterations(Operation *op, Operation *copy, const ShardRule &rule, const OpCuts &cuts) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(copy);
  Location loc = copy->getLoc();
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis] || !rule.isPlaced(cuts[axis]->dim) || (axis == 1 && cuts[0] && cuts[0]->dim == cuts[1]->dim))
      continue;
    unsigned dim = cuts[axis]->dim;
    OpFoldResult length = localExtent(b, loc, extentOfIterations(op, rule, *cuts[axis]), dim, iterations(cuts), mesh);
    Value first = getValueOrCreateConstantIndexOp(b, loc, startOf(loc, cuts, dim, length));
    cast<IndexRuleOpInterface>(copy).placeSlice(b, dim, first);
  }
}
