// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/Extents.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <numeric>

using namespace mlir;
using namespace snug;

bool DimSymbols::isKnown(StringRef name) const {
  return llvm::any_of(all, [&](const DimRange &range) { return range.name == name; }) ||
         llvm::any_of(expressions, [&](const auto &entry) { return entry.first == name; });
}

void DimSymbols::addOpen(StringRef name, int64_t step) {
  DimRange range;
  range.name = name.str();
  range.min = range.step = step;
  range.max = -1;
  symbolRanges.push_back(all.size());
  all.push_back(range);
}

void DimSymbols::markValue(StringRef name) {
  for (DimRange &range : all)
    range.isValue |= range.name == name;
}

AffineExpr DimSymbols::addIteration(AffineExpr count) {
  std::optional<int64_t> end = upperBound(count);
  DimRange range;
  range.name = "iteration";
  range.isIteration = true;
  range.max = end ? std::max<int64_t>(*end - 1, 0) : -1;
  symbolRanges.push_back(all.size());
  all.push_back(range);
  return getAffineSymbolExpr(symbolRanges.size() - 1, context);
}

bool DimSymbols::isOfIteration(AffineExpr expr) const {
  bool found = false;
  expr.walk([&](AffineExpr e) {
    if (auto symbol = dyn_cast<AffineSymbolExpr>(e))
      found |= all[symbolRanges[symbol.getPosition()]].isIteration;
  });
  return found;
}

AffineExpr DimSymbols::addData(StringRef name, AffineExpr bound) {
  std::optional<int64_t> most = upperBound(bound);
  DimRange range;
  range.name = name.str();
  range.bound = bound;
  range.max = most ? std::max<int64_t>(*most, 0) : -1;
  symbolRanges.push_back(all.size());
  all.push_back(range);
  return getAffineSymbolExpr(symbolRanges.size() - 1, context);
}

bool DimSymbols::isOfData(AffineExpr expr) const {
  return llvm::any_of(rangesOf(expr), [](const DimRange *range) { return bool(range->bound); });
}

AffineExpr DimSymbols::extreme(AffineExpr expr, bool upper) const {
  if (!isOfData(expr))
    return expr;
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return upper ? atMost(all[symbolRanges[symbol.getPosition()]].bound) : getAffineConstantExpr(0, context);
  auto binary = cast<AffineBinaryOpExpr>(expr);
  auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  bool turns = expr.getKind() == AffineExprKind::Mul && factor && factor.getValue() < 0;
  AffineExpr left = extreme(binary.getLHS(), turns ? !upper : upper), right = extreme(binary.getRHS(), upper);
  if (expr.getKind() == AffineExprKind::Mod)
    return upper ? right - 1 : getAffineConstantExpr(0, context);
  return getAffineBinaryOpExpr(expr.getKind(), left, right);
}

AffineExpr DimSymbols::inSteps(AffineExpr expr) const {
  SmallVector<AffineExpr> values;
  for (unsigned symbol = 0; symbol < symbolRanges.size(); ++symbol) {
    AffineExpr value = getAffineSymbolExpr(symbol, context);
    const DimRange &range = all[symbolRanges[symbol]];
    values.push_back(range.step > 1 ? value.floorDiv(range.step) * range.step + range.min % range.step : value);
  }
  return expr.replaceSymbols(values);
}

SmallVector<const DimRange *> DimSymbols::rangesOf(AffineExpr expr) const {
  SmallVector<const DimRange *> result;
  for (unsigned symbol = 0; symbol < symbolRanges.size(); ++symbol)
    if (expr.isFunctionOfSymbol(symbol))
      result.push_back(&all[symbolRanges[symbol]]);
  return result;
}

bool DimSymbols::isOpen(AffineExpr expr) const {
  return llvm::any_of(rangesOf(expr), [](const DimRange *range) { return range->isOpen(); });
}

// The factors of a product as it is written.
static void factorsOf(AffineExpr expr, SmallVectorImpl<AffineExpr> &factors) {
  auto product = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!product || expr.getKind() != AffineExprKind::Mul) {
    factors.push_back(expr);
    return;
  }
  factorsOf(product.getLHS(), factors);
  factorsOf(product.getRHS(), factors);
}

