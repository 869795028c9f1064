// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each comparison of the key's index with something else is a candidate: assume that the key lies beyond it, and
// evaluate the region with what is then known.
#include "lib/analysis/KeyBound.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

namespace {
void addTerms(LinearIndex &to, const LinearIndex &from, int64_t factor) {
  auto merge = [&](auto &terms, auto &more) {
    for (auto [key, coefficient] : more) {
      auto found = llvm::find_if(terms, [key = key](auto &term) { return term.first == key; });
      if (found == terms.end())
        found = terms.insert(terms.end(), {key, 0});
      found->second += coefficient * factor;
    }
    llvm::erase_if(terms, [](auto &term) { return term.second == 0; });
  };
  merge(to.dims, from.dims);
  merge(to.values, from.values);
  to.constant += from.constant * factor;
}

std::optional<int64_t> asConstant(const LinearIndex &index) {
  return index.dims.empty() && index.values.empty() ? std::optional<int64_t>(index.constant) : std::nullopt;
}

std::optional<LinearIndex> linear(Value value, Region &region) {
  LinearIndex result;
  APInt number;
  if (matchPattern(value, m_ConstantInt(&number))) {
    result.constant = number.getSExtValue();
    return result;
  }
  if (!region.isAncestor(value.getParentRegion())) {
    result.values.push_back({value, 1});
    return result;
  }
  Operation *op = value.getDefiningOp();
  if (!op)
    return std::nullopt;
  if (auto index = dyn_cast<nn::IndexOp>(op)) {
    result.dims.push_back({static_cast<unsigned>(index.getDim()), 1});
    return result;
  }
  // Indices are small: casts do not wrap.
  if (isa<arith::IndexCastOp, arith::ExtSIOp, arith::TruncIOp>(op))
    return linear(op->getOperand(0), region);
  if (!isa<arith::AddIOp, arith::SubIOp, arith::MulIOp>(op))
    return std::nullopt;
  auto left = linear(op->getOperand(0), region), right = linear(op->getOperand(1), region);
  if (!left || !right)
    return std::nullopt;
  if (!isa<arith::MulIOp>(op)) {
    addTerms(*left, *right, isa<arith::AddIOp>(op) ? 1 : -1);
    return left;
  }
  if (std::optional<int64_t> factor = asConstant(*right))
    addTerms(result, *left, *factor);
  else if (std::optional<int64_t> factor = asConstant(*left))
    addTerms(result, *right, *factor);
  else
    return std::nullopt;
  return result;
}

// A comparison that has one outcome for all keys t > last.
struct Threshold {
  LinearIndex last;
  bool beyond;
};

std::optional<Threshold> thresholdOf(arith::CmpIOp op, unsigned keyDim, Region &region) {
  auto left = linear(op.getLhs(), region), right = linear(op.getRhs(), region);
  if (!left || !right)
    return std::nullopt;
  using P = arith::CmpIPredicate;
  P predicate = op.getPredicate();
  if (predicate == P::sge || predicate == P::sgt) {
    std::swap(left, right);
    predicate = predicate == P::sge ? P::sle : P::slt;
  }
  // left - right <= 0
  LinearIndex difference = *left;
  addTerms(difference, *right, -1);
  if (predicate == P::slt)
    ++difference.constant;
  auto key = llvm::find_if(difference.dims, [&](auto &term) { return term.first == keyDim; });
  if (key == difference.dims.end() || std::abs(key->second) != 1)
    return std::nullopt;
  int64_t sign = key->second;
  difference.dims.erase(key);
  // sign * t + difference <= 0: t <= -difference, or t >= difference.
  Threshold result;
  addTerms(result.last, difference, -sign);
  switch (predicate) {
  case P::sle:
  case P::slt:
    result.beyond = sign < 0;
    if (sign < 0)
      --result.last.constant;
    return result;
  case P::eq:
  case P::ne:
    result.beyond = predicate == P::ne;
    return result;
  default:
    return std::nullopt;
  }
}

class Evaluator {
public:
  Evaluator(nn::AttentionOp op, const LinearIndex &last) : op(op), last(last) {}

