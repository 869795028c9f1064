// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is known of the values of extents: the larger and smaller of two, and bounds.
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/Extents.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

namespace {
using Bound = std::optional<int64_t>;

// A bound of the larger (or smaller) of two values, from the same bound of each: from one side alone, all above it.
Bound ofBoth(Bound a, Bound b, bool larger, bool upper) {
  if (a && b)
    return larger ? std::max(*a, *b) : std::min(*a, *b);
  return larger == upper ? std::nullopt : a ? a : b;
}

// Of two bounds that both hold.
Bound tighter(Bound a, Bound b, bool upper) {
  if (!a || !b)
    return a ? a : b;
  return upper ? std::min(*a, *b) : std::max(*a, *b);
}

// By how much the expression changes at least and at most where the symbol is larger by one: x - x / 2 by 0 to 1. Nothing
// where that is not seen.
struct Slope {
  int64_t low = 0, high = 0;
};
std::optional<Slope> slopeOf(AffineExpr expr, AffineExpr symbol) {
  if (expr == symbol)
    return Slope{1, 1};
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return Slope{};
  auto left = slopeOf(binary.getLHS(), symbol), right = slopeOf(binary.getRHS(), symbol);
  if (!left || !right)
    return std::nullopt;
  if (left->low == 0 && left->high == 0 && right->low == 0 && right->high == 0)
    return Slope{};
  auto number = dyn_cast<AffineConstantExpr>(binary.getRHS());
  int64_t by = number ? number.getValue() : 0;
  Slope slope;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    if (llvm::AddOverflow(left->low, right->low, slope.low) || llvm::AddOverflow(left->high, right->high, slope.high))
      return std::nullopt;
    return slope;
  case AffineExprKind::Mul:
    if (!number || llvm::MulOverflow(by < 0 ? left->high : left->low, by, slope.low) ||
        llvm::MulOverflow(by < 0 ? left->low : left->high, by, slope.high))
      return std::nullopt;
    return slope;
  case AffineExprKind::FloorDiv:
  case AffineExprKind::CeilDiv:
    if (by <= 0)
      return std::nullopt;
    return Slope{llvm::divideFloorSigned(left->low, by), llvm::divideCeilSigned(left->high, by)};
  default:
    return std::nullopt;
  }
}
} // namespace

AffineExpr DimSymbols::extremum(AffineExpr left, AffineExpr right, bool larger, AffineExpr most) {
  for (auto [symbol, index] : llvm::enumerate(symbolRanges)) {
    const DimRange &range = all[index];
    if (range.isExtremum() && range.isLarger == larger &&
        ((range.first == left && range.second == right) || (range.first == right && range.second == left)))
      return getAffineSymbolExpr(symbol, context);
  }
  if (isa<AffineConstantExpr>(left)) // prints as one thinks of it: max(h, 10)
    std::swap(left, right);
  DimRange range;
  range.first = left;
  range.second = right;
  range.isLarger = larger;
  range.bound = most;
  symbolRanges.push_back(all.size());
  all.push_back(range);
  return getAffineSymbolExpr(symbolRanges.size() - 1, context);
}

bool DimSymbols::isOfExtremum(AffineExpr expr) const {
  for (unsigned symbol = 0; symbol < symbolRanges.size(); ++symbol)
    if (all[symbolRanges[symbol]].isExtremum() && expr.isFunctionOfSymbol(symbol))
      return true;
  return false;
}

