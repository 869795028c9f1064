// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/Transposition.h"
#include "codegen/cpu/RegisterTile.h"

using namespace mlir;
using namespace snug::codegen;

namespace {
// The dim along which an operand's memory is contiguous, if its last index is that bare dim.
std::optional<unsigned> contiguousDim(linalg::GenericOp op, OpOperand &operand) {
  auto type = dyn_cast<MemRefType>(operand.get().getType());
  AffineMap map = op.getMatchingIndexingMap(&operand);
  int64_t offset;
  SmallVector<int64_t> strides;
  if (!type || type.getRank() == 0 || failed(type.getStridesAndOffset(strides, offset)) || strides.back() != 1)
    return std::nullopt;
  auto dim = dyn_cast<AffineDimExpr>(map.getResults().back());
  return dim ? std::optional<unsigned>(dim.getPosition()) : std::nullopt;
}

std::optional<unsigned> dimBeside(linalg::GenericOp op, AffineMap places, unsigned read, unsigned written) {
  for (AffineExpr place : llvm::drop_begin(llvm::reverse(places.getResults()))) {
    auto dim = dyn_cast<AffineDimExpr>(place);
    if (!dim || dim.getPosition() == written)
      return std::nullopt;
    if (dim.getPosition() != read && staticLoopExtent(op, dim.getPosition()) != 1)
      return dim.getPosition();
  }
  return std::nullopt;
}
} // namespace

std::optional<Transposition> Transposition::of(linalg::GenericOp op) {
  if (op.getNumParallelLoops() != op.getNumLoops() || op.getNumDpsInits() != 1)
    return std::nullopt;
  std::optional<unsigned> written = contiguousDim(op, *op.getDpsInitOperand(0));
  if (!written)
    return std::nullopt;
  for (OpOperand *input : op.getDpsInputOperands()) {
    std::optional<unsigned> read = contiguousDim(op, *input);
    AffineMap places = op.getMatchingIndexingMap(input);
    // A few elements side by side, as a chunk leaves them, are still worth the lines that they lie in.
    auto hasAtLeast = [&](unsigned dim, int64_t least) {
      int64_t extent = staticLoopExtent(op, dim);
      return ShapedType::isDynamic(extent) || extent >= least;
    };
    if (read && *read != *written && places.isFunctionOfDim(*written) && hasAtLeast(*read, 2) &&
        hasAtLeast(*written, blockSide))
      return Transposition{*read, *written, input->getOperandNumber(), dimBeside(op, places, *read, *written)};
  }
  return std::nullopt;
}

bool snug::codegen::isMove(linalg::GenericOp op) {
  auto yield = cast<linalg::YieldOp>(op.getBlock()->getTerminator());
  return op.getNumDpsInputs() == 1 && yield.getValues()[0] == op.getBlock()->getArgument(0) &&
         yield.getValues()[0].getType().isF32();
}
