// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loops and branches over tensors: scf.for that carries them, scf.if that yields them. Where they are in memory is decided by
// the schedule.
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/canonicalize/Lowering.h"

using namespace mlir;
using namespace snug;

namespace {
// The value as a tensor of just the type that its shape has.
Value typedTensor(Lowering &l, LoweredValue value) {
  Value tensor = l.tensor(value);
  RankedTensorType type = l.tensorType(value.shape, value.elementType);
  return tensor.getType() == type ? tensor : tensor::CastOp::create(l.b, l.loc(), type, tensor).getResult();
}

bool areSameShapes(Lowering &l, const LoweredValue &a, const LoweredValue &b) {
  return a.isSequence == b.isSequence && a.isAbsent == b.isAbsent && a.elements.size() == b.elements.size() && a.elementType == b.elementType &&
         a.rank() == b.rank() && llvm::all_of(llvm::zip_equal(a.shape, b.shape), [&](auto pair) {
           return areEqualExtents(l.dims.inSteps(std::get<0>(pair)), l.dims.inSteps(std::get<1>(pair)));
         }) &&
         llvm::all_of(llvm::zip_equal(a.elements, b.elements),
                      [&](auto pair) { return areSameShapes(l, std::get<0>(pair), std::get<1>(pair)); });
}

std::string describe(Lowering &l, const LoweredValue &value) {
  if (value.isSequence)
    return "a sequence of " + std::to_string(value.elements.size());
  if (value.isAbsent)
    return "an optional without a value";
  std::string type;
  llvm::raw_string_ostream(type) << value.elementType;
  return l.print(value.shape) + " of " + type;
}

// The tensors of a value: one for each element of a sequence, none of an optional without a value.
void flatten(const LoweredValue &value, LoweredValues &tensors) {
  if (value.isTensor())
    tensors.push_back(value);
  for (const LoweredValue &element : value.elements)
    flatten(element, tensors);
}

// A value like `like` of these tensors.
LoweredValue rebuild(Lowering &l, const LoweredValue &like, ValueRange &tensors) {
  if (like.isTensor()) {
    Value tensor = tensors.front();
    tensors = tensors.drop_front();
    return l.tensorValue(tensor, like.shape);
  }
  LoweredValue value = like;
  for (LoweredValue &element : value.elements)
    element = rebuild(l, element, tensors);
  return value;
}

// The value as the first part of a whole, whose other elements nobody reads.
LoweredValue firstOf(Lowering &l, LoweredValue value, const Extents &whole) {
  Value into = l.empty(whole, value.elementType);
  if (!llvm::is_contained(value.shape, l.constant(0))) {
    SmallVector<OpFoldResult> offsets(whole.size(), l.b.getIndexAttr(0)), strides(whole.size(), l.b.getIndexAttr(1));
    auto sizes = llvm::map_to_vector(value.shape, [&](AffineExpr extent) { return l.fold(extent); });
    into = tensor::InsertSliceOp::create(l.b, l.loc(), l.tensor(value), into, offsets, sizes, strides);
  }
  return l.tensorValue(into, whole, value.elementType);
}

SmallVector<Value> tensorsOf(Lowering &l, ArrayRef<LoweredValue> values) {
  LoweredValues flat;
  for (const LoweredValue &value : values)
    flatten(value, flat);
  return llvm::map_to_vector(flat, [&](const LoweredValue &value) { return typedTensor(l, value); });
}
} // namespace

LoweredValue Lowering::elementAt(LoweredValue &value, int64_t axis, AffineExpr place) {
  Extents shape = value.shape;
  shape.erase(shape.begin() + axis);
  if (value.splat)
    return splatValue(value.splat, shape);
  if (value.isClosed() && !value.closedVector) {
    SmallVector<AffineExpr> read;
    for (int64_t dim = 0; dim < value.rank(); ++dim)
      read.push_back(dim == axis ? place : getAffineDimExpr(dim - (dim > axis), b.getContext()));
    LoweredValue out;
    out.elementType = value.elementType;
    out.shape = shape;
    out.closed = {value.closed[0].replaceDims(read)};
    return out;
  }
  Value whole = tensor(value);
  if (whole.getDefiningOp<nn::WeightOp>() && isa<AffineConstantExpr>(place)) {
    Extents offsets(value.rank(), constant(0)), sizes = value.shape;
    offsets[axis] = place;
    sizes[axis] = constant(1);
    LoweredValue part = slice(value, offsets, sizes, SmallVector<int64_t>(value.rank(), 1));
    if (auto found = reshape(part, shape); succeeded(found))
      return *found;
  }
  SmallVector<OpFoldResult> offsets(value.rank(), b.getIndexAttr(0)), strides(value.rank(), b.getIndexAttr(1)), sizes;
  for (AffineExpr extent : value.shape)
    sizes.push_back(fold(extent));
  offsets[axis] = fold(place);
  sizes[axis] = b.getIndexAttr(1);
  return tensorValue(tensor::ExtractSliceOp::create(b, loc(), tensorType(shape, value.elementType), whole, offsets, sizes,
                                                    strides),
                     shape);
}