std::optional<std::string> DimSymbols::solveLinear(AffineExpr difference) const {
  if (isOfIteration(difference) || isOfData(difference)) // which are known inside of a run only
    return std::nullopt;
  AffineExpr zero = getAffineConstantExpr(0, context), one = getAffineConstantExpr(1, context);
  for (unsigned symbol = symbolRanges.size(); symbol-- > 0;) { // the dims of the first inputs are those that stay
    const DimRange &range = all[symbolRanges[symbol]];
    if (!range.isOpen() || range.bound)
      continue;
    // What stands for the symbol is itself or, divided, s floordiv step.
    AffineExpr unit = getAffineSymbolExpr(symbol, context);
    unit = range.step > 1 ? unit.floorDiv(range.step) : unit;
    // Linear in the unit: rest + factor * unit.
    AffineExpr rest = sumOfProducts(difference.replace(unit, zero));
    AffineExpr factor = sumOfProducts(difference.replace(unit, one) - rest);
    if (rest == zero || factor == zero || rest.isFunctionOfSymbol(symbol) || factor.isFunctionOfSymbol(symbol) ||
        !areEqualExtents(difference, factor * unit + rest))
      continue;
    auto value = exactQuotient(rest * -range.step, factor);
    if (value && (!isa<AffineConstantExpr>(*value) || cast<AffineConstantExpr>(*value).getValue() > 0))
      return range.name + "=" + print(*value);
  }
  return std::nullopt;
}

std::optional<std::string> DimSymbols::solve(AffineExpr left, AffineExpr right) const {
  for (AffineExpr difference : {left - right, inSteps(left) - inSteps(right)})
    if (auto solution = solveLinear(sumOfProducts(difference)))
      return solution;
  SmallVector<AffineExpr> own, other;
  factorsOf(left, own);
  factorsOf(right, other);
  if (own.size() < 2 || own.size() != other.size())
    return std::nullopt;
  for (auto [a, b] : llvm::zip(own, other))
    if (!areEqualExtents(a, b))
      return solve(a, b);
  return std::nullopt;
}

std::optional<std::pair<std::string, int64_t>> DimSymbols::solveStep(AffineExpr extent, int64_t divisor) const {
  SmallVector<AffineExpr> factors;
  factorsOf(sumOfProducts(extent), factors);
  for (AffineExpr factor : llvm::reverse(factors)) { // the last are those that exporters merge and cut
    auto divided = dyn_cast<AffineBinaryOpExpr>(factor);
    auto by = divided && factor.getKind() == AffineExprKind::FloorDiv ? dyn_cast<AffineConstantExpr>(divided.getRHS())
                                                                     : AffineConstantExpr();
    if (by && by.getValue() > 0 && by.getValue() < (int64_t(1) << 20) && divisor < (int64_t(1) << 20)) {
      if (auto inner = solveStep(divided.getLHS(), divisor * by.getValue()))
        return inner;
      continue;
    }
    auto symbol = dyn_cast<AffineSymbolExpr>(factor);
    const DimRange *range = symbol ? &all[symbolRanges[symbol.getPosition()]] : nullptr;
    if (range && range->isOpen() && !range->bound && range->step % divisor != 0 && divisor < (int64_t(1) << 30) &&
        range->step < (int64_t(1) << 30))
      return std::pair(range->name, std::lcm(range->step, divisor));
  }
  return std::nullopt;
}

bool DimSymbols::add(StringRef definition, std::string &error) {
  auto [name, value] = definition.split('=');
  name = name.trim();
  auto fail = [&](const Twine &what) {
    error = (Twine("dim '") + definition + "' " + what +
             "; write NAME=VALUE, NAME=MIN..MAX[:STEP] or NAME=EXPRESSION of other dims")
                .str();
    return false;
  };
  if (name.empty() || value.empty())
    return fail("has no name or no value");
  if (isKnown(name))
    return fail("is given twice");
  DimRange range;
  range.name = name.str();
  auto [bounds, step] = value.split(':');
  if (!step.empty() && (step.getAsInteger(10, range.step) || range.step < 1))
    return fail("has a step that is no positive number");
  size_t dots = bounds.find("..");
  if (dots == StringRef::npos) {
    if (bounds.trim().getAsInteger(10, range.min)) {
      // Only expressions of names, so that a mistyped number is still one.
      if (!step.empty() || !llvm::any_of(bounds, llvm::isAlpha))
        return fail("has a value that is no number");
      expressions.push_back({name.str(), bounds.trim().str()});
      return true;
    }
    range.max = range.min;
  } else if (bounds.take_front(dots).trim().getAsInteger(10, range.min) ||
             bounds.drop_front(dots + 2).trim().getAsInteger(10, range.max)) {
    return fail("has bounds that are no numbers");
  }
  if (range.min < 0 || range.max < range.min || range.max > (int64_t(1) << 40))
    return fail("has an empty or impossible range");
  if (!range.isFixed())
    symbolRanges.push_back(all.size());
  all.push_back(range);
  return true;
}

