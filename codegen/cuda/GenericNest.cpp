// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/GenericNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/RegionUtils.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

void codegen::cloneOnLanes(Operation &inner, int64_t lanes, IRMapping &mapping, CudaKernelBuilder &b) {
  llvm::SetVector<Value> used(inner.operand_begin(), inner.operand_end());
  getUsedValuesDefinedAbove(inner.getRegions(), used);
  auto isVector = [&](Value value) { return isa<VectorType>(mapping.lookupOrDefault(value).getType()); };
  if (llvm::none_of(used, isVector)) {
    b.clone(inner, mapping);
    return;
  }
  auto onLanes = [&](Type type) { return VectorType::get({lanes}, type); };
  if (OpTrait::hasElementwiseMappableTraits(&inner)) {
    IRMapping vectors;
    for (Value operand : inner.getOperands())
      vectors.map(operand, b.onLanes(mapping.lookupOrDefault(operand), lanes));
    Operation *copy = inner.clone(vectors);
    b.insert(copy);
    for (auto [from, to] : llvm::zip(inner.getResults(), copy->getResults())) {
      to.setType(onLanes(from.getType()));
      mapping.map(from, to);
    }
    return;
  }
  SmallVector<SmallVector<Value>> results(inner.getNumResults());
  for (int64_t lane = 0; lane < lanes; ++lane) {
    IRMapping scalars;
    for (Value value : used)
      scalars.map(value, isVector(value) ? vector::ExtractOp::create(b, mapping.lookup(value), lane).getResult()
                                         : mapping.lookupOrDefault(value));
    Operation *copy = b.clone(inner, scalars);
    for (auto [all, result] : llvm::zip(results, copy->getResults()))
      all.push_back(result);
  }
  for (auto [result, all] : llvm::zip(inner.getResults(), results))
    mapping.map(result, vector::FromElementsOp::create(b, onLanes(result.getType()), all));
}

GenericNest::GenericNest(linalg::LinalgOp op, const GenericPlan &plan, CudaKernelBuilder &b)
    : op(op), b(b), plan(plan) {
  for (const GenericPlan::Loop &loop : plan.loops) {
    Value size = b.constant(1);
    for (unsigned dim : loop.dims)
      size = b.mul(size, b.size(op, loopExtent(op, dim)));
    sizes.push_back(size);
  }
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    if (!type || type.getRank() == 0) {
      operands.push_back({operand.get(), plan.overLoops(map)});
      continue;
    }
    // A place that is inside of a loop adds its size to the place before, and gives it its stride.
    auto view = operand.get().getDefiningOp<memref::ReinterpretCastOp>();
    SmallVector<OpFoldResult> from = view.getMixedStrides(), extents, strides;
    llvm::SmallDenseSet<unsigned> inside;
    for (const GenericPlan::Loop &loop : plan.loops)
      inside.insert(loop.dims.begin() + 1, loop.dims.end());
    for (auto [place, expr] : llvm::enumerate(map.getResults())) {
      Value size = b.size(operand.get(), place);
      if (auto dim = dyn_cast<AffineDimExpr>(expr); dim && inside.contains(dim.getPosition())) {
        size = b.mul(getValueOrCreateConstantIndexOp(b, b.getLoc(), extents.pop_back_val()), size);
        strides.pop_back();
      }
      extents.push_back(getAsOpFoldResult(size));
      strides.push_back(from[place]);
    }
    SmallVector<int64_t> shape, staticStrides;
    for (auto [extent, stride] : llvm::zip(extents, strides)) {
      shape.push_back(getConstantIntValue(extent).value_or(ShapedType::kDynamic));
      staticStrides.push_back(getConstantIntValue(stride).value_or(ShapedType::kDynamic));
      if (getConstantIntValue(extent))
        extent = b.getIndexAttr(shape.back());
    }
    auto layout = StridedLayoutAttr::get(b.getContext(), 0, staticStrides);
    Value folded =
        memref::ReinterpretCastOp::create(b, MemRefType::get(shape, type.getElementType(), layout), view.getSource(),
                                          OpFoldResult(b.getIndexAttr(0)), extents, strides);
    operands.push_back({folded, plan.overLoops(map)});
  }
}

