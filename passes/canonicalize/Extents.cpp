// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Extents.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MathExtras.h"
#include <map>

using namespace mlir;
using namespace snug;

namespace {
// By structure, not by address, so that the same model gives the same program.
bool isBefore(AffineExpr a, AffineExpr b) {
  if (a == b)
    return false;
  if (a.getKind() != b.getKind())
    return a.getKind() < b.getKind();
  if (auto left = dyn_cast<AffineBinaryOpExpr>(a)) {
    auto right = cast<AffineBinaryOpExpr>(b);
    return left.getLHS() != right.getLHS() ? isBefore(left.getLHS(), right.getLHS())
                                           : isBefore(left.getRHS(), right.getRHS());
  }
  if (auto constant = dyn_cast<AffineConstantExpr>(a))
    return constant.getValue() < cast<AffineConstantExpr>(b).getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(a))
    return dim.getPosition() < cast<AffineDimExpr>(b).getPosition();
  return cast<AffineSymbolExpr>(a).getPosition() < cast<AffineSymbolExpr>(b).getPosition();
}

// Factors in order: dims, symbols, and what is no sum or product.
using Monomial = SmallVector<AffineExpr, 2>;
struct MonomialOrder { // longer ones first, so that the constant is last; an order that products keep
  bool operator()(const Monomial &a, const Monomial &b) const {
    if (a.size() != b.size())
      return a.size() > b.size();
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), isBefore);
  }
};

class Polynomial {
public:
  explicit Polynomial(MLIRContext *context) : context(context) {}
  // Nothing where a number is too large.
  static std::optional<Polynomial> of(AffineExpr expr);
  AffineExpr expr() const;
  bool isZero() const { return terms.empty(); }
  bool takesOff() const {
    return llvm::any_of(terms, [](auto &term) { return !term.first.empty() && term.second < 0; });
  }
  std::optional<Polynomial> quotient(const Polynomial &divisor) const;

private:
  static std::optional<Polynomial> ofQuotient(AffineExpr left, int64_t divisor);
  bool add(const Monomial &monomial, int64_t factor) {
    int64_t &place = terms[monomial];
    bool fits = !llvm::AddOverflow(place, factor, place);
    if (place == 0)
      terms.erase(monomial);
    return fits;
  }
  bool addProduct(const Polynomial &other, const Monomial &monomial, int64_t factor) {
    for (const auto &[own, ownFactor] : other.terms) {
      Monomial both(own);
      llvm::append_range(both, monomial);
      llvm::sort(both, isBefore);
      int64_t product;
      if (llvm::MulOverflow(ownFactor, factor, product) || !add(both, product))
        return false;
    }
    return true;
  }
  bool isConstant() const { return terms.empty() || (terms.size() == 1 && terms.begin()->first.empty()); }
  // Parts with a factor that `divisor` divides, divided, and the rest, whose constant is in [0, divisor).
  std::pair<Polynomial, Polynomial> split(int64_t divisor) const {
    Polynomial whole(context), rest(context);
    for (const auto &[monomial, factor] : terms) {
      int64_t below = monomial.empty() ? llvm::divideFloorSigned(factor, divisor) : factor % divisor == 0 ? factor / divisor : 0;
      if (below != 0)
        whole.terms[monomial] = below;
      if (int64_t left = factor - below * divisor)
        rest.terms[monomial] = left;
    }
    return {whole, rest};
  }

  MLIRContext *context;
  std::map<Monomial, int64_t, MonomialOrder> terms;
};

AffineExpr Polynomial::expr() const {
  AffineExpr sum = getAffineConstantExpr(0, context);
  for (const auto &[monomial, factor] : terms) {
    if (monomial.empty()) {
      sum = sum + factor;
      continue;
    }
    AffineExpr product = monomial.front();
    for (AffineExpr atom : ArrayRef<AffineExpr>(monomial).drop_front())
      product = product * atom;
    sum = sum + product * factor;
  }
  return sum;
}