namespace {
// sum := product (('+'|'-') product)*; product := atom (('*'|'//'|'/'|'%') atom)*; atom := number | name | '(' sum ')'
struct ExtentParser {
  StringRef rest;
  MLIRContext *context;
  llvm::function_ref<AffineExpr(StringRef)> lookup;

  void skip() { rest = rest.ltrim(); }
  std::optional<AffineExpr> atom() {
    skip();
    if (rest.consume_front("(")) {
      auto inner = sum();
      skip();
      if (!inner || !rest.consume_front(")"))
        return std::nullopt;
      return inner;
    }
    size_t end = rest.find_first_of(" +-*/%()");
    StringRef token = rest.take_front(end);
    rest = rest.drop_front(token.size());
    int64_t number;
    if (token.empty())
      return std::nullopt;
    if (!token.getAsInteger(10, number))
      return getAffineConstantExpr(number, context);
    return lookup(token);
  }
  std::optional<AffineExpr> product() {
    auto left = atom();
    while (left) {
      skip();
      bool times = rest.consume_front("*"), over = !times && (rest.consume_front("//") || rest.consume_front("/"));
      if (!times && !over && !rest.consume_front("%"))
        return left;
      auto right = atom();
      // Only a positive divisor rounds as all readers of the text do.
      auto divisor = right ? dyn_cast<AffineConstantExpr>(*right) : AffineConstantExpr();
      if (!right || (!times && (!divisor || divisor.getValue() < 1)))
        return std::nullopt;
      left = times ? *left * *right : over ? left->floorDiv(*right) : *left % *right;
    }
    return left;
  }
  std::optional<AffineExpr> sum() {
    auto left = product();
    while (left) {
      skip();
      bool minus = rest.consume_front("-");
      if (!minus && !rest.consume_front("+"))
        return left;
      auto right = product();
      if (!right)
        return std::nullopt;
      left = minus ? *left - *right : *left + *right;
    }
    return left;
  }
};
} // namespace

std::optional<AffineExpr> DimSymbols::parse(StringRef text, SmallVectorImpl<std::string> &missing) const {
  return parse(text, missing, 0);
}

std::optional<AffineExpr> DimSymbols::parse(StringRef text, SmallVectorImpl<std::string> &missing, int depth) const {
  auto lookup = [&](StringRef name) -> AffineExpr {
    // Names of names; deeper than their number is a circle.
    for (const auto &[known, expression] : expressions)
      if (known == name && depth <= static_cast<int>(expressions.size()))
        if (auto value = parse(expression, missing, depth + 1))
          return *value;
    unsigned symbol = 0;
    for (const DimRange &range : all) {
      if (range.name == name)
        return range.isFixed() ? getAffineConstantExpr(range.min, context) : getAffineSymbolExpr(symbol, context);
      symbol += !range.isFixed();
    }
    if (!llvm::is_contained(missing, name))
      missing.push_back(name.str());
    return getAffineConstantExpr(1, context);
  };
  if (isKnown(text))
    return lookup(text);
  ExtentParser parser{text, context, lookup};
  auto result = parser.sum();
  parser.skip();
  // Exporters also write names that look like expressions but are none ("floor(h)"): then the text itself is the name.
  if (!result || !parser.rest.empty())
    return lookup(text);
  return result;
}

