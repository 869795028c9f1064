// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/kernel/KernelTarget.h"
#include "dialects/nn/ScatterOp.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

std::optional<unsigned> codegen::positionOf(AffineMap map, unsigned dim) {
  for (auto [position, expr] : llvm::enumerate(map.getResults()))
    if (auto d = dyn_cast<AffineDimExpr>(expr); d && d.getPosition() == dim)
      return position;
  return std::nullopt;
}

std::optional<ExtentPlace> codegen::extentPlace(ArrayRef<AffineMap> maps, unsigned dim, ArrayRef<unsigned> operands) {
  for (auto [operand, map] : llvm::enumerate(maps))
    if (operands.empty() || llvm::is_contained(operands, operand))
      if (std::optional<unsigned> position = positionOf(map, dim))
        return ExtentPlace{static_cast<unsigned>(operand), *position};
  return std::nullopt;
}

double codegen::guessExtent(int64_t extent) { return ShapedType::isDynamic(extent) ? 64 : static_cast<double>(extent); }

bool codegen::isKernelOp(Operation *op) {
  return isa<linalg::LinalgOp, nn::ContractOp, nn::SoftmaxOp, nn::NormOp, nn::GatherOp, nn::AttentionOp,
             nn::ScalarKernelOp, nn::ScanOp, nn::ScatterOp, nn::TopKOp>(op);
}

Operation *codegen::kernelOpOf(Operation *kernel) {
  Operation *found = nullptr;
  kernel->walk([&](Operation *op) {
    if (isKernelOp(op))
      found = op;
  });
  return found;
}

LogicalResult codegen::checkOperands(Operation *op) {
  for (Value operand : op->getOperands()) {
    auto type = dyn_cast<MemRefType>(operand.getType());
    int64_t ignored;
    SmallVector<int64_t> strides;
    if (type && failed(type.getStridesAndOffset(strides, ignored)))
      return op->emitOpError() << "has an operand without strides: " << type;
    Type element = type ? type.getElementType() : operand.getType();
    if (!element.isIntOrIndexOrFloat())
      return op->emitOpError() << "uses a value of type " << element << ", which no kernel can take";
  }
  return success();
}