FailureOr<LoweredValues> Lowering::loop(AffineExpr count, ArrayRef<LoweredValue> initial,
                                                    ArrayRef<Collecting> collecting, LoopBody body) {
  Location where = loc();
  auto checked = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<LoopStep> {
    FailureOr<LoopStep> step = body(iteration, carried);
    for (size_t i = 0; succeeded(step) && i < collecting.size(); ++i)
      if (!step->collected[i].isTensor())
        step = error() << "output " << i << " of an iteration is " << describe(*this, step->collected[i])
                       << "; only tensors can be put side by side";
    return step;
  };
  auto low = dims.lowerBound(count);
  if (!collecting.empty() && (!low || *low < 0))
    return error() << "the number of iterations, " << dims.print(count) << ", may be negative";
  if (count == constant(1)) { // no loop
    auto step = checked(constant(0), initial);
    if (failed(step))
      return failure();
    for (auto [value, place] : llvm::zip_equal(step->collected, collecting)) {
      Extents shape = value.shape;
      shape.insert(shape.begin() + place.axis, count);
      auto whole = reshape(value, shape);
      if (failed(whole))
        return failure();
      step->carried.push_back(*whole);
    }
    return step->carried;
  }
  auto loop = scf::ForOp::create(b, where, materialize(constant(0)), materialize(count), materialize(constant(1)),
                                 tensorsOf(*this, initial));
  if (initial.empty()) // one without results comes with its end
    loop.getBody()->getTerminator()->erase();
  AffineExpr iteration = dims.addIteration(count);
  unsigned symbol = symbolValues.size();
  symbolValues.push_back(loop.getInductionVar());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(loop.getBody());
  LoweredValues carried;
  ValueRange arguments = loop.getRegionIterArgs();
  for (const LoweredValue &value : initial)
    carried.push_back(rebuild(*this, value, arguments));

  FailureOr<LoopStep> step = checked(iteration, carried);
  for (size_t i = 0; succeeded(step) && i < initial.size(); ++i)
    if (!areSameShapes(*this, step->carried[i], initial[i]))
      step = error() << "value " << i << " that the loop carries is " << describe(*this, initial[i]) << " before it and "
                     << describe(*this, step->carried[i]) << " after an iteration";
  for (size_t i = 0; succeeded(step) && i < collecting.size(); ++i)
    for (AffineExpr extent : step->collected[i].shape)
      if (succeeded(step) && isMadeInside(extent, symbol))
        step = error() << "the shape of output " << i << " of an iteration, " << describe(*this, step->collected[i])
                       << (dims.isOfData(extent) ? ", is computed from data, and may be another one in each iteration"
                                                 : ", depends on its number");
  if (failed(step)) { // a loop that nobody needs
    scf::YieldOp::create(b, where, loop.getRegionIterArgs());
    return failure();
  }
  SmallVector<Value> yields = tensorsOf(*this, step->carried), parts = tensorsOf(*this, step->collected);
  scf::YieldOp::create(b, where, yields);

  // Where iterations put what they collect.
  SmallVector<Value> wholes;
  LoweredValues collected;
  b.setInsertionPoint(loop);
  for (auto [value, place] : llvm::zip_equal(step->collected, collecting)) {
    LoweredValue whole;
    whole.elementType = value.elementType;
    whole.shape = value.shape;
    whole.shape.insert(whole.shape.begin() + place.axis, count);
    wholes.push_back(empty(whole.shape, value.elementType));
    collected.push_back(whole);
  }
  for (Value argument : loop.getRegionIterArgs()) // whose place is taken by others
    tensorShapes.erase(argument);
  IRRewriter rewriter(b.getContext());
  auto insertParts = [&](OpBuilder &builder, Location l, ArrayRef<BlockArgument> into) {
    OpBuilder::InsertionGuard inside(b);
    b.restoreInsertionPoint(builder.saveInsertionPoint());
    SmallVector<Value> inserted;
    for (auto [index, place] : llvm::enumerate(collecting)) {
      int64_t rank = collected[index].rank();
      SmallVector<OpFoldResult> offsets(rank, b.getIndexAttr(0)), strides(rank, b.getIndexAttr(1)), sizes;
      for (AffineExpr extent : collected[index].shape)
        sizes.push_back(fold(extent));
      sizes[place.axis] = b.getIndexAttr(1);
      offsets[place.axis] = fold(place.reversed ? count - 1 - iteration : iteration);
      inserted.push_back(
          tensor::InsertSliceOp::create(b, l, parts[index], into[index], offsets, sizes, strides).getResult());
    }
    return inserted;
  };
  if (!collecting.empty()) {
    auto grown = loop.replaceWithAdditionalYields(rewriter, wholes, /*replaceInitOperandUsesInLoop=*/false,
                                                  [&](OpBuilder &builder, Location l, ArrayRef<BlockArgument> into) {
                                                    symbolValues[symbol] =
                                                        cast<scf::ForOp>(into.front().getOwner()->getParentOp()).getInductionVar();
                                                    return insertParts(builder, l, into);
                                                  });
    loop = cast<scf::ForOp>(*grown);
  }
  LoweredValues results;
  ValueRange tensors = loop.getResults();
  for (const LoweredValue &value : initial)
    results.push_back(rebuild(*this, value, tensors));
  for (const LoweredValue &value : collected)
    results.push_back(rebuild(*this, value, tensors));
  return results;
}

