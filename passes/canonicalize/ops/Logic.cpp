// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Comparisons, logic, and what is chosen by it. What is known of dims stays so.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ops/ClosedIntegers.h"
#include "passes/canonicalize/ops/Strings.h"

using namespace mlir;
using namespace snug;

namespace {
using Builder = OpBuilder;

arith::CmpIPredicate withSign(arith::CmpIPredicate predicate, Type type) {
  if (!isUnsigned(type))
    return predicate;
  switch (predicate) {
  case arith::CmpIPredicate::slt: return arith::CmpIPredicate::ult;
  case arith::CmpIPredicate::sle: return arith::CmpIPredicate::ule;
  case arith::CmpIPredicate::sgt: return arith::CmpIPredicate::ugt;
  case arith::CmpIPredicate::sge: return arith::CmpIPredicate::uge;
  default: return predicate;
  }
}

template <arith::CmpFPredicate FloatPredicate, arith::CmpIPredicate IntPredicate> LogicalResult compare(Lowering &l) {
  LoweredValue *x = &l.input(0), *y = &l.input(1);
  auto folded = foldLists(l, {x, y}, l.b.getI1Type(), [&](ArrayRef<AffineExpr> e) -> std::optional<AffineExpr> {
    auto holds = decide(l, IntPredicate, e[0], e[1]);
    return holds ? std::optional<AffineExpr>(l.constant(*holds)) : std::nullopt;
  });
  if (folded) {
    l.define(0, *folded);
    return success();
  }
  if (isString(x->elementType))
    return equalStrings(l);
  auto result = l.elementwise({x, y}, l.b.getI1Type(), [&](Builder &b, Location loc, ValueRange a) -> Value {
    if (isa<FloatType>(x->elementType))
      return b.createOrFold<arith::CmpFOp>(loc, FloatPredicate, a[0], a[1]);
    return b.createOrFold<arith::CmpIOp>(loc, withSign(IntPredicate, x->elementType), a[0], a[1]);
  });
  if (failed(result))
    return failure();
  if (auto difference = IntPredicate == arith::CmpIPredicate::eq ? closedBinary(l, Arithmetic::Sub, *x, *y) : std::nullopt;
      difference && difference->rank() <= 1 && difference->closed.size() == 1 && difference->closed[0].isSymbolicOrConstant())
    result->relations = {{difference->closed[0], true}};
  l.define(0, *result);
  return success();
}

template <class Op> LogicalResult logical(Lowering &l) {
  auto result = l.elementwise({&l.input(0), &l.input(1)}, l.b.getI1Type(), [](Builder &b, Location loc, ValueRange a) -> Value {
    return b.createOrFold<Op>(loc, a[0], a[1]);
  });
  if (failed(result))
    return failure();
  auto isKnown = [&](const LoweredValue &value) {
    auto number = l.constantInts(value);
    return !value.relations.empty() || (number && number->size() == 1 && number->front());
  };
  if (std::is_same_v<Op, arith::AndIOp> && isKnown(l.input(0)) && isKnown(l.input(1))) {
    result->relations = l.input(0).relations;
    llvm::append_range(result->relations, l.input(1).relations);
  }
  l.define(0, *result);
  return success();
}

template <class Op> LogicalResult bitwise(Lowering &l) {
  auto result = l.elementwise({&l.input(0), &l.input(1)}, l.input(0).elementType,
                              [](Builder &b, Location loc, ValueRange a) -> Value { return b.createOrFold<Op>(loc, a[0], a[1]); });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// The one choice of two lists that shapes need, where relations between dims decide: the first where the lists are the
// same as soon as a relation does not hold (x / y or else 1, where x != y), or where it has to hold (y divides x).
std::optional<LoweredValue> chooseList(Lowering &l, const LoweredValue &condition, LoweredValue &then, LoweredValue &otherwise) {
  auto first = l.list(then), second = l.list(otherwise);
  if (condition.relations.empty() || !first || !second || first->size() != second->size())
    return std::nullopt;
  auto sameWithout = [&](const Relation &relation) {
    for (const DimRange *range : l.dims.rangesOf(relation.expr)) {
      SmallVector<std::string> missing;
      AffineExpr symbol = *l.dims.parse(range->name, missing);
      AffineExpr rest = sumOfProducts(relation.expr.replace(symbol, l.constant(0)));
      AffineExpr factor = sumOfProducts(relation.expr.replace(symbol, l.constant(1)) - rest);
      if (relation.isZero || (factor != l.constant(1) && factor != l.constant(-1)) || relation.expr.getKind() != AffineExprKind::Add)
        continue;
      AffineExpr value = factor == l.constant(1) ? -rest : rest;
      if (llvm::all_of(llvm::zip_equal(*first, *second), [&](auto pair) {
            return areEqualExtents(std::get<0>(pair).replace(symbol, value), std::get<1>(pair).replace(symbol, value));
          }))
        return true;
    }
    return false;
  };
  for (const Relation &relation : condition.relations) {
    auto rest = dyn_cast<AffineBinaryOpExpr>(relation.expr);
    bool divides = relation.isZero && rest && relation.expr.getKind() == AffineExprKind::Mod;
    if (!sameWithout(relation) && !(divides && l.requireMultiple(rest.getLHS(), rest.getRHS())))
      return std::nullopt;
  }
  return then;
}

LogicalResult where(Lowering &l) {
  if (auto chosen = chooseList(l, l.input(0), l.input(1), l.input(2))) {
    l.define(0, *chosen);
    return success();
  }
  auto folded = foldLists(l, {&l.input(0), &l.input(1), &l.input(2)}, l.input(1).elementType,
                          [](ArrayRef<AffineExpr> e) -> std::optional<AffineExpr> {
                            auto condition = dyn_cast<AffineConstantExpr>(e[0]);
                            return condition ? std::optional<AffineExpr>(e[condition.getValue() ? 1 : 2]) : std::nullopt;
                          });
  if (folded) {
    l.define(0, *folded);
    return success();
  }
  auto result = l.elementwise({&l.input(0), &l.input(1), &l.input(2)}, l.input(1).elementType,
                              [](Builder &b, Location loc, ValueRange a) -> Value {
                                return b.createOrFold<arith::SelectOp>(loc, a[0], a[1], a[2]);
                              });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addLogicOps(LoweringTable &t) {
  t.add("Equal", 7, compare<arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq>, types::Ordinary | types::String);
  t.add("Less", 7, compare<arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt>);
  t.add("LessOrEqual", 12, compare<arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle>);
  t.add("Greater", 7, compare<arith::CmpFPredicate::OGT, arith::CmpIPredicate::sgt>);
  t.add("GreaterOrEqual", 12, compare<arith::CmpFPredicate::OGE, arith::CmpIPredicate::sge>);
  t.add("And", 7, logical<arith::AndIOp>);
  t.add("Or", 7, logical<arith::OrIOp>);
  t.add("Xor", 7, logical<arith::XOrIOp>);
  t.add("BitwiseAnd", 18, bitwise<arith::AndIOp>);
  t.add("BitwiseOr", 18, bitwise<arith::OrIOp>);
  t.add("BitwiseXor", 18, bitwise<arith::XOrIOp>);
  t.add("Where", 9, where, types::Any);
}
