// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ops/LoopCourse.h"
#include "passes/canonicalize/ops/ControlFlow.h"

using namespace mlir;
using namespace snug;

// What is added to each of `before` to give `after`, and again to give `next`.
static std::optional<Extents> commonDifference(ArrayRef<AffineExpr> before, ArrayRef<AffineExpr> after,
                                               ArrayRef<AffineExpr> next) {
  Extents differences;
  for (auto [first, second, third] : llvm::zip_equal(before, after, next)) {
    AffineExpr difference = sumOfProducts(second - first);
    if (!areEqualExtents(third - second, difference))
      return std::nullopt;
    differences.push_back(difference);
  }
  return differences;
}

Course snug::courseOf(Lowering &l, const LoweredValue &before, const LoweredValue &after, const LoweredValue &next) {
  Course course;
  for (const LoweredValue *value : {&before, &after, &next})
    if (!value->isTensor() || value->rank() != before.rank() || value->elementType != before.elementType)
      return course;
  auto growth = commonDifference(before.shape, after.shape, next.shape);
  if (!growth)
    return course;
  if (llvm::any_of(*growth, [&](AffineExpr extent) { return extent != l.constant(0); })) {
    if (llvm::all_of(*growth, [&](AffineExpr extent) { return l.dims.lowerBound(extent).value_or(-1) >= 0; }))
      course.growth = *growth;
    return course;
  }
  auto first = l.list(before), second = l.list(after), third = l.list(next);
  if (!before.elementType.isInteger(1) && first && second && third && first->size() == second->size() &&
      second->size() == third->size())
    course.steps = commonDifference(*first, *second, *third).value_or(Extents());
  return course;
}

// Appends what must hold for the value to be true, or with `negated` for it to be false.
static void addContinuations(Lowering &l, Value value, bool negated, SmallVectorImpl<Continuation> &found) {
  auto node = value.getDefiningOp<onnx::NodeOp>();
  if (!node || !node.getDomain().empty())
    return;
  StringRef type = node.getOpType();
  auto term = [&](unsigned input, bool isNegated) { addContinuations(l, node->getOperand(input), isNegated, found); };
  if (type == "Identity")
    return term(0, negated);
  if (type == "Not")
    return term(0, !negated);
  if (type == (negated ? "Or" : "And")) {
    term(0, negated);
    return term(1, negated);
  }
  if (type == "If" && !negated) { // `a and b` as exporters write it: b where a is true, else false
    unsigned index = cast<OpResult>(value).getResultNumber();
    Region *whenTrue = node.getBody("then_branch"), *whenFalse = node.getBody("else_branch");
    auto yielded = [&](Region *branch) { return branch->front().getTerminator()->getOperand(index); };
    if (whenTrue && whenFalse && knownCondition(l, l.lookup(yielded(whenFalse))) == false)
      addContinuations(l, yielded(whenTrue), false, found);
    return;
  }
  bool isLess = type == "Less" || type == "LessOrEqual", isGreater = type == "Greater" || type == "GreaterOrEqual";
  if (!isLess && !isGreater)
    return;
  auto left = l.ints(l.lookup(node->getOperand(0))), right = l.ints(l.lookup(node->getOperand(1)));
  if (!left || !right || left->size() != 1 || right->size() != 1)
    return;
  AffineExpr slack = isLess ? right->front() - left->front() : left->front() - right->front();
  bool isStrict = !type.ends_with("OrEqual");
  slack = negated ? l.constant(0) - slack : slack;
  found.push_back({value, sumOfProducts(isStrict != negated ? slack - 1 : slack)});
}

SmallVector<Continuation> snug::continuations(Lowering &l, Value condition) {
  SmallVector<Continuation> found;
  addContinuations(l, condition, false, found);
  return found;
}

std::optional<AffineExpr> snug::iterationsUntil(Lowering &l, AffineExpr slack, int64_t decrease) {
  // Iteration i + 1 runs where slack - i * decrease >= 0.
  AffineExpr further = slack.floorDiv(decrease) + 1;
  auto low = l.dims.lowerBound(further), high = l.dims.upperBound(further);
  if (!low || !high || *high >= INT32_MAX)
    return std::nullopt;
  return normalExtent(*low >= 0 ? further + 1 : further + 1 - *low);
}