  // What is known of a value for keys beyond `last`: a constant, or that it is masked.
  struct Known {
    Attribute constant;
    bool masked = false, infinite = false;
  };
  Known of(Value value) {
    auto [place, isNew] = known.try_emplace(value);
    if (!isNew)
      return place->second;
    Known result = compute(value);
    if (auto number = dyn_cast_or_null<FloatAttr>(result.constant)) {
      result.masked = number.getValueAsDouble() <= kMaskedScore;
      result.infinite = result.masked && number.getValue().isInfinity();
    }
    return known[value] = result;
  }

private:
  static std::optional<bool> asBool(const Known &k) {
    auto number = dyn_cast_or_null<IntegerAttr>(k.constant);
    return number && number.getType().isInteger(1) ? std::optional<bool>(!number.getValue().isZero()) : std::nullopt;
  }
  Known ofBool(bool value) { return {BoolAttr::get(op.getContext(), value)}; }

  Known compute(Value value) {
    Attribute constant;
    if (matchPattern(value, m_Constant(&constant)))
      return {constant};
    Operation *inner = value.getDefiningOp();
    if (!inner || inner->getParentRegion() != &op.getScore() || inner->getNumRegions())
      return {};
    if (auto compare = dyn_cast<arith::CmpIOp>(inner))
      if (auto threshold = thresholdOf(compare, op.keyDim(), op.getScore())) {
        LinearIndex difference = threshold->last;
        addTerms(difference, last, -1);
        if (std::optional<int64_t> shift = asConstant(difference); shift && *shift <= 0)
          return ofBool(threshold->beyond);
        return {};
      }
    SmallVector<Known> operands = llvm::map_to_vector(inner->getOperands(), [&](Value operand) { return of(operand); });
    auto any = [&](bool wanted) { return llvm::any_of(operands, [&](Known &k) { return asBool(k) == wanted; }); };
    if (isa<arith::SelectOp>(inner)) {
      if (std::optional<bool> condition = asBool(operands[0]))
        return operands[*condition ? 1 : 2];
      return {{}, operands[1].masked && operands[2].masked, operands[1].infinite && operands[2].infinite};
    }
    if (isa<arith::AndIOp>(inner) && any(false))
      return ofBool(false);
    if (isa<arith::OrIOp>(inner) && any(true))
      return ofBool(true);
    SmallVector<Attribute> constants = llvm::map_to_vector(operands, [](Known &k) { return k.constant; });
    if (!constants.empty() && llvm::all_of(constants, [](Attribute a) { return a != nullptr; })) {
      SmallVector<OpFoldResult> folded;
      if (succeeded(inner->fold(constants, folded)) && folded.size() == 1)
        if (auto attribute = dyn_cast<Attribute>(folded[0]))
          return {attribute};
    }
    if (isa<arith::AddFOp, arith::MinimumFOp, arith::MinNumFOp>(inner))
      return {{}, operands[0].masked || operands[1].masked, operands[0].infinite || operands[1].infinite};
    return {};
  }

  nn::AttentionOp op;
  const LinearIndex &last;
  DenseMap<Value, Known> known;
};
} // namespace

std::optional<KeyBound> snug::keyBound(nn::AttentionOp op) {
  Value score = op.getScore().front().getTerminator()->getOperand(0);
  for (auto compare : op.getScore().front().getOps<arith::CmpIOp>()) {
    auto threshold = thresholdOf(compare, op.keyDim(), op.getScore());
    if (!threshold)
      continue;
    Evaluator::Known known = Evaluator(op, threshold->last).of(score);
    if (known.masked)
      return KeyBound{threshold->last, known.infinite};
  }
  return std::nullopt;
}
