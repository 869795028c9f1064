// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels on a GPU: how their iterations are dealt to blocks of threads, and the code of a thread, in the gpu dialect.
//
// A kernel function has no work arguments: block number b of a launch does the iterations [b * grain, (b + 1) * grain) of its
// range, which is cut where the range ends.
#ifndef SNUG_CODEGEN_CUDA_KERNELS_H
#define SNUG_CODEGEN_CUDA_KERNELS_H

#include "codegen/kernel/KernelBuilder.h"
#include "snug/ModelABI.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/Support/Error.h"

namespace snug::nn {
class ContractOp;
class SoftmaxOp;
class NormOp;
class AttentionOp;
class PartialReduceOp;
class ScanOp;
class ScatterOp;
class TopKOp;
} // namespace snug::nn

namespace snug::codegen {

// The chips of --target cuda[:CHIP,...], in ascending order; without any those that binaries are commonly shipped for.
llvm::Expected<std::vector<std::string>> parseCudaChips(const std::string &target);

class CudaKernels : public KernelTarget {
public:
  explicit CudaKernels(std::vector<std::string> chips) : chips(std::move(chips)) {}
  std::string name() const override;
  int gpuCapability() const override;
  std::vector<llvm::StringRef> precisions() const override { return {"f32", "tf32"}; }
  mlir::LogicalResult check(mlir::Operation *op) const override;
  bool hostSeesMemory() const override { return false; }
  mlir::LogicalResult checkProgram(mlir::ModuleOp module) const override;
  KernelRange range(mlir::Operation *op) const override;
  unsigned numWorkArguments() const override { return 0; }
  int64_t tensorAlignment() const override { return SNUG_GPU_TENSOR_ALIGNMENT; }
  int64_t assignLibraries(mlir::ModuleOp module, llvm::ArrayRef<std::string> libraries) const override;
  std::optional<LibraryCall> libraryCall(mlir::Operation *op, mlir::OpBuilder &host, mlir::Value workspace) const override;
  mlir::LogicalResult compile(mlir::ModuleOp module, const CodegenOptions &options, KernelCode &code,
                              CodegenReport &report) const override;

private:
  std::vector<std::string> chips;
};

// `kernel` as a kernel in `module`, of which the kernel op is replaced by a thread's code.
mlir::LogicalResult lowerKernel(mlir::func::FuncOp kernel, mlir::gpu::GPUModuleOp module);

// Whether products of f32 are made in tf32 where the op is (kPrecision).
bool multipliesInTf32(mlir::Operation *op);

constexpr int64_t kWarp = 32;
// Threads of a block, for every kernel: eight warps are enough to hide latencies and leave each thread its registers.
constexpr int64_t kBlock = 256;
// What a thread loads or stores at once, at most.
constexpr int64_t kVectorBytes = 16;

// The place of a thread's code.
struct CudaKernelBuilder : KernelBuilder {
  mlir::gpu::GPUFuncOp kernel;
  CudaKernelBuilder(mlir::Operation *op, mlir::gpu::GPUFuncOp kernel);

  mlir::Value block();      // number of this block
  mlir::Value thread();     // of this thread in its block
  mlir::Value lane();       // of this thread in its warp
  mlir::Value warpInBlock();
  // Shared memory of a block, 16-byte aligned.
  mlir::Value shared(llvm::ArrayRef<int64_t> shape, mlir::Type elementType);
  void barrier();
  // What is loaded of an argument is loaded again behind each barrier, where it is asked for, and not held from the start in registers that
  // there are not: to LLVM it is memory that others may write to.
  void loadAgain(mlir::Value memref);
  void ifTrue(mlir::Value condition, llvm::function_ref<void()> body);
  mlir::Value isBelow(mlir::Value a, mlir::Value b);

  // How many neighbours along the last dim, of at most `most` (a power of two), can be loaded and stored at once where the
  // first of them is at a multiple of as many, in any row; 1 where they do not lie side by side.
  int64_t lanesOf(mlir::Value memref, int64_t most);
  // A scalar at all lanes; a vector as it is; no lanes: itself.
  mlir::Value onLanes(mlir::Value value, int64_t lanes);
  // Neighbouring elements as they are stored, at once: they start at a multiple of their size together.
  mlir::Value loadLanes(int64_t lanes, mlir::Value memref, mlir::ValueRange indices);
  void storeLanes(mlir::Value vector, mlir::Value memref, mlir::ValueRange indices);

