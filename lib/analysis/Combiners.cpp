// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/Combiners.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace snug;

SmallVector<Operation *> snug::combinersOf(linalg::LinalgOp op) {
  SmallVector<Operation *> found;
  Block *body = op.getBlock();
  for (auto [number, value] : llvm::enumerate(body->getTerminator()->getOperands())) {
    BlockArgument sum = body->getArgument(op.getNumDpsInputs() + number);
    Operation *add = value.getDefiningOp();
    if (!add || add->getBlock() != body || !value.hasOneUse() || !sum.hasOneUse() || *sum.user_begin() != add)
      return {};
    bool anyOrder = isa<arith::AddIOp, arith::MulIOp, arith::AndIOp, arith::OrIOp, arith::XOrIOp, arith::MaxSIOp,
                        arith::MaxUIOp, arith::MinSIOp, arith::MinUIOp, arith::MaximumFOp, arith::MinimumFOp>(add);
    if (isa<arith::AddFOp, arith::MulFOp>(add))
      anyOrder = arith::bitEnumContainsAll(cast<arith::ArithFastMathInterface>(add).getFastMathFlagsAttr().getValue(),
                                           arith::FastMathFlags::reassoc);
    if (!anyOrder || !arith::getNeutralElement(add))
      return {};
    found.push_back(add);
  }
  return found;
}

bool snug::reducesInParts(linalg::LinalgOp op) {
  SmallVector<unsigned> dims;
  op.getReductionDims(dims);
  return !dims.empty() && !combinersOf(op).empty() && llvm::any_of(op.getIndexingMapsArray(), [&](AffineMap map) {
    return llvm::all_of(dims, [&](unsigned dim) { return llvm::is_contained(map.getResults(), getAffineDimExpr(dim, map.getContext())); });
  });
}
