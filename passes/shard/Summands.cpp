// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Summands.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace snug;

static bool isZero(Value value) { return matchPattern(value, m_AnyZeroFloat()) || matchPattern(value, m_Zero()); }

bool snug::isZeroFill(Value tensor) {
  auto fill = tensor.getDefiningOp<linalg::FillOp>();
  return fill && isZero(fill.getInputs()[0]);
}

namespace {
// What a body makes of an element of `inputs`, and of others that have to be summands, too, as the body adds them up.
class LinearBody {
public:
  LinearBody(linalg::LinalgOp op, unsigned first) : op(op), inputs(op->getNumOperands()) { inputs.set(first); }

  // Nothing where the body is not linear.
  std::optional<llvm::SmallBitVector> run() {
    for (unsigned known = 0; known != inputs.count();) { // again with each that was found
      known = inputs.count();
      if (!readBody())
        return std::nullopt;
    }
    return inputs;
  }

private:
  bool readBody() {
    Block &body = *op.getBlock();
    linear.clear();
    for (unsigned input : inputs.set_bits())
      linear.insert(body.getArgument(input));
    if (isZeroFill(op.getDpsInits()[0])) // what sums begin with on each device
      linear.insert(body.getArguments().back());
    for (Operation &inner : body.without_terminator())
      if (llvm::any_of(inner.getOperands(), isLinear()) && !readOp(&inner))
        return false;
    return linear.contains(body.getTerminator()->getOperand(0));
  }

  bool readOp(Operation *inner) {
    bool fits = false;
    if (isa<arith::AddFOp, arith::SubFOp, arith::AddIOp, arith::SubIOp>(inner))
      fits = llvm::all_of(inner->getOperands(), [&](Value value) { return join(value); });
    else if (auto select = dyn_cast<arith::SelectOp>(inner))
      fits = !linear.contains(select.getCondition()) && join(select.getTrueValue()) && join(select.getFalseValue());
    else if (isa<arith::MulFOp, arith::MulIOp>(inner))
      fits = llvm::count_if(inner->getOperands(), isLinear()) == 1;
    else if (isa<arith::DivFOp>(inner))
      fits = !linear.contains(inner->getOperand(1));
    else
      fits = isa<arith::NegFOp, arith::ExtFOp>(inner);
    if (fits)
      linear.insert(inner->getResult(0));
    return fits;
  }

  // Whether the value may be added to a summand: it is one, it is nothing, or it is read so from now on.
  bool join(Value value) {
    if (linear.contains(value) || isZero(value))
      return true;
    auto argument = dyn_cast<BlockArgument>(value);
    if (!argument || argument.getOwner() != op.getBlock() || argument.getArgNumber() >= static_cast<unsigned>(op.getNumDpsInputs()))
      return false;
    inputs.set(argument.getArgNumber());
    linear.insert(value);
    return true;
  }

  std::function<bool(Value)> isLinear() {
    return [this](Value value) { return linear.contains(value); };
  }

  linalg::LinalgOp op;
  llvm::SmallBitVector inputs;
  llvm::DenseSet<Value> linear;
};
} // namespace

SmallVector<llvm::SmallBitVector> snug::linearOperands(Operation *op) {
  SmallVector<llvm::SmallBitVector> sets;
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp>(op)) {
    sets.emplace_back(op->getNumOperands());
    sets.back().set(0);
  }
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  // A product of summands takes each device as long as the product of their sum.
  if (!linalgOp || op->getNumResults() != 1 || (linalgOp.getNumReductionLoops() > 0 && linalgOp.getNumDpsInputs() > 1))
    return sets;
  for (unsigned input = 0; input < static_cast<unsigned>(linalgOp.getNumDpsInputs()); ++input) {
    if (!isa<RankedTensorType>(op->getOperand(input).getType()))
      continue;
    if (auto set = LinearBody(linalgOp, input).run(); set && !llvm::is_contained(sets, *set))
      sets.push_back(*set);
  }
  return sets;
}