  // `body` at each point of the box of `sizes`, one thread a point; the last dim is the one that neighbouring threads are
  // apart in.
  void points(llvm::ArrayRef<mlir::Value> sizes, llvm::function_ref<void(llvm::ArrayRef<mlir::Value>)> body);
  // `unit` neighbouring points a thread, `lanes` at a time: a divisor of it and, of several sizes, of the last one. What is
  // left of a single size comes one by one.
  void points(llvm::ArrayRef<mlir::Value> sizes, int64_t unit, int64_t lanes,
              llvm::function_ref<void(llvm::ArrayRef<mlir::Value>, int64_t)> body);
  // `body` at each row of the box of `sizes`, one block a row.
  void blockRows(llvm::ArrayRef<mlir::Value> sizes, llvm::function_ref<void(llvm::ArrayRef<mlir::Value>)> body);
  // `body` at each row of the box of `sizes`, one warp a row: whole warps are in or out.
  void warpRows(llvm::ArrayRef<mlir::Value> sizes, llvm::function_ref<void(llvm::ArrayRef<mlir::Value>)> body);

  // The value of the lane whose number differs in these bits. All lanes of the warp must come here.
  mlir::Value ofOtherLane(mlir::Value value, int32_t differing);
  using Combine = llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)>;
  // Of the lanes' values, or those of `lanes` neighbours or of as many that are `apart` from each other (powers of two), in all of
  // them; all get the same bits.
  mlir::Value reduceWarp(mlir::Value value, Combine combine, int64_t lanes = kWarp, int64_t apart = 1);
  // Of the threads' values, in all threads of the block. All threads must come here.
  mlir::Value reduceBlock(mlir::Value value, mlir::Value neutral, Combine combine);
  // The value of the lane that is `offset` (i32) from this one, by the mode's count. All lanes must come here.
  mlir::Value shuffle(mlir::Value value, mlir::Value offset, mlir::gpu::ShuffleMode mode);
  // Of the values of the threads before this one, and of all, in the order of threads. All threads of the block must come here, as
  // often as they like: it ends with a barrier.
  struct Scan {
    mlir::Value before, total;
  };
  Scan scanBlock(mlir::Value value, mlir::Value neutral, Combine combine);
};

KernelRange planPoints(mlir::Operation *op);
KernelRange planUpdates(nn::ScatterOp op);
KernelRange planScalarPoints(nn::ScalarKernelOp op);
KernelRange planRowBlocks(mlir::Operation *op);
KernelRange planAlongDim(mlir::Operation *op, unsigned dim);
KernelRange planContract(nn::ContractOp op);
KernelRange planAttentionRows(nn::AttentionOp op);

mlir::LogicalResult checkPartialReduce(nn::PartialReduceOp op);
mlir::LogicalResult checkScalarKernel(nn::ScalarKernelOp op);
mlir::LogicalResult checkAttention(nn::AttentionOp op);

// The code of a thread; the kernel op stays, and is erased by the caller.
void emitKernel(mlir::linalg::LinalgOp op, CudaKernelBuilder &b);
void emitKernel(nn::GatherOp op, CudaKernelBuilder &b);
void emitKernel(nn::ScalarKernelOp op, CudaKernelBuilder &b);
void emitKernel(nn::ScanOp op, CudaKernelBuilder &b);
void emitKernel(nn::ScatterOp op, CudaKernelBuilder &b);
void emitKernel(nn::TopKOp op, CudaKernelBuilder &b);
void emitKernel(nn::ContractOp op, CudaKernelBuilder &b);
void emitKernel(nn::SoftmaxOp op, CudaKernelBuilder &b);
void emitKernel(nn::NormOp op, CudaKernelBuilder &b);
void emitKernel(nn::AttentionOp op, CudaKernelBuilder &b);

} // namespace snug::codegen
#endif
