// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/kernel/Alignment.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// A number that divides the value, modulo `limit`, a power of two; so 0 (of which all numbers are divisors) is `limit`.
struct Divisors {
  int64_t limit;

  int64_t of(int64_t value) const { return std::gcd(value, limit); }
  int64_t product(int64_t a, int64_t b) const { return std::min(limit, a * b); }

  int64_t of(AffineExpr expr, ValueRange operands, unsigned numDims) const {
    if (auto constant = dyn_cast<AffineConstantExpr>(expr))
      return of(constant.getValue());
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      return of(operands[dim.getPosition()]);
    if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
      return of(operands[numDims + symbol.getPosition()]);
    auto binary = cast<AffineBinaryOpExpr>(expr);
    int64_t left = of(binary.getLHS(), operands, numDims), right = of(binary.getRHS(), operands, numDims);
    if (expr.getKind() == AffineExprKind::Mul)
      return product(left, right);
    return expr.getKind() == AffineExprKind::Add ? std::gcd(left, right) : 1;
  }

  int64_t of(Value value) const {
    if (std::optional<int64_t> constant = getConstantIntValue(value))
      return of(*constant);
    if (auto loop = dyn_cast_or_null<scf::ForOp>(value.getParentBlock()->getParentOp());
        loop && value == loop.getInductionVar())
      return std::gcd(of(loop.getLowerBound()), of(loop.getStep()));
    Operation *op = value.getDefiningOp();
    if (!op)
      return 1;
    if (auto offset = dyn_cast<plan::OffsetOp>(op)) {
      int64_t all = limit;
      for (int64_t bytes : offset.getOffsets())
        all = std::gcd(all, bytes);
      return offset.getOffsets().empty() ? 1 : all;
    }
    if (isa<arith::MulIOp>(op))
      return product(of(op->getOperand(0)), of(op->getOperand(1)));
    if (isa<arith::AddIOp, arith::SubIOp>(op))
      return std::gcd(of(op->getOperand(0)), of(op->getOperand(1)));
    if (auto apply = dyn_cast<affine::AffineApplyOp>(op))
      return of(apply.getAffineMap().getResult(0), apply.getMapOperands(), apply.getAffineMap().getNumDims());
    return 1;
  }
  int64_t of(OpFoldResult value) const {
    if (std::optional<int64_t> constant = getConstantIntValue(value))
      return of(*constant);
    return of(cast<Value>(value));
  }
};

// Of the strides of `memref`, in elements.
SmallVector<int64_t> strideDivisors(MemRefType type, const Divisors &divisors) {
  int64_t ignored;
  SmallVector<int64_t> strides;
  if (failed(type.getStridesAndOffset(strides, ignored)))
    return SmallVector<int64_t>(type.getRank(), 1);
  int64_t inner = 1;
  for (int64_t dim = type.getRank(); dim-- > 0;) {
    strides[dim] = !ShapedType::isDynamic(strides[dim])     ? divisors.of(strides[dim])
                   : type.getLayout().isIdentity() ? inner
                                                            : 1;
    inner = divisors.product(inner, type.isDynamicDim(dim) ? 1 : divisors.of(type.getDimSize(dim)));
  }
  return strides;
}
} // namespace

int64_t codegen::alignmentOf(Value memref, int64_t limit) {
  Divisors divisors{limit};
  int64_t known = limit;
  while (Operation *op = memref.getDefiningOp()) {
    if (auto view = dyn_cast<memref::ViewOp>(op))
      return std::gcd(known, divisors.of(view.getByteShift()));
    if (auto slice = dyn_cast<memref::SubViewOp>(op)) {
      MemRefType from = slice.getSourceType();
      int64_t bytes = elementBytes(from.getElementType());
      for (auto [offset, stride] : llvm::zip(slice.getMixedOffsets(), strideDivisors(from, divisors)))
        known = std::gcd(known, divisors.product(divisors.of(offset), divisors.product(stride, divisors.of(bytes))));
      memref = slice.getSource();
    } else if (isa<memref::CastOp, memref::ExpandShapeOp, memref::CollapseShapeOp>(op)) {
      memref = op->getOperand(0);
    } else if (isa<nn::WeightOp>(op)) {
      return known; // at a multiple of 64 bytes among them
    } else {
      return std::gcd(known, divisors.of(elementBytes(cast<MemRefType>(memref.getType()).getElementType())));
    }
  }
  auto function = dyn_cast<FunctionOpInterface>(memref.getParentBlock()->getParentOp());
  // Shapes of outputs stand next to each other in the device's memory.
  bool isTensor = function && !function.getArgAttr(cast<BlockArgument>(memref).getArgNumber(), kShapeOf);
  return isTensor ? known : std::gcd(known, divisors.of(elementBytes(cast<MemRefType>(memref.getType()).getElementType())));
}
