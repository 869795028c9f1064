// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

using namespace mlir;
using namespace snug;

// Whether the expression is a sum of dims, each times a positive constant, and a constant.
static bool isLinear(AffineExpr expr) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return isa<AffineDimExpr, AffineConstantExpr>(expr);
  if (expr.getKind() == AffineExprKind::Add)
    return isLinear(binary.getLHS()) && isLinear(binary.getRHS());
  auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  return expr.getKind() == AffineExprKind::Mul && isa<AffineDimExpr>(binary.getLHS()) && factor &&
         factor.getValue() > 0;
}

void snug::keepWindows(IndexRule &rule) {
  for (AffineMap map : rule.operands)
    for (AffineExpr expr : map.getResults())
      if (!isa<AffineDimExpr, AffineConstantExpr>(expr))
        for (unsigned dim = 0; dim < rule.dims.size(); ++dim)
          if (expr.isFunctionOfDim(dim) && (rule.dims[dim].kind != IterKind::Parallel || !isLinear(expr)))
            rule.dims[dim] = {IterKind::Whole, Combiner::None};
}

SmallVector<Value> snug::cloneOnDestinations(OpBuilder &builder, Operation *op, const OpSlice &slice,
                                             ValueRange operands) {
  auto dps = cast<DestinationStyleOpInterface>(op);
  SmallVector<Type> types;
  for (OpResult value : op->getResults())
    types.push_back(operands[dps.getTiedOpOperand(value)->getOperandNumber()].getType());
  Operation *copy = mlir::clone(builder, op, types, operands);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(copy);
  Value offset = getValueOrCreateConstantIndexOp(builder, op->getLoc(), slice.iterations.offset);
  cast<IndexRuleOpInterface>(copy).placeSlice(builder, slice.dim, offset);
  return copy->getResults();
}

void snug::placeLinalgIndices(Operation *op, OpBuilder &builder, unsigned dim, Value offset) {
  op->walk([&](linalg::IndexOp index) {
    if (index.getDim() != dim)
      return;
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(index);
    auto sum = arith::AddIOp::create(builder, index.getLoc(), index.getResult(), offset);
    index.getResult().replaceAllUsesExcept(sum, sum);
  });
}

bool snug::readsDestination(OpOperand &init) {
  if (auto op = dyn_cast<linalg::LinalgOp>(init.getOwner()); op && !isa<nn::PartialReduceOp>(op))
    return op.payloadUsesValueFromOperand(&init);
  auto rules = dyn_cast<IndexRuleOpInterface>(init.getOwner());
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  return failed(rule) || rule->keepsDestinations;
}
