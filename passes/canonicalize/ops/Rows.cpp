// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that look at whole rows: Softmax, LayerNormalization, RMSNormalization.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult softmax(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  if (!axis)
    return failure();
  // The kernel works on the last dim: other axes go there and back.
  SmallVector<int64_t> permutation;
  for (int64_t dim = 0; dim < in.rank(); ++dim)
    permutation.push_back(dim == in.rank() - 1 ? *axis : dim == *axis ? in.rank() - 1 : dim);
  bool last = *axis == in.rank() - 1;
  auto rows = last ? FailureOr<LoweredValue>(in) : l.transpose(in, permutation);
  if (failed(rows))
    return failure();
  Value init = l.empty(rows->shape, rows->elementType);
  auto op = nn::SoftmaxOp::create(l.b, l.loc(), init.getType(), l.tensor(*rows), init, l.b.getF32FloatAttr(1));
  LoweredValue result = l.tensorValue(op->getResult(0), rows->shape);
  if (!last) {
    auto back = l.transpose(result, permutation);
    if (failed(back))
      return failure();
    result = *back;
  }
  l.define(0, result);
  return success();
}

// The trailing dims [axis..) as one row.
LogicalResult norm(Lowering &l, nn::NormKind kind) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  if (!axis)
    return failure();
  for (unsigned result = 1; result < l.node()->getNumResults(); ++result)
    if (!l.node()->getResult(result).use_empty()) {
      l.error() << "the outputs for training (mean, inverse deviation) are not supported";
      return failure();
    }
  Extents rows(in.shape.begin(), in.shape.begin() + *axis);
  AffineExpr length = l.constant(1);
  for (AffineExpr extent : ArrayRef(in.shape).drop_front(*axis))
    length = length * extent;
  rows.push_back(length);
  auto x = l.reshape(in, rows);
  if (failed(x))
    return failure();
  auto vector = [&](unsigned index) -> FailureOr<Value> {
    if (!l.hasInput(index))
      return Value();
    auto flat = l.reshape(l.input(index), {length});
    if (failed(flat))
      return failure();
    return l.tensor(*flat);
  };
  auto scale = vector(1), shift = kind == nn::NormKind::Layer ? vector(2) : FailureOr<Value>(Value());
  if (failed(scale) || failed(shift))
    return failure();
  Value init = l.empty(rows, in.elementType);
  auto op = nn::NormOp::create(l.b, l.loc(), init.getType(), l.tensor(*x), *scale, *shift, init, nn::NormKindAttr::get(l.b.getContext(), kind),
                               l.b.getF32FloatAttr(l.floatAttr("epsilon", 1e-5)));
  LoweredValue result = l.tensorValue(op->getResult(0), rows);
  auto back = l.reshape(result, in.shape);
  if (failed(back))
    return failure();
  l.define(0, *back);
  return success();
}
LogicalResult layerNorm(Lowering &l) { return norm(l, nn::NormKind::Layer); }
LogicalResult rmsNorm(Lowering &l) { return norm(l, nn::NormKind::Rms); }
} // namespace

void snug::addRowOps(LoweringTable &t) {
  t.add("Softmax", 13, softmax);
  t.add("LayerNormalization", 17, layerNorm);
  t.add("RMSNormalization", 23, rmsNorm);
}