bool GenericNest::Operand::isContiguous(unsigned along) const {
  int64_t ignored;
  SmallVector<int64_t> strides;
  auto last = map.getNumResults() ? dyn_cast<AffineDimExpr>(map.getResults().back()) : AffineDimExpr(nullptr);
  return last && last.getPosition() == along &&
         !AffineMap::get(map.getNumDims(), 0, map.getResults().drop_back(), map.getContext()).isFunctionOfDim(along) &&
         succeeded(cast<MemRefType>(memref.getType()).getStridesAndOffset(strides, ignored)) && strides.back() == 1;
}

int64_t GenericNest::vectorLanes(unsigned along, int64_t most) const {
  int64_t lanes = most;
  for (const Operand &operand : operands) {
    if (!operand.map.isFunctionOfDim(along))
      continue;
    if (!operand.isContiguous(along))
      return 1;
    lanes = b.lanesOf(operand.memref, lanes);
  }
  return lanes;
}

Value GenericNest::load(unsigned number, const Place &place) {
  const Operand &operand = operands[number];
  if (!isa<MemRefType>(operand.memref.getType()))
    return operand.memref;
  if (place.lanes == 1 || !operand.map.isFunctionOfDim(place.along))
    return b.load(operand.memref, b.apply(operand.map, place.indices));
  return b.loadLanes(place.lanes, operand.memref, b.apply(operand.map, place.indices));
}

SmallVector<Value> GenericNest::loadOutputs(const Place &place) {
  return llvm::map_to_vector(op.getDpsInitsMutable(),
                             [&](OpOperand &output) { return load(output.getOperandNumber(), place); });
}

void GenericNest::store(const Place &place, ValueRange values) {
  for (auto [output, value] : llvm::zip(op.getDpsInitsMutable(), values)) {
    const Operand &operand = operands[output.getOperandNumber()];
    SmallVector<Value> indices = b.apply(operand.map, place.indices);
    if (place.lanes == 1)
      b.store(value, operand.memref, indices);
    else
      b.storeLanes(b.onLanes(value, place.lanes), operand.memref, indices);
  }
}

SmallVector<Value> GenericNest::compute(const Place &place, ValueRange outputs, Elements given) {
  IRMapping mapping;
  Block *body = op.getBlock();
  for (auto [operand, value] : given)
    mapping.map(body->getArgument(operand), value);
  for (OpOperand &operand : op->getOpOperands()) {
    BlockArgument argument = body->getArgument(operand.getOperandNumber());
    if (op.isDpsInit(&operand) && !outputs.empty())
      mapping.map(argument, outputs[operand.getOperandNumber() - op.getNumDpsInputs()]);
    else if (!argument.use_empty() && !mapping.contains(argument))
      mapping.map(argument, load(operand.getOperandNumber(), place));
  }
  for (Operation &inner : body->without_terminator()) {
    auto index = dyn_cast<linalg::IndexOp>(inner);
    if (!index) {
      cloneOnLanes(inner, place.lanes, mapping, b);
      continue;
    }
    unsigned number =
        llvm::find_if(plan.loops,
                      [&](const GenericPlan::Loop &loop) { return llvm::is_contained(loop.dims, index.getDim()); }) -
        plan.loops.begin(); // alone in its loop
    Value at = place.indices[number];
    if (place.lanes > 1 && number == place.along) {
      auto type = VectorType::get({place.lanes}, b.getIndexType());
      at = arith::AddIOp::create(b, b.onLanes(at, place.lanes), vector::StepOp::create(b, type));
    }
    mapping.map(index.getResult(), at);
  }
  return llvm::map_to_vector(body->getTerminator()->getOperands(),
                             [&](Value value) { return mapping.lookupOrDefault(value); });
}
