// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/CpuTarget.h"
#include "dialects/nn/ScatterOp.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

CpuKernelBuilder::CpuKernelBuilder(Operation *op, const CpuTarget &target)
    : KernelBuilder(op->getLoc(), op), target(target) {
  Block &entry = op->getParentOfType<func::FuncOp>().front();
  lo = entry.getArgument(entry.getNumArguments() - 3);
  hi = entry.getArgument(entry.getNumArguments() - 2);
  thread = entry.getArgument(entry.getNumArguments() - 1);
}

Value CpuKernelBuilder::stackBuffer(ArrayRef<int64_t> shape, Type elementType) {
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&lo.getParentRegion()->front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, elementType ? elementType : getF32Type()), ValueRange{},
                                  getI64IntegerAttr(64));
}

void CpuKernelBuilder::overRange(Value begin, Value end, ArrayRef<Value> sizes,
                                 function_ref<void(ArrayRef<Value>, Value, Value)> body) {
  SmallVector<Value> indices;
  std::function<void(Value, Value)> nest = [&](Value from, Value to) {
    unsigned dim = indices.size();
    if (dim + 1 >= sizes.size())
      return body(indices, from, to);
    if (getConstantIntValue(sizes[dim]) == 1) {
      indices.push_back(constant(0));
      nest(from, to);
      indices.pop_back();
      return;
    }
    Value inside = constant(1);
    for (Value size : sizes.drop_front(dim + 1))
      inside = mul(inside, size);
    loop(div(from, inside), ceilDiv(to, inside), 1, [&](Value i) {
      Value start = mul(i, inside);
      indices.push_back(i);
      nest(max(sub(from, start), constant(0)), min(sub(to, start), inside));
      indices.pop_back();
    });
  };
  nest(begin, end);
}

int64_t codegen::grainOf(double nsPerIteration) {
  return std::max<int64_t>(1, static_cast<int64_t>(20000.0 / std::max(nsPerIteration, 1e-3)));
}

LogicalResult CpuKernels::check(Operation *op) const {
  if (failed(checkOperands(op)))
    return failure();
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](linalg::GenericOp generic) { return checkGeneric(generic); })
      .Case([&](nn::ContractOp contract) { return checkContract(contract, target); })
      .Case([&](nn::AttentionOp attention) { return checkAttention(attention, target); })
      .Case([&](nn::NormOp norm) { return checkNorm(norm); })
      .Case<nn::PartialReduceOp, nn::ScanOp, nn::TopKOp>([](Operation *other) { return other->emitOpError("has no CPU kernel"); })
      .Default([](Operation *) { return success(); });
}

KernelRange CpuKernels::range(Operation *op) const {
  return llvm::TypeSwitch<Operation *, KernelRange>(op)
      .Case([&](linalg::GenericOp generic) { return planGeneric(generic); })
      .Case([&](nn::ContractOp contract) { return planContract(contract, target); })
      .Case([&](nn::AttentionOp attention) { return planAttention(attention, target); })
      .Case([&](nn::GatherOp gather) { return planGather(gather); })
      .Case([&](nn::ScalarKernelOp scalar) { return planScalarKernel(scalar); })
      .Case([&](nn::ScatterOp scatter) { return planScatter(scatter); })
      .Default([&](Operation *other) { return planRows(other); });
}

LogicalResult codegen::lowerKernel(func::FuncOp kernel, const CpuTarget &target) {
  Operation *op = kernelOpOf(kernel);
  if (failed(CpuKernels(target).check(op)))
    return failure();
  CpuKernelBuilder b(op, target);
  LogicalResult result = llvm::TypeSwitch<Operation *, LogicalResult>(op)
                             .Case([&](linalg::GenericOp generic) { return lowerGeneric(generic, b); })
                             .Case([&](nn::ContractOp contract) { return lowerContract(contract, b); })
                             .Case([&](nn::AttentionOp attention) { return lowerAttention(attention, b); })
                             .Case([&](nn::SoftmaxOp softmax) { return lowerSoftmax(softmax, b); })
                             .Case([&](nn::NormOp norm) { return lowerNorm(norm, b); })
                             .Case([&](nn::GatherOp gather) { return lowerGather(gather, b); })
                             .Case([&](nn::ScalarKernelOp scalar) { return lowerScalarKernel(scalar, b); })
                             .Case([&](nn::ScatterOp scatter) { return lowerScatter(scatter, b); })
                             .Default([](Operation *other) { return other->emitOpError("has no CPU kernel"); });
  if (failed(result))
    return failure();
  op->erase();
  return success();
}
