// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/TextOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

#include "dialects/nn/TextKind.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/nn/TextOps.cpp.inc"

StringRef TextOp::operandsOf(TextKind kind) {
  static constexpr llvm::StringLiteral letters[] = {"ss", "ss", "n", "n", "nn", "snn", "sn", "s", "ss", "s", "s", "ssn", "nn", "ssnnn",
                                                    "ssnn", "snn"};
  return letters[static_cast<unsigned>(kind)];
}
StringRef TextOp::resultsOf(TextKind kind) {
  static constexpr llvm::StringLiteral letters[] = {"n", "s", "s", "s", "s", "n", "n", "n", "n", "s", "s", "ssnn", "n", "n",
                                                    "snn", "nn"};
  return letters[static_cast<unsigned>(kind)];
}
// A piece or match is a part of the string that it is of.
bool TextOp::makesStrings(TextKind kind) {
  return resultsOf(kind).contains('s') && kind != TextKind::Piece && kind != TextKind::Match;
}

LogicalResult TextBytesOp::verify() {
  auto scalar = (*this)->getParentOfType<ScalarKernelOp>();
  if (!scalar || getNumber() >= scalar->getNumOperands() ||
      cast<ShapedType>(scalar->getOperand(getNumber()).getType()).getElementTypeBitWidth() != 8)
    return emitOpError() << "asks for operand " << getNumber() << ", which is none of bytes of the enclosing kernel";
  return success();
}

LogicalResult TextOp::verify() {
  if (!(*this)->getParentOfType<ScalarKernelOp>())
    return emitOpError("stands in no scalar kernel");
  auto fits = [](StringRef letters, TypeRange types) {
    return letters.size() == types.size() && llvm::all_of(llvm::zip(letters, types), [](auto pair) {
             return std::get<1>(pair).isInteger(std::get<0>(pair) == 's' ? 128 : 64);
           });
  };
  if (!fits(operandsOf(getKind()), getOperandTypes()) || !fits(resultsOf(getKind()), getResultTypes()))
    return emitOpError() << "takes " << operandsOf(getKind()) << " and gives " << resultsOf(getKind())
                         << " (s: an i128, n: an i64)";
  return success();
}
