// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/GenericCode.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

bool codegen::isFlat(linalg::GenericOp op) {
  if (op.getNumLoops() < 2 || op.getNumParallelLoops() != op.getNumLoops() || op.hasIndexSemantics())
    return false;
  for (OpOperand &operand : op->getOpOperands()) {
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    AffineMap map = op.getMatchingIndexingMap(&operand);
    if (!type || type.getRank() == 0) {
      if (map.getNumResults() != 0)
        return false;
      continue;
    }
    if (!map.isIdentity() || !type.getLayout().isIdentity())
      return false;
  }
  return true;
}

GenericCode::GenericCode(linalg::GenericOp op, KernelBuilder &b) : flat(isFlat(op)), operands(op->getOperands()), op(op), b(b) {
  for (unsigned dim = 0; dim < op.getNumLoops(); ++dim)
    sizes.push_back(b.size(op, loopExtent(op, dim)));
  if (!flat)
    return;
  Value total = b.constant(1);
  for (Value size : sizes)
    total = b.mul(total, size);
  sizes = {total};
  for (Value &operand : operands)
    if (auto type = dyn_cast<MemRefType>(operand.getType()); type && type.getRank())
      operand = memref::ReinterpretCastOp::create(b, MemRefType::get({ShapedType::kDynamic}, type.getElementType()),
                                                  operand.getDefiningOp<memref::ReinterpretCastOp>().getSource(),
                                                  OpFoldResult(b.getIndexAttr(0)), ArrayRef<OpFoldResult>{total},
                                                  ArrayRef<OpFoldResult>{b.getIndexAttr(1)});
}

SmallVector<Value> GenericCode::placeOf(OpOperand &operand, ValueRange indices) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  if (!flat)
    return b.apply(map, indices);
  return map.getNumResults() ? SmallVector<Value>{indices[0]} : SmallVector<Value>{};
}

SmallVector<Value> GenericCode::compute(ValueRange indices, ValueRange outputs) {
  IRMapping mapping;
  Block *body = op.getBlock();
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operands[operand.getOperandNumber()];
    BlockArgument argument = body->getArgument(operand.getOperandNumber());
    if (op.isDpsInit(&operand) && !outputs.empty())
      mapping.map(argument, outputs[operand.getOperandNumber() - op.getNumDpsInputs()]);
    else if (!isa<MemRefType>(value.getType()))
      mapping.map(argument, value);
    else if (!argument.use_empty())
      mapping.map(argument, b.load(value, placeOf(operand, indices)));
  }
  for (Operation &inner : body->without_terminator()) {
    if (auto index = dyn_cast<linalg::IndexOp>(inner))
      mapping.map(index.getResult(), indices[index.getDim()]);
    else
      b.clone(inner, mapping);
  }
  return llvm::map_to_vector(body->getTerminator()->getOperands(),
                             [&](Value value) { return mapping.lookupOrDefault(value); });
}

SmallVector<Value> GenericCode::loadOutputs(ValueRange indices) {
  return llvm::map_to_vector(op.getDpsInitsMutable(), [&](OpOperand &output) {
    return b.load(operands[output.getOperandNumber()], placeOf(output, indices));
  });
}

void GenericCode::store(ValueRange indices, ValueRange values) {
  for (auto [output, value] : llvm::zip(op.getDpsInitsMutable(), values))
    b.store(value, operands[output.getOperandNumber()], placeOf(output, indices));
}
