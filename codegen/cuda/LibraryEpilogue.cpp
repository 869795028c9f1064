// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/LibraryEpilogue.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

static std::optional<double> constantOf(Value value) {
  APFloat number(0.0f);
  if (!matchPattern(value, m_ConstantFloat(&number)))
    return std::nullopt;
  bool ignored;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &ignored);
  return number.convertToDouble();
}

namespace {
// constant + sum of weights times the arguments of a block.
struct Terms {
  double constant = 0;
  SmallVector<double> weights;

  void add(const Terms &other, double times) {
    constant += times * other.constant;
    for (auto [own, others] : llvm::zip_equal(weights, other.weights))
      own += times * others;
  }
  bool isConstant() const { return llvm::all_of(weights, [](double weight) { return weight == 0; }); }
};

std::optional<Terms> termsOf(Value value, Block &block) {
  Terms terms;
  terms.weights.assign(block.getNumArguments(), 0);
  if (auto argument = dyn_cast<BlockArgument>(value); argument && argument.getOwner() == &block) {
    terms.weights[argument.getArgNumber()] = 1;
    return terms;
  }
  if (std::optional<double> constant = constantOf(value)) {
    terms.constant = *constant;
    return terms;
  }
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != &block)
    return std::nullopt;
  SmallVector<Terms> of;
  for (Value operand : op->getOperands()) {
    std::optional<Terms> one = termsOf(operand, block);
    if (!one)
      return std::nullopt;
    of.push_back(*one);
  }
  auto scaled = [&](const Terms &by, double times) -> std::optional<Terms> {
    terms.add(by, times);
    return terms;
  };
  return TypeSwitch<Operation *, std::optional<Terms>>(op)
      .Case([&](arith::ExtFOp) { return of[0]; })
      .Case([&](arith::NegFOp) { return scaled(of[0], -1); })
      .Case<arith::AddFOp, arith::SubFOp>([&](Operation *) {
        of[0].add(of[1], isa<arith::SubFOp>(op) ? -1 : 1);
        return of[0];
      })
      .Case([&](arith::MulFOp) -> std::optional<Terms> {
        if (!of[0].isConstant() && !of[1].isConstant())
          return std::nullopt;
        return of[0].isConstant() ? scaled(of[1], of[0].constant) : scaled(of[0], of[1].constant);
      })
      .Case([&](arith::DivFOp) -> std::optional<Terms> {
        if (!of[1].isConstant() || of[1].constant == 0)
          return std::nullopt;
        return scaled(of[0], 1 / of[1].constant);
      })
      .Default([](Operation *) { return std::nullopt; });
}

// The value at a point, where `inner` is `at`; NaN where it is not computed of that alone.
double valueAt(Value value, Value inner, double at, unsigned depth = 0) {
  if (value == inner)
    return at;
  if (std::optional<double> constant = constantOf(value))
    return *constant;
  Operation *op = value.getDefiningOp();
  if (!op || depth > 32)
    return NAN;
  auto operand = [&](unsigned i) { return valueAt(op->getOperand(i), inner, at, depth + 1); };
  return TypeSwitch<Operation *, double>(op)
      .Case([&](arith::AddFOp) { return operand(0) + operand(1); })
      .Case([&](arith::SubFOp) { return operand(0) - operand(1); })
      .Case([&](arith::MulFOp) { return operand(0) * operand(1); })
      .Case([&](arith::DivFOp) { return operand(0) / operand(1); })
      .Case([&](arith::NegFOp) { return -operand(0); })
      .Case([&](math::TanhOp) { return std::tanh(operand(0)); })
      .Case([&](math::PowFOp) { return std::pow(operand(0), operand(1)); })
      .Case([&](math::FPowIOp power) {
        APInt exponent;
        return matchPattern(power.getRhs(), m_ConstantInt(&exponent)) ? std::pow(operand(0), double(exponent.getSExtValue())) : NAN;
      })
      .Default([](Operation *) { return NAN; });
}

// x of gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), in whatever way that is written.
// Of a type of few bits its constants are rounded, too: the same is what differs by less than that.
Value geluInput(Value value, Block &block, Type result) {
  bool hasTanh = false;
  block.walk([&](math::TanhOp) { hasTanh = true; });
  if (!hasTanh)
    return {};
  double unit = result.isBF16() ? 0x1p-8 : result.isF16() ? 0x1p-11 : 1e-6;
  SmallVector<Value> candidates;
  for (Operation &op : block.without_terminator())
    if (op.getNumResults() == 1 && op.getResult(0) != value)
      candidates.push_back(op.getResult(0));
  llvm::append_range(candidates, block.getArguments());
  for (Value inner : candidates) {
    bool isSame = true;
    for (double x : {-3.0, -1.25, -0.5, 0.0, 0.25, 1.0, 2.5}) {
      double want = x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      isSame &= std::abs(valueAt(value, inner, x) - want) <= unit * std::max(1.0, std::abs(x)); // NaN is not
    }
    if (isSame)
      return inner;
  }
  return {};
}
} // namespace

std::optional<LibraryEpilogue> LibraryEpilogue::of(nn::ContractOp op) {
  Block &block = op.getEpilogue().front();
  LibraryEpilogue epilogue;
  Value value = block.getTerminator()->getOperand(0);
  // Rounding to the result's type, which is the last thing that a library does, too.
  if (auto rounds = value.getDefiningOp<arith::TruncFOp>())
    value = rounds.getIn();
  auto isZero = [](Value operand) { return constantOf(operand) == 0.0; };
  if (Operation *most = value.getDefiningOp(); most && isa<arith::MaximumFOp, arith::MaxNumFOp>(most) && (isZero(most->getOperand(0)) || isZero(most->getOperand(1)))) {
    epilogue.activation = Activation::Relu;
    value = most->getOperand(isZero(most->getOperand(0)) ? 1 : 0);
    // What is rounded in front of it is the same behind it.
    if (auto wide = value.getDefiningOp<arith::ExtFOp>())
      if (auto rounds = wide.getIn().getDefiningOp<arith::TruncFOp>())
        value = rounds.getIn();
  } else if (Value input = geluInput(value, block, cast<ShapedType>(op.getInit().getType()).getElementType())) {
    epilogue.activation = Activation::Gelu;
    value = input;
  }
  std::optional<Terms> terms = termsOf(value, block);
  if (!terms || terms->constant != 0 || terms->weights[0] == 0)
    return std::nullopt;
  epilogue.alpha = terms->weights[0];
  epilogue.weights.assign(terms->weights.begin() + 1, terms->weights.end());
  return epilogue;
}
