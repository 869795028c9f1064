// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels on the CPU: how their iterations are split over threads, and their loops.
//
// A kernel function ends in (lo: index, hi: index, thread: index) and computes iterations [lo, hi) of its range.
#ifndef SNUG_CODEGEN_CPU_KERNELS_H
#define SNUG_CODEGEN_CPU_KERNELS_H

#include "codegen/cpu/CpuTarget.h"
#include "codegen/kernel/KernelBuilder.h"
#include "mlir/IR/PatternMatch.h"

namespace snug::nn {
class ContractOp;
class SoftmaxOp;
class NormOp;
class AttentionOp;
} // namespace snug::nn

namespace snug::codegen {

class CpuKernels : public KernelTarget {
public:
  explicit CpuKernels(CpuTarget target) : target(std::move(target)) {}
  mlir::LogicalResult check(mlir::Operation *op) const override;
  mlir::LogicalResult checkProgram(mlir::ModuleOp) const override { return mlir::success(); }
  KernelRange range(mlir::Operation *op) const override;
  unsigned numWorkArguments() const override { return 3; }
  mlir::LogicalResult compile(mlir::ModuleOp module, const CodegenOptions &options, KernelCode &code,
                              CodegenReport &report) const override;

private:
  CpuTarget target;
};

// Replaces the kernel op of `kernel` by loops over scf, arith, math, memref and vector.
mlir::LogicalResult lowerKernel(mlir::func::FuncOp kernel, const CpuTarget &target);

// exp, tanh, erf, log and pow with constant exponents on f32 (vectors too) as polynomials of stated error.
void populateMathApproximationPatterns(mlir::RewritePatternSet &patterns, const CpuTarget &target);

// Conversions to and from f16 and bf16 that `target` has no instructions for, as integer operations.
void populateFloatConversionPatterns(mlir::RewritePatternSet &patterns, const CpuTarget &target);

// The place of a kernel's loops: builder and range.
struct CpuKernelBuilder : KernelBuilder {
  const CpuTarget &target;
  mlir::Value lo, hi, thread;
  CpuKernelBuilder(mlir::Operation *op, const CpuTarget &target);

  // A static buffer on the stack (f32 unless said), 64-byte aligned; made at the function's start, so never grown by a
  // loop.
  mlir::Value stackBuffer(llvm::ArrayRef<int64_t> shape, mlir::Type elementType = {});
  // Loops over the part [lo, hi) of the row-major range of a box, all but the last dim of it: `body` takes their
  // coordinates and the bounds of the last. Nothing is divided inside, and the last dim stays a plain loop.
  void overRange(llvm::ArrayRef<mlir::Value> sizes,
                 llvm::function_ref<void(llvm::ArrayRef<mlir::Value>, mlir::Value, mlir::Value)> body) {
    overRange(lo, hi, sizes, body);
  }
  // The same of the part [from, to).
  void overRange(mlir::Value from, mlir::Value to, llvm::ArrayRef<mlir::Value> sizes,
                 llvm::function_ref<void(llvm::ArrayRef<mlir::Value>, mlir::Value, mlir::Value)> body);
};

// Iterations of `nsPerIteration` that take about 20 us: what is worth waking a thread for.
int64_t grainOf(double nsPerIteration);

KernelRange planGeneric(mlir::linalg::GenericOp op);
KernelRange planContract(nn::ContractOp op, const CpuTarget &target);
KernelRange planAttention(nn::AttentionOp op, const CpuTarget &target);
KernelRange planRows(mlir::Operation *op);
KernelRange planGather(nn::GatherOp op);
KernelRange planScalarKernel(nn::ScalarKernelOp op);
KernelRange planScatter(nn::ScatterOp op);

mlir::LogicalResult checkContract(nn::ContractOp op, const CpuTarget &target);
mlir::LogicalResult checkAttention(nn::AttentionOp op, const CpuTarget &target);
mlir::LogicalResult checkNorm(nn::NormOp op);

mlir::LogicalResult lowerGeneric(mlir::linalg::GenericOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerContract(nn::ContractOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerAttention(nn::AttentionOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerSoftmax(nn::SoftmaxOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerNorm(nn::NormOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerGather(nn::GatherOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerScalarKernel(nn::ScalarKernelOp op, CpuKernelBuilder &b);
mlir::LogicalResult lowerScatter(nn::ScatterOp op, CpuKernelBuilder &b);

} // namespace snug::codegen
#endif
