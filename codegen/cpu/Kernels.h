// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels on the CPU: which ops are one, how their iterations are split over threads, and their loops.
//
// A kernel function is (pointers: memref<T>, scalars, lo: index, hi: index, thread: index) and holds one kernel op over
// memref.reinterpret_casts of its pointers. It computes iterations [lo, hi) of the range that planRange describes.
// planRange and the lowering look at static types only, so host and kernel agree without talking to each other.
#ifndef SNUG_CODEGEN_CPU_KERNELS_H
#define SNUG_CODEGEN_CPU_KERNELS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/PatternMatch.h"

namespace mlir::linalg {
class GenericOp;
}
namespace snug::nn {
class ContractOp;
class SoftmaxOp;
class NormOp;
class GatherOp;
class AttentionOp;
class ScalarKernelOp;
} // namespace snug::nn

namespace snug::codegen {
struct CpuTarget;

// Where the extent of an iteration dim is read: dim `dim` of operand `operand`.
struct ExtentPlace {
  unsigned operand, dim;
};
// One factor of a range: the product of `extents`, cut in tiles of `tile`.
struct RangeFactor {
  llvm::SmallVector<ExtentPlace, 2> extents;
  int64_t tile = 1;
};
// The range of a launch: [0, product of factors), row-major, the last factor fastest. No factor: one iteration.
struct KernelRange {
  llvm::SmallVector<RangeFactor> factors;
  int64_t grain = 1; // least iterations worth a thread of their own
};

// The result of `map` that is the bare dim `dim`.
std::optional<unsigned> positionOf(mlir::AffineMap map, unsigned dim);
// The first of `operands` (none: of all) that is indexed by the bare dim `dim`; maps[i] belongs to operand i.
std::optional<ExtentPlace> extentPlace(llvm::ArrayRef<mlir::AffineMap> maps, unsigned dim,
                                       llvm::ArrayRef<unsigned> operands = {});

bool isKernelOp(mlir::Operation *op);
// Whether there is a kernel for these types and shapes; else says why not. What is said here is said nowhere else.
mlir::LogicalResult checkKernel(mlir::Operation *op, const CpuTarget &target);
KernelRange planRange(mlir::Operation *op, const CpuTarget &target);

// Replaces the kernel op of `kernel` by loops over scf, arith, math, memref and vector.
mlir::LogicalResult lowerKernel(mlir::func::FuncOp kernel, const CpuTarget &target);

// exp, tanh, erf, log and pow with constant exponents on f32 (vectors too) as polynomials of stated error.
void populateMathApproximationPatterns(mlir::RewritePatternSet &patterns, const CpuTarget &target);

// Conversions to and from f16 and bf16 that `target` has no instructions for, as integer operations.
void populateFloatConversionPatterns(mlir::RewritePatternSet &patterns, const CpuTarget &target);

// --- what the lowerings share -------------------------------------------------------------------------------------

// The place of a kernel's loops: builder, range and helpers over memrefs that are reinterpret_casts with known sizes.
struct KernelBuilder : mlir::ImplicitLocOpBuilder {
  const CpuTarget &target;
  mlir::Value lo, hi, thread;
  KernelBuilder(mlir::Operation *op, const CpuTarget &target);