// From the bounds of the parts.
Bound DimSymbols::evaluate(AffineExpr expr, bool upper) const {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    const DimRange &range = all[symbolRanges[symbol.getPosition()]];
    if (range.isExtremum())
      return ofBoth(bound(range.first, upper), bound(range.second, upper), range.isLarger, upper);
    if (upper && range.isOpen())
      return std::nullopt;
    return upper ? range.max : range.min;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  AffineExpr leftExpr = binary.getLHS(), rightExpr = binary.getRHS();
  Bound left = evaluate(leftExpr, upper), right = evaluate(rightExpr, upper);
  bool isFixed = isa<AffineConstantExpr>(rightExpr);
  int64_t result;
  auto product = [&](Bound a, Bound b) {
    return !a || !b || llvm::MulOverflow(*a, *b, result) ? std::nullopt : Bound(result);
  };
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return !left || !right || llvm::AddOverflow(*left, *right, result) ? std::nullopt : Bound(result);
  case AffineExprKind::Mul: {
    if (isFixed) // a negative factor turns the direction around
      return product(*right < 0 ? evaluate(leftExpr, !upper) : left, right);
    Bound low = upper ? evaluate(leftExpr, false) : left, lowRight = upper ? evaluate(rightExpr, false) : right;
    if (low && lowRight && *low >= 0 && *lowRight >= 0)
      return product(left, right);
    Bound most; // one of the corners
    for (bool first : {false, true})
      for (bool second : {false, true}) {
        Bound corner = product(evaluate(leftExpr, first), evaluate(rightExpr, second));
        if (!corner)
          return std::nullopt;
        most = ofBoth(most ? most : corner, corner, /*larger=*/upper, upper);
      }
    return most;
  }
  case AffineExprKind::FloorDiv:
  case AffineExprKind::CeilDiv:
    if (!isFixed && left) // the larger the divisor, the nearer to 0
      right = evaluate(rightExpr, (*left >= 0) != upper);
    if (auto least = evaluate(rightExpr, false); !left || !right || !least || *least <= 0)
      return std::nullopt;
    return expr.getKind() == AffineExprKind::FloorDiv ? llvm::divideFloorSigned(*left, *right)
                                                      : llvm::divideCeilSigned(*left, *right);
  case AffineExprKind::Mod:
    return !right || *right <= 0 ? std::nullopt : Bound(upper ? *right - 1 : 0);
  default:
    return std::nullopt;
  }
}

// The value of an expression where each dim has this one.
Bound DimSymbols::valueAt(AffineExpr expr, int64_t value) const {
  SmallVector<AffineExpr> values(symbolRanges.size(), getAffineConstantExpr(value, context));
  for (unsigned symbol = 0; symbol < symbolRanges.size(); ++symbol) // those before it say what an extremum is
    if (const DimRange &range = all[symbolRanges[symbol]]; range.isExtremum()) {
      auto first = dyn_cast<AffineConstantExpr>(range.first.replaceSymbols(values)),
           second = dyn_cast<AffineConstantExpr>(range.second.replaceSymbols(values));
      if (first && second)
        values[symbol] = (first.getValue() > second.getValue()) == range.isLarger ? first : second;
    }
  auto number = dyn_cast<AffineConstantExpr>(expr.replaceSymbols(values));
  return number ? Bound(number.getValue()) : std::nullopt;
}

Bound DimSymbols::bound(AffineExpr expr, bool upper, int depth) const {
  Bound result = evaluate(expr, upper);
  if (isa<AffineConstantExpr>(expr))
    return result;
  // What rises with the larger of two is the larger of what it is for each, and so on.
  constexpr int deepest = 6; // two cases each
  for (unsigned symbol = 0; symbol < symbolRanges.size() && depth < deepest; ++symbol) {
    const DimRange &range = all[symbolRanges[symbol]];
    AffineExpr own = getAffineSymbolExpr(symbol, context);
    if (!range.isExtremum() || expr == own || !expr.isFunctionOfSymbol(symbol))
      continue;
    auto slope = slopeOf(expr, own);
    if (!slope || (slope->low < 0 && slope->high > 0))
      continue;
    auto with = [&](AffineExpr side) { return bound(sumOfProducts(expr.replace(own, side)), upper, depth + 1); };
    Bound cases = ofBoth(with(range.first), with(range.second), range.isLarger == (slope->low >= 0), upper);
    result = tighter(result, cases, upper);
    break;
  }
  if (isa<AffineSymbolExpr>(expr) && !isOfExtremum(expr))
    return result;
  auto dims = rangesOf(expr);
  constexpr int64_t few = 256;
  if (dims.size() != 1 || dims[0]->isOpen() || (dims[0]->max - dims[0]->min) / dims[0]->step >= few ||
      dims[0]->max >= (int64_t(1) << 24)) // else products may overflow
    return result;
  result.reset();
  for (int64_t value = dims[0]->min; value <= dims[0]->max; value += dims[0]->step) {
    auto at = valueAt(expr, value);
    if (!at)
      return std::nullopt;
    result = !result ? *at : upper ? std::max(*result, *at) : std::min(*result, *at);
  }
  return result;
}

// As it is written, and with what cancels out; each may be seen to lie closer.
Bound DimSymbols::eitherBound(AffineExpr expr, bool upper) const {
  AffineExpr sum = sumOfProducts(expr);
  Bound result = bound(sum, upper);
  return sum == expr ? result : tighter(result, bound(expr, upper), upper);
}

Bound DimSymbols::upperBound(AffineExpr expr) const { return eitherBound(expr, true); }
Bound DimSymbols::lowerBound(AffineExpr expr) const { return eitherBound(expr, false); }
