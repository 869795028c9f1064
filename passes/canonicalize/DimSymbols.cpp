// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/DimSymbols.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace snug;

bool DimSymbols::add(StringRef definition, std::string &error) {
  auto [name, value] = definition.split('=');
  name = name.trim();
  auto fail = [&](const Twine &what) {
    error = (Twine("dim '") + definition + "' " + what + "; write NAME=VALUE or NAME=MIN..MAX[:STEP]").str();
    return false;
  };
  if (name.empty() || value.empty())
    return fail("has no name or no value");
  for (const DimRange &range : all)
    if (range.name == name)
      return fail("is given twice");
  DimRange range;
  range.name = name.str();
  auto [bounds, step] = value.split(':');
  if (!step.empty() && (step.getAsInteger(10, range.step) || range.step < 1))
    return fail("has a step that is no positive number");
  size_t dots = bounds.find("..");
  if (dots == StringRef::npos) {
    if (bounds.trim().getAsInteger(10, range.min))
      return fail("has a value that is no number");
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
// sum := product (('+'|'-') product)*; product := atom ('*' atom)*; atom := number | name | '(' sum ')'
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
    size_t end = rest.find_first_of(" +-*()");
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
      if (!rest.consume_front("*"))
        return left;
      auto right = atom();
      if (!right)
        return std::nullopt;
      left = *left * *right;
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

std::optional<AffineExpr> DimSymbols::parse(StringRef text, SmallVectorImpl<std::string> &missing) {
  auto lookup = [&](StringRef name) -> AffineExpr {
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
  ExtentParser parser{text, context, lookup};
  auto result = parser.sum();
  parser.skip();
  // Exporters also write names that look like expressions but are none ("(h // 2)"): then the text itself is the name.
  if (!result || !parser.rest.empty())
    return lookup(text);
  return result;
}

std::string DimSymbols::print(AffineExpr expr) const {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return all[symbolRanges[symbol.getPosition()]].name;
  if (auto binary = dyn_cast<AffineBinaryOpExpr>(expr)) {
    const char *sign = expr.getKind() == AffineExprKind::Add        ? " + "
                       : expr.getKind() == AffineExprKind::Mul      ? "*"
                       : expr.getKind() == AffineExprKind::FloorDiv ? " floordiv "
                       : expr.getKind() == AffineExprKind::CeilDiv  ? " ceildiv "
                                                                    : " mod ";
    auto side = [&](AffineExpr e) {
      bool atom = !isa<AffineBinaryOpExpr>(e) || (expr.getKind() == AffineExprKind::Add);
      return atom ? print(e) : "(" + print(e) + ")";
    };
    return side(binary.getLHS()) + sign + side(binary.getRHS());
  }
  std::string text;
  llvm::raw_string_ostream(text) << expr;
  return text;
}

std::optional<int64_t> DimSymbols::evaluate(AffineExpr expr, bool upper) const {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    const DimRange &range = all[symbolRanges[symbol.getPosition()]];
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

std::optional<int64_t> DimSymbols::upperBound(AffineExpr expr) const { return evaluate(expr, true); }
std::optional<int64_t> DimSymbols::lowerBound(AffineExpr expr) const { return evaluate(expr, false); }