FailureOr<LoweredValues> Lowering::branch(LoweredValue &condition, BranchBody whenTrue, BranchBody whenFalse) {
  Location where = loc();
  SmallVector<Value> first(condition.rank(), materialize(constant(0)));
  Value isTrue = tensor::ExtractOp::create(b, where, tensor(condition), first);
  auto made = scf::IfOp::create(b, where, TypeRange(), isTrue, /*withElseRegion=*/true);
  LoweredValues results[2];
  SmallVector<Value> yields[2];
  LogicalResult lowered = success();
  BranchBody bodies[] = {whenTrue, whenFalse};
  for (int side : {0, 1}) {
    OpBuilder::InsertionGuard guard(b);
    Block *block = side == 0 ? made.thenBlock() : made.elseBlock();
    b.setInsertionPoint(block->getTerminator());
    auto values = bodies[side]();
    if (failed(values)) {
      lowered = failure();
      break;
    }
    results[side] = *values;
  }
  if (failed(lowered))
    return failure();
  if (results[0].size() != results[1].size())
    return error() << "one branch gives " << results[0].size() << " values, the other one " << results[1].size();
  // What is of another size in each branch is yielded as a part of a whole for the largest, and its extents beside it.
  struct Part {
    size_t output, dim, sizeAt; // the size is among the yielded values, behind the outputs
    AffineExpr most;
  };
  SmallVector<Part> parts;
  size_t numOutputs = results[0].size();
  for (size_t index = 0; index < numOutputs; ++index) {
    const LoweredValue &one = results[0][index], &other = results[1][index];
    if (areSameShapes(*this, one, other))
      continue;
    Extents whole = one.shape;
    bool canBeParts = one.isTensor() && other.isTensor() && one.elementType == other.elementType && one.rank() == other.rank();
    for (int64_t dim = 0; canBeParts && dim < one.rank(); ++dim) {
      if (areEqualExtents(one.shape[dim], other.shape[dim]))
        continue;
      auto most = extremum(dims.atMost(one.shape[dim]), dims.atMost(other.shape[dim]), /*larger=*/true);
      if ((canBeParts = most.has_value())) {
        whole[dim] = *most;
        parts.push_back({index, static_cast<size_t>(dim), 0, *most});
      }
    }
    if (!canBeParts)
      return error() << "output " << index << " is " << describe(*this, one) << " of one branch and " << describe(*this, other)
                     << " of the other; where the condition is computed from data both must be alike (a condition that an "
                        "input states is known with --value NAME=1)";
    for (int side : {0, 1}) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint((side == 0 ? made.thenBlock() : made.elseBlock())->getTerminator());
      LoweredValue value = results[side][index];
      for (Part &part : parts)
        if (part.output == index) {
          part.sizeAt = results[side].size();
          results[side].push_back(intsValue(b.getI64Type(), {value.shape[part.dim]}, /*scalar=*/true));
        }
      results[side][index] = firstOf(*this, value, whole);
    }
  }
  for (int side : {0, 1}) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint((side == 0 ? made.thenBlock() : made.elseBlock())->getTerminator());
    yields[side] = tensorsOf(*this, results[side]);
    b.getInsertionBlock()->getTerminator()->erase();
    b.setInsertionPointToEnd(side == 0 ? made.thenBlock() : made.elseBlock());
    scf::YieldOp::create(b, where, yields[side]);
  }
  auto types = llvm::map_to_vector(yields[0], [](Value value) { return value.getType(); });
  auto complete = scf::IfOp::create(b, where, types, isTrue, /*withElseRegion=*/true);
  complete.getThenRegion().takeBody(made.getThenRegion());
  complete.getElseRegion().takeBody(made.getElseRegion());
  made->erase();
  LoweredValues chosen;
  ValueRange tensors = complete.getResults();
  for (auto [one, other] : llvm::zip_equal(results[0], results[1])) {
    LoweredValue value = rebuild(*this, one, tensors);
    // What both know to be the same is known.
    if (one.isClosed() && one.closed == other.closed && one.closedVector == other.closedVector)
      value = one;
    else if (one.splat && one.splat == other.splat)
      value = one;
    chosen.push_back(value);
  }
  for (size_t index = 0; index < numOutputs; ++index) {
    Extents sizes = chosen[index].shape;
    for (const Part &part : parts)
      if (part.output == index)
        sizes[part.dim] = dataExtent(chosen[part.sizeAt], part.most);
    SmallVector<AffineExpr> offsets(sizes.size(), constant(0));
    if (sizes != chosen[index].shape)
      chosen[index] = slice(chosen[index], offsets, sizes, SmallVector<int64_t>(sizes.size(), 1));
  }
  chosen.resize(numOutputs);
  return chosen;
}
