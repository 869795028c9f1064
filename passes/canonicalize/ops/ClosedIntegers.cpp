// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ops/ClosedIntegers.h"

using namespace mlir;
using namespace snug;

namespace {
// (x * y) / y is x where y divides a factor; named dims are positive.
AffineExpr divide(AffineExpr left, AffineExpr right) {
  if (auto product = dyn_cast<AffineBinaryOpExpr>(left); product && left.getKind() == AffineExprKind::Mul) {
    if (product.getRHS() == right)
      return product.getLHS();
    if (product.getLHS() == right)
      return product.getRHS();
  }
  return left == right ? getAffineConstantExpr(1, left.getContext()) : left.floorDiv(right);
}

// Affine where both sides are; std::nullopt otherwise.
std::optional<AffineExpr> affine(Arithmetic kind, AffineExpr left, AffineExpr right, Lowering &l) {
  switch (kind) {
  case Arithmetic::Add:
    return left + right;
  case Arithmetic::Sub:
    return left - right;
  case Arithmetic::Mul:
    if (!left.isSymbolicOrConstant() && !right.isSymbolicOrConstant())
      return std::nullopt;
    return left * right;
  case Arithmetic::Div: {
    // ONNX truncates, floordiv rounds down: the same where both sides are known not to be negative.
    auto low = l.dims.lowerBound(left), lowRight = l.dims.lowerBound(right);
    if (!low || !lowRight || *low < 0 || *lowRight < 1)
      return std::nullopt;
    return divide(left, right);
  }
  }
  return std::nullopt;
}
} // namespace

std::optional<LoweredValue> snug::foldLists(Lowering &l, ArrayRef<LoweredValue *> inputs, Type type,
                                            llvm::function_ref<std::optional<AffineExpr>(ArrayRef<AffineExpr>)> fold) {
  SmallVector<Extents> lists;
  size_t length = 1;
  bool scalar = true;
  for (LoweredValue *in : inputs) {
    if (in->rank() > 1 || isa<FloatType>(in->elementType))
      return std::nullopt;
    auto elements = l.list(*in);
    if (!elements)
      return std::nullopt;
    scalar &= in->rank() == 0;
    if (elements->size() != 1) {
      if (length != 1 && elements->size() != length)
        return std::nullopt;
      length = elements->size();
    }
    lists.push_back(std::move(*elements));
  }
  Extents result;
  for (size_t i = 0; i < length; ++i) {
    Extents one = llvm::map_to_vector(lists, [&](const Extents &list) { return list[list.size() == 1 ? 0 : i]; });
    auto value = fold(one);
    if (!value)
      return std::nullopt;
    result.push_back(*value);
  }
  return l.intsValue(type, result, scalar);
}

std::optional<LoweredValue> snug::closedBinary(Lowering &l, Arithmetic kind, LoweredValue &x, LoweredValue &y) {
  if (!x.isClosed() || !y.isClosed() || !isShapeInteger(x.elementType))
    return std::nullopt;
  auto list =
      foldLists(l, {&x, &y}, x.elementType, [&](ArrayRef<AffineExpr> e) { return affine(kind, e[0], e[1], l); });
  if (list || x.closedVector || y.closedVector)
    return list;
  auto shape = l.broadcast(x.shape, y.shape);
  if (!shape)
    return std::nullopt;
  auto value = affine(kind, x.closed[0].shiftDims(x.rank(), shape->size() - x.rank()),
                      y.closed[0].shiftDims(y.rank(), shape->size() - y.rank()), l);
  if (!value)
    return std::nullopt;
  LoweredValue out;
  out.elementType = x.elementType;
  out.shape = *shape;
  out.closed = {*value};
  return out;
}

std::optional<bool> snug::decide(Lowering &l, arith::CmpIPredicate predicate, AffineExpr left, AffineExpr right) {
  auto low = l.dims.lowerBound(left - right), high = l.dims.upperBound(left - right);
  auto either = [](bool always, bool never) {
    return always ? std::optional<bool>(true) : never ? std::optional<bool>(false) : std::nullopt;
  };
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return either(areEqualExtents(left, right), (low && *low > 0) || (high && *high < 0));
  case arith::CmpIPredicate::slt:
    return either(high && *high < 0, low && *low >= 0);
  case arith::CmpIPredicate::sle:
    return either(high && *high <= 0, low && *low > 0);
  case arith::CmpIPredicate::sgt:
    return either(low && *low > 0, high && *high <= 0);
  case arith::CmpIPredicate::sge:
    return either(low && *low >= 0, high && *high < 0);
  default:
    return std::nullopt;
  }
}