  using LoopBody = llvm::function_ref<void(mlir::Value)>;
  mlir::Value constant(int64_t value);
  mlir::Value constantF32(float value);
  mlir::Value constantFloat(mlir::Type type, double value);
  mlir::Value size(mlir::Value memref, unsigned dim);
  // The extent at `place`, 1 without one.
  mlir::Value size(mlir::Operation *op, std::optional<ExtentPlace> place);
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  mlir::Value div(mlir::Value a, mlir::Value b);
  mlir::Value rem(mlir::Value a, mlir::Value b);
  mlir::Value min(mlir::Value a, mlir::Value b);
  mlir::Value max(mlir::Value a, mlir::Value b);
  mlir::Value ceilDiv(mlir::Value a, mlir::Value b);
  mlir::Value ceilDiv(mlir::Value a, int64_t b) { return ceilDiv(a, constant(b)); }
  // An element as it is stored, for regions, which say how they compute with it.
  mlir::Value load(mlir::Value memref, mlir::ValueRange indices);
  // An element, or neighbouring ones, as kernels compute with them: narrow floats are extended to f32.
  mlir::Value loadWide(mlir::Value memref, mlir::ValueRange indices);
  mlir::Value loadVector(int64_t lanes, mlir::Value memref, mlir::ValueRange indices, mlir::Value mask = {});
  // A scalar or a vector, rounded to the memref's type.
  void store(mlir::Value value, mlir::Value memref, mlir::ValueRange indices);
  // A static buffer on the stack (f32 unless said), 64-byte aligned; made at the function's start, so never grown by a
  // loop.
  mlir::Value stackBuffer(llvm::ArrayRef<int64_t> shape, mlir::Type elementType = {});
  void loop(mlir::Value from, mlir::Value to, int64_t step, LoopBody body);
  // A loop that carries one value; `body` returns its next one.
  mlir::Value reduceLoop(mlir::Value from, mlir::Value to, mlir::Value init,
                         llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> body);
  // The row-major coordinates of `linear` in a box of `sizes`.
  llvm::SmallVector<mlir::Value> delinearize(mlir::Value linear, llvm::ArrayRef<mlir::Value> sizes);
  // Loops over the part [lo, hi) of the row-major range of a box, all but the last dim of it: `body` takes their
  // coordinates and the bounds of the last. Nothing is divided inside, and the last dim stays a plain loop.
  void overRange(llvm::ArrayRef<mlir::Value> sizes,
                 llvm::function_ref<void(llvm::ArrayRef<mlir::Value>, mlir::Value, mlir::Value)> body);
  // The operand's indices at a point of the iteration space (bare dims, constants or affine expressions).
  llvm::SmallVector<mlir::Value> apply(mlir::AffineMap map, mlir::ValueRange dims);
};

int64_t elementBytes(mlir::Type elementType);
// Iterations of `nsPerIteration` that take about 20 us: what is worth waking a thread for.
int64_t grainOf(double nsPerIteration);
// Static extent, or a guess for dynamic ones; for cost estimates only.
double guessExtent(int64_t extent);

KernelRange planGeneric(mlir::linalg::GenericOp op);
KernelRange planContract(nn::ContractOp op, const CpuTarget &target);
KernelRange planAttention(nn::AttentionOp op, const CpuTarget &target);
KernelRange planRows(mlir::Operation *op);
KernelRange planGather(nn::GatherOp op);
KernelRange planScalarKernel(nn::ScalarKernelOp op);

mlir::LogicalResult checkContract(nn::ContractOp op, const CpuTarget &target);
mlir::LogicalResult checkAttention(nn::AttentionOp op, const CpuTarget &target);
mlir::LogicalResult checkNorm(nn::NormOp op);
mlir::LogicalResult checkGeneric(mlir::linalg::GenericOp op);

mlir::LogicalResult lowerGeneric(mlir::linalg::GenericOp op, KernelBuilder &b);
mlir::LogicalResult lowerContract(nn::ContractOp op, KernelBuilder &b);
mlir::LogicalResult lowerAttention(nn::AttentionOp op, KernelBuilder &b);
mlir::LogicalResult lowerSoftmax(nn::SoftmaxOp op, KernelBuilder &b);
mlir::LogicalResult lowerNorm(nn::NormOp op, KernelBuilder &b);
mlir::LogicalResult lowerGather(nn::GatherOp op, KernelBuilder &b);
mlir::LogicalResult lowerScalarKernel(nn::ScalarKernelOp op, KernelBuilder &b);

} // namespace snug::codegen
#endif