std::optional<Polynomial> Polynomial::ofQuotient(AffineExpr left, int64_t divisor) {
  auto numerator = of(left);
  if (!numerator)
    return std::nullopt;
  auto [result, rest] = numerator->split(divisor);
  if (rest.isConstant())
    return result;
  // (x / a + k) / c = (x + k a) / (a c)
  const auto &[monomial, factor] = *rest.terms.begin();
  auto constant = rest.terms.find(Monomial());
  int64_t k = constant == rest.terms.end() ? 0 : constant->second, shift, both;
  AffineBinaryOpExpr inner = nullptr;
  if (monomial.size() == 1 && factor == 1 && rest.terms.size() == (k ? 2u : 1u))
    inner = dyn_cast<AffineBinaryOpExpr>(monomial[0]);
  auto own = inner ? dyn_cast<AffineConstantExpr>(inner.getRHS()) : AffineConstantExpr();
  AffineExpr quotient;
  if (own && inner.getKind() == AffineExprKind::FloorDiv && own.getValue() > 0 &&
      !llvm::MulOverflow(k, own.getValue(), shift) && !llvm::MulOverflow(own.getValue(), divisor, both))
    quotient = normalExtent(inner.getLHS() + shift).floorDiv(both);
  else
    quotient = rest.expr().floorDiv(divisor);
  if (auto number = dyn_cast<AffineConstantExpr>(quotient))
    return result.add({}, number.getValue()) ? std::optional(result) : std::nullopt;
  return result.add({quotient}, 1) ? std::optional(result) : std::nullopt;
}

std::optional<Polynomial> Polynomial::of(AffineExpr expr) {
  Polynomial result(expr.getContext());
  if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
    if (constant.getValue() != 0)
      result.terms[{}] = constant.getValue();
    return result;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  auto atom = [&](AffineExpr it) {
    result.terms[{it}] = 1;
    return result;
  };
  if (!binary)
    return atom(expr);
  auto divisor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  bool divides = divisor && divisor.getValue() > 0;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
  case AffineExprKind::Mul: {
    auto left = of(binary.getLHS()), right = of(binary.getRHS());
    if (!left || !right)
      return std::nullopt;
    if (expr.getKind() == AffineExprKind::Add)
      return left->addProduct(*right, {}, 1) ? left : std::nullopt;
    for (const auto &[monomial, factor] : right->terms)
      if (!result.addProduct(*left, monomial, factor))
        return std::nullopt;
    return result;
  }
  case AffineExprKind::FloorDiv:
    if (!divisor) { // of a multiple of other dims, which are not 0 where something is divided by them
      auto left = of(binary.getLHS()), right = of(binary.getRHS());
      auto whole = left && right ? left->quotient(*right) : std::nullopt;
      return whole ? *whole : atom(expr);
    }
    return divides ? ofQuotient(binary.getLHS(), divisor.getValue()) : atom(expr);
  case AffineExprKind::CeilDiv:
    return divides ? ofQuotient(binary.getLHS() + (divisor.getValue() - 1), divisor.getValue()) : atom(expr);
  default: {
    auto left = divides ? of(binary.getLHS()) : std::nullopt;
    if (!left)
      return atom(expr);
    Polynomial rest = left->split(divisor.getValue()).second;
    return rest.isConstant() ? rest : atom(rest.expr() % divisor.getValue());
  }
  }
}

// Long division: the leading term of what is left must be a multiple of the divisor's.
std::optional<Polynomial> Polynomial::quotient(const Polynomial &divisor) const {
  Polynomial left = *this, result(context);
  if (divisor.terms.empty())
    return std::nullopt;
  const auto &[leading, leadingFactor] = *divisor.terms.begin();
  while (!left.terms.empty()) {
    Monomial monomial = left.terms.begin()->first;
    int64_t factor = left.terms.begin()->second;
    for (AffineExpr atom : leading) {
      auto place = llvm::find(monomial, atom);
      if (place == monomial.end())
        return std::nullopt;
      monomial.erase(place);
    }
    if (factor % leadingFactor != 0 || !result.add(monomial, factor / leadingFactor) ||
        !left.addProduct(divisor, monomial, -(factor / leadingFactor)))
      return std::nullopt;
  }
  return result;
}
} // namespace

AffineExpr snug::sumOfProducts(AffineExpr expr) {
  auto polynomial = Polynomial::of(expr);
  return polynomial ? polynomial->expr() : expr;
}

AffineExpr snug::normalExtent(AffineExpr expr) {
  auto polynomial = Polynomial::of(expr);
  return polynomial && !polynomial->takesOff() ? polynomial->expr() : expr;
}

bool snug::areEqualExtents(AffineExpr left, AffineExpr right) {
  if (left == right)
    return true;
  auto difference = Polynomial::of(left - right);
  return difference && difference->isZero();
}

std::optional<AffineExpr> snug::exactQuotient(AffineExpr left, AffineExpr right) {
  auto numerator = Polynomial::of(left), divisor = Polynomial::of(right);
  auto quotient = numerator && divisor ? numerator->quotient(*divisor) : std::nullopt;
  return quotient ? std::optional(quotient->expr()) : std::nullopt;
}
