// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the lowerings of kernels share, on any target.
#ifndef SNUG_CODEGEN_KERNEL_KERNELBUILDER_H
#define SNUG_CODEGEN_KERNEL_KERNELBUILDER_H

#include "codegen/kernel/KernelTarget.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

namespace snug::nn {
class GatherOp;
class ScalarKernelOp;
class ScatterOp;
} // namespace snug::nn

namespace snug::codegen {

// The place of a kernel's code: builder and helpers over memrefs that are reinterpret_casts with known sizes.
struct KernelBuilder : mlir::ImplicitLocOpBuilder {
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

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
  void loop(mlir::Value from, mlir::Value to, int64_t step, LoopBody body);
  // A loop that carries one value; `body` returns its next one.
  mlir::Value reduceLoop(mlir::Value from, mlir::Value to, mlir::Value init,
                         llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> body);
  // One that carries several, which `body` changes.
  llvm::SmallVector<mlir::Value> carry(mlir::Value from, mlir::Value to, int64_t step, llvm::ArrayRef<mlir::Value> values,
                                       llvm::function_ref<void(mlir::Value, llvm::SmallVector<mlir::Value> &)> body);
  // The row-major coordinates of `linear` in a box of `sizes`.
  llvm::SmallVector<mlir::Value> delinearize(mlir::Value linear, llvm::ArrayRef<mlir::Value> sizes);
  // The operand's indices at a point of the iteration space (bare dims, constants or affine expressions).
  llvm::SmallVector<mlir::Value> apply(mlir::AffineMap map, mlir::ValueRange dims);
};

// Where the extent of an iteration dim can be read, if an operand tells it.
std::optional<ExtentPlace> loopExtent(mlir::linalg::LinalgOp op, unsigned dim);
// That extent, of a dim that has one (checkGeneric); may be dynamic.
int64_t staticLoopExtent(mlir::linalg::LinalgOp op, unsigned dim);

// Whether the extents of all loops are told by operands; else says which is not.
mlir::LogicalResult checkGeneric(mlir::linalg::LinalgOp op);

// The region of `op` at the point `place` of its parallel dims. `other` makes what is no access to an operand (calls of the
// runtime) and returns its results.
void emitRegion(nn::ScalarKernelOp op, KernelBuilder &b, llvm::ArrayRef<mlir::Value> place,
                llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Operation *)> other);

// Where in data's dim, at this place of `indices`.
mlir::Value emitGatherIndex(nn::GatherOp op, KernelBuilder &b, mlir::ValueRange place);

// Where the update at this point of its dims belongs in the dims that indices choose along, one a symbol of `place`, and whether it has
// an effect. Dims that index_map lacks, and even ones, may be left out (null).
struct ScatterTarget {
  llvm::SmallVector<mlir::Value> chosen;
  mlir::Value isInside; // null: always
};
ScatterTarget emitScatterTarget(nn::ScatterOp op, KernelBuilder &b, llvm::ArrayRef<mlir::Value> point);
// The element of the destination for it.
llvm::SmallVector<mlir::Value> placeOf(nn::ScatterOp op, const ScatterTarget &target, llvm::ArrayRef<mlir::Value> point);
// What the region makes of what is there and of the update, both as they are computed with.
mlir::Value emitCombiner(nn::ScatterOp op, KernelBuilder &b, mlir::Value old, mlir::Value update);

// A bool is a byte of memory (ONNX), but LLVM's i1 in memory is a bit of one: loads of the kernel compare with 0, its stores
// extend.
void bytesForBools(mlir::FunctionOpInterface kernel);

} // namespace snug::codegen
#endif