std::string DimSymbols::print(AffineExpr expr) const {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return all[symbolRanges[symbol.getPosition()]].name;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary) {
    std::string text;
    llvm::raw_string_ostream(text) << expr;
    return text;
  }
  AffineExpr left = binary.getLHS(), right = binary.getRHS();
  auto side = [&](AffineExpr e) { return isa<AffineBinaryOpExpr>(e) ? "(" + print(e) + ")" : print(e); };
  auto number = dyn_cast<AffineConstantExpr>(right);
  switch (expr.getKind()) {
  case AffineExprKind::Add: {
    if (number && number.getValue() < 0)
      return print(left) + " - " + std::to_string(-number.getValue());
    // x * -c as a subtraction: there are no signs in the syntax.
    auto product = dyn_cast<AffineBinaryOpExpr>(right);
    auto factor = product && right.getKind() == AffineExprKind::Mul ? dyn_cast<AffineConstantExpr>(product.getRHS())
                                                                    : AffineConstantExpr();
    if (factor && factor.getValue() < 0)
      return print(left) + " - " +
             (factor.getValue() == -1 ? side(product.getLHS()) : side(product.getLHS()) + "*" + std::to_string(-factor.getValue()));
    return print(left) + " + " + print(right);
  }
  case AffineExprKind::Mul:
    if (number && number.getValue() < 0)
      return "0 - " + side(left) + (number.getValue() == -1 ? "" : "*" + std::to_string(-number.getValue()));
    return side(left) + "*" + side(right);
  case AffineExprKind::FloorDiv:
    return side(left) + "/" + side(right);
  case AffineExprKind::CeilDiv:
    return "(" + print(left + right - 1) + ")/" + side(right);
  default:
    return side(left) + "%" + side(right);
  }
}

std::optional<int64_t> DimSymbols::evaluate(AffineExpr expr, bool upper) const {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    const DimRange &range = all[symbolRanges[symbol.getPosition()]];
    if (upper && range.isOpen())
      return std::nullopt;
    return upper ? range.max : range.min;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<int64_t> left = evaluate(binary.getLHS(), upper);
  // A negative factor turns the direction around.
  auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  if (expr.getKind() == AffineExprKind::Mul && factor && factor.getValue() < 0)
    left = evaluate(binary.getLHS(), !upper);
  std::optional<int64_t> right = evaluate(binary.getRHS(), upper);
  if (!left || !right)
    return std::nullopt;
  int64_t result;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return llvm::AddOverflow(*left, *right, result) ? std::nullopt : std::optional<int64_t>(result);
  case AffineExprKind::Mul:
    return llvm::MulOverflow(*left, *right, result) ? std::nullopt : std::optional<int64_t>(result);
  case AffineExprKind::FloorDiv:
    return *right <= 0 ? std::nullopt : std::optional<int64_t>(llvm::divideFloorSigned(*left, *right));
  case AffineExprKind::CeilDiv:
    return *right <= 0 ? std::nullopt : std::optional<int64_t>(llvm::divideCeilSigned(*left, *right));
  case AffineExprKind::Mod:
    return *right <= 0 ? std::nullopt : std::optional<int64_t>(upper ? *right - 1 : 0);
  default:
    return std::nullopt;
  }
}

// The value of an expression of one symbol.
static std::optional<int64_t> valueAt(AffineExpr expr, unsigned numSymbols, int64_t value) {
  SmallVector<AffineExpr> values(numSymbols, getAffineConstantExpr(value, expr.getContext()));
  auto number = dyn_cast<AffineConstantExpr>(expr.replaceSymbols(values));
  return number ? std::optional(number.getValue()) : std::nullopt;
}

std::optional<int64_t> DimSymbols::bound(AffineExpr expr, bool upper) const {
  std::optional<int64_t> result = evaluate(expr, upper);
  if (isa<AffineConstantExpr, AffineSymbolExpr>(expr))
    return result;
  auto dims = rangesOf(expr);
  constexpr int64_t few = 256;
  if (dims.size() != 1 || dims[0]->isOpen() || (dims[0]->max - dims[0]->min) / dims[0]->step >= few ||
      dims[0]->max >= (int64_t(1) << 24)) // else products may overflow
    return result;
  result.reset();
  for (int64_t value = dims[0]->min; value <= dims[0]->max; value += dims[0]->step) {
    auto at = valueAt(expr, symbolRanges.size(), value);
    if (!at)
      return std::nullopt;
    result = !result ? *at : upper ? std::max(*result, *at) : std::min(*result, *at);
  }
  return result;
}

std::optional<int64_t> DimSymbols::upperBound(AffineExpr expr) const { return bound(expr, true); }
std::optional<int64_t> DimSymbols::lowerBound(AffineExpr expr) const { return bound(expr, false); }
