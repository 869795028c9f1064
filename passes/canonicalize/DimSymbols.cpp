// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/Extents.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
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
  return llvm::any_of(rangesOf(expr), [](const DimRange *range) { return range->isIteration; });
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
  llvm::SmallSetVector<const DimRange *, 4> result;
  for (unsigned symbol = 0; symbol < symbolRanges.size(); ++symbol) {
    const DimRange &range = all[symbolRanges[symbol]];
    if (!expr.isFunctionOfSymbol(symbol))
      continue;
    if (!range.isExtremum())
      result.insert(&range);
    else
      for (AffineExpr side : {range.first, range.second})
        for (const DimRange *inner : rangesOf(side))
          result.insert(inner);
  }
  return result.takeVector();
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
  if (isOfExtremum(difference)) // no definition of a dim can say it
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

std::optional<std::pair<std::string, int64_t>> DimSymbols::solveDivided(AffineExpr left, AffineExpr right) const {
  std::optional<std::pair<std::string, int64_t>> found;
  (left - right).walk([&](AffineExpr part) {
    auto divided = dyn_cast<AffineBinaryOpExpr>(part);
    auto by = divided && part.getKind() == AffineExprKind::FloorDiv ? dyn_cast<AffineConstantExpr>(divided.getRHS())
                                                                   : AffineConstantExpr();
    if (!by || by.getValue() < 2 || by.getValue() >= (int64_t(1) << 20))
      return;
    for (unsigned symbol = symbolRanges.size(); symbol-- > 0 && !found;) {
      const DimRange &range = all[symbolRanges[symbol]];
      if (!range.isOpen() || range.bound || range.step >= (int64_t(1) << 20) || !part.isFunctionOfSymbol(symbol))
        continue;
      DimSymbols stepped(*this);
      DimRange &own = stepped.all[symbolRanges[symbol]];
      own.min = own.step = std::lcm(range.step, by.getValue());
      if (own.step == range.step)
        continue;
      AffineExpr difference = sumOfProducts(stepped.inSteps(left) - stepped.inSteps(right));
      if (difference == getAffineConstantExpr(0, context) || stepped.solveLinear(difference))
        found = {range.name, own.step};
    }
  });
  return found;
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
    for (auto [index, range] : llvm::enumerate(all)) {
      auto symbol = llvm::find(symbolRanges, index);
      if (range.name == name && !range.isExtremum())
        return symbol == symbolRanges.end() ? getAffineConstantExpr(range.min, context)
                                            : getAffineSymbolExpr(symbol - symbolRanges.begin(), context);
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

// Of a negative number, the least one included.
static std::string magnitude(int64_t number) { return std::to_string(0 - static_cast<uint64_t>(number)); }

std::string DimSymbols::print(AffineExpr expr) const {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    const DimRange &range = all[symbolRanges[symbol.getPosition()]];
    auto side = [&](AffineExpr e) { // there are no signs in the syntax
      auto number = dyn_cast<AffineConstantExpr>(e);
      return number && number.getValue() < 0 ? "0 - " + print(e * -1) : print(e);
    };
    return range.isExtremum() ? (range.isLarger ? "max(" : "min(") + side(range.first) + ", " + side(range.second) + ")" : range.name;
  }
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
      return print(left) + " - " + magnitude(number.getValue());
    // x * -c as a subtraction.
    auto product = dyn_cast<AffineBinaryOpExpr>(right);
    auto factor = product && right.getKind() == AffineExprKind::Mul ? dyn_cast<AffineConstantExpr>(product.getRHS())
                                                                    : AffineConstantExpr();
    if (factor && factor.getValue() < 0)
      return print(left) + " - " +
             (factor.getValue() == -1 ? side(product.getLHS()) : side(product.getLHS()) + "*" + magnitude(factor.getValue()));
    return print(left) + " + " + print(right);
  }
  case AffineExprKind::Mul:
    if (number && number.getValue() < 0)
      return "0 - " + side(left) + (number.getValue() == -1 ? "" : "*" + magnitude(number.getValue()));
    return side(left) + "*" + side(right);
  case AffineExprKind::FloorDiv:
    return side(left) + "/" + side(right);
  case AffineExprKind::CeilDiv:
    return "(" + print(left + right - 1) + ")/" + side(right);
  default:
    return side(left) + "%" + side(right);
  }
}
