// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops require of extents: known to hold, found out for open dims, or left to be checked by each run.
#include "lib/analysis/NodeName.h"
#include "passes/canonicalize/Lowering.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

AffineExpr Lowering::inUnits(AffineExpr extent) {
  for (auto [multiple, divisor] : multiples) {
    SmallVector<AffineExpr> values;
    for (unsigned symbol = 0; symbol < dims.symbols().size(); ++symbol)
      values.push_back(getAffineSymbolExpr(symbol, b.getContext()));
    values[cast<AffineSymbolExpr>(multiple).getPosition()] = multiple.floorDiv(divisor) * divisor;
    // What was a quotient by the divisor stays one.
    extent = sumOfProducts(extent.replaceSymbols(values));
  }
  return multiples.empty() ? dims.inSteps(extent) : extent;
}

bool Lowering::same(AffineExpr left, AffineExpr right) {
  if (areEqualExtents(left, right) || areEqualExtents(dims.inSteps(left), dims.inSteps(right)) ||
      (!multiples.empty() && areEqualExtents(inUnits(left), inUnits(right))))
    return true;
  if (!solution && !step)
    solution = dims.solve(left, right);
  if (!solution && !step)
    step = dims.solveDivided(left, right);
  return false;
}

std::optional<AffineExpr> Lowering::quotient(AffineExpr left, AffineExpr right) {
  auto value = exactQuotient(left, right);
  if (!value)
    value = exactQuotient(dims.inSteps(left), dims.inSteps(right));
  if (!value && !multiples.empty())
    value = exactQuotient(inUnits(left), inUnits(right));
  if (value)
    return normalExtent(isa<AffineConstantExpr>(right) ? left.floorDiv(right) : *value);
  if (auto divisor = dyn_cast<AffineConstantExpr>(right); divisor && divisor.getValue() > 1 && !step && !solution)
    step = dims.solveStep(left, divisor.getValue());
  return std::nullopt;
}

std::string Lowering::stepHint(AffineExpr extent, int64_t parts) {
  std::string text;
  for (const DimRange *range : dims.rangesOf(extent))
    if (parts > 1 && text.empty() && range->step % parts != 0)
      text = "; where the dim goes in steps of " + std::to_string(parts) + ", it does: --dim " + range->name + "=" +
             std::to_string(llvm::alignTo(std::max<int64_t>(range->min, 1), parts)) + ".." +
             std::to_string(range->max / parts * parts) + ":" + std::to_string(parts);
  return text;
}

bool Lowering::isAtLeast(AffineExpr left, AffineExpr right) {
  AffineExpr difference = sumOfProducts(left - right);
  auto low = dims.lowerBound(difference);
  return (low && *low >= 0) || dims.isOpen(difference);
}

// Of what is known before the run: dims, but neither iterations nor sizes that are computed from data.
bool Lowering::canRequire(AffineExpr difference) {
  auto ranges = dims.rangesOf(difference);
  // Of one extent, the user can state a range for which it holds; what an input says is for its caller to say right.
  bool isFree = ranges.size() >= 2 || llvm::any_of(ranges, [](const DimRange *range) { return range->isValue; });
  return isFree && !dims.isOfData(difference) && !dims.isOfIteration(difference);
}

bool Lowering::requireAtLeast(AffineExpr left, AffineExpr right) {
  if (isAtLeast(left, right))
    return true;
  AffineExpr difference = sumOfProducts(left - right);
  auto high = dims.upperBound(difference);
  if (!canRequire(difference) || (high && *high < 0))
    return false;
  require(dims.print(left) + " >= " + dims.print(right));
  return true;
}

void Lowering::require(const std::string &text) {
  // One node is enough to say.
  if (llvm::none_of(requirements, [&](StringRef known) { return known.starts_with(text + "; "); }))
    requirements.push_back(text + "; " + nodeName(loc()));
}

bool Lowering::requireSame(AffineExpr left, AffineExpr right) {
  AffineExpr difference = sumOfProducts(left - right);
  auto low = dims.lowerBound(difference), high = dims.upperBound(difference);
  if (!canRequire(difference) || (low && *low > 0) || (high && *high < 0))
    return false;
  require(dims.print(left) + " == " + dims.print(right));
  return true;
}

bool Lowering::requireMultiple(AffineExpr left, AffineExpr right) {
  if (!isa<AffineSymbolExpr>(left) || !isa<AffineSymbolExpr>(right) || left == right || dims.isOfData(left + right))
    return false;
  std::pair pair(left, right);
  if (llvm::is_contained(multiples, pair))
    return true;
  for (auto [multiple, divisor] : multiples) // one unit for each dim
    if (multiple == left || divisor == left || multiple == right)
      return false;
  multiples.push_back(pair);
  require(dims.print(left) + " % " + dims.print(right) + " == 0");
  return true;
}
