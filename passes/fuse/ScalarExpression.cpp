// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/ScalarExpression.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "passes/fuse/Patterns.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace snug;

// Beyond it no formula that anyone looks for lies.
static constexpr size_t kMaxNodes = 64;

ScalarExpression::ScalarExpression(linalg::GenericOp op, Value yielded, AffineMap at, Value cut, Value accumulator)
    : cut(cut), accumulator(accumulator) {
  build(op, yielded, at);
}

unsigned ScalarExpression::add(Node node) {
  isValid &= nodes.size() < kMaxNodes;
  nodes.push_back(node);
  return nodes.size() - 1;
}

unsigned ScalarExpression::build(linalg::GenericOp op, Value value, AffineMap at) {
  if (!isValid)
    return 0;
  if (value == accumulator)
    return add({Kind::Constant, 0.0});
  if (Value wide = beforeConversions(value); wide != value)
    return build(op, wide, at);
  FloatAttr constant;
  if (matchPattern(value, m_Constant(&constant)))
    return add({Kind::Constant, constant.getValueAsDouble()});
  APInt integer;
  if (auto cast = value.getDefiningOp<arith::SIToFPOp>(); cast && matchPattern(cast.getIn(), m_ConstantInt(&integer)))
    return add({Kind::Constant, static_cast<double>(integer.getSExtValue())});
  if (auto argument = dyn_cast<BlockArgument>(value); argument && argument.getOwner() == op.getBody()) {
    OpOperand &operand = op->getOpOperand(argument.getArgNumber());
    if (op.isDpsInput(&operand) && isa<RankedTensorType>(operand.get().getType()))
      return buildElement(operand.get(), op.getMatchingIndexingMap(&operand).compose(at));
    isValid = false;
    return 0;
  }
  Operation *inner = value.getDefiningOp();
  if (!inner || inner->getBlock() != op.getBody() || !value.getType().isF32()) {
    isValid = false;
    return 0;
  }
  auto kind = llvm::TypeSwitch<Operation *, std::optional<Kind>>(inner)
                  .Case([](arith::AddFOp) { return Kind::Add; })
                  .Case([](arith::SubFOp) { return Kind::Sub; })
                  .Case([](arith::MulFOp) { return Kind::Mul; })
                  .Case([](arith::DivFOp) { return Kind::Div; })
                  .Case([](arith::NegFOp) { return Kind::Neg; })
                  .Case([](math::SqrtOp) { return Kind::Sqrt; })
                  .Case([](math::RsqrtOp) { return Kind::Rsqrt; })
                  .Case([](math::ExpOp) { return Kind::Exp; })
                  .Case([](math::PowFOp) { return Kind::Pow; })
                  .Default([](Operation *) { return std::nullopt; });
  if (!kind) {
    isValid = false;
    return 0;
  }
  Node node{*kind};
  node.a = build(op, inner->getOperand(0), at);
  if (inner->getNumOperands() > 1)
    node.b = build(op, inner->getOperand(1), at);
  return isValid ? add(node) : 0;
}

unsigned ScalarExpression::buildElement(Value tensor, AffineMap map) {
  Leaf leaf{tensor, map};
  DenseElementsAttr elements;
  if (matchPattern(tensor, m_Constant(&elements)) && elements.isSplat() && isa<FloatType>(elements.getElementType()))
    return add({Kind::Constant, elements.getSplatValue<APFloat>().convertToDouble()});
  if (tensor != cut) {
    Leaf source = throughUnitReshapes(leaf);
    if (source.value != tensor)
      return buildElement(source.value, source.map);
    auto producer = tensor.getDefiningOp<linalg::GenericOp>();
    if (producer && isElementwise(producer) && !producer.hasIndexSemantics() && producer.hasPureTensorSemantics())
      return build(producer, producer.getBody()->getTerminator()->getOperand(0), map);
  }
  auto found = llvm::find(allLeaves, leaf);
  Node node{Kind::Leaf};
  node.a = found - allLeaves.begin();
  if (found == allLeaves.end())
    allLeaves.push_back(leaf);
  return add(node);
}

double ScalarExpression::evaluate(ArrayRef<double> leafValues) const {
  SmallVector<double> results;
  for (const Node &node : nodes) {
    double a = node.kind == Kind::Constant || node.kind == Kind::Leaf ? 0 : results[node.a], b = 0;
    if (node.kind == Kind::Add || node.kind == Kind::Sub || node.kind == Kind::Mul || node.kind == Kind::Div ||
        node.kind == Kind::Pow)
      b = results[node.b];
    switch (node.kind) {
    case Kind::Constant:
      results.push_back(node.constant);
      break;
    case Kind::Leaf:
      results.push_back(leafValues[node.a]);
      break;
    case Kind::Add:
      results.push_back(a + b);
      break;
    case Kind::Sub:
      results.push_back(a - b);
      break;
    case Kind::Mul:
      results.push_back(a * b);
      break;
    case Kind::Div:
      results.push_back(a / b);
      break;
    case Kind::Neg:
      results.push_back(-a);
      break;
    case Kind::Sqrt:
      results.push_back(std::sqrt(a));
      break;
    case Kind::Rsqrt:
      results.push_back(1 / std::sqrt(a));
      break;
    case Kind::Exp:
      results.push_back(std::exp(a));
      break;
    case Kind::Pow:
      results.push_back(std::pow(a, b));
      break;
    }
  }
  return results.back();
}

Leaf snug::throughUnitReshapes(Leaf leaf) {
  MLIRContext *context = leaf.value.getContext();
  while (Operation *op = leaf.value.getDefiningOp()) {
    auto expand = dyn_cast<tensor::ExpandShapeOp>(op);
    auto collapse = dyn_cast<tensor::CollapseShapeOp>(op);
    if (!expand && !collapse)
      break;
    auto groups = expand ? expand.getReassociationIndices() : collapse.getReassociationIndices();
    RankedTensorType wide = expand ? expand.getResultType() : collapse.getSrcType();
    SmallVector<AffineExpr> exprs(expand ? groups.size() : wide.getRank(), getAffineConstantExpr(0, context));
    bool units = true;
    for (auto [narrow, group] : llvm::enumerate(groups)) {
      std::optional<int64_t> only; // the dim of the group that is not of extent 1
      for (int64_t dim : group) {
        if (wide.getDimSize(dim) == 1)
          continue;
        units &= !only;
        only = dim;
      }
      if (only)
        exprs[expand ? narrow : *only] = leaf.map.getResult(expand ? *only : narrow);
    }
    if (!units)
      break;
    leaf = {op->getOperand(0), AffineMap::get(leaf.map.getNumDims(), 0, exprs, context)};
  }
  return leaf;
}
