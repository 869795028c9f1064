// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TEST_GPU_LOWER_PASSES_H
#define SNUG_TEST_GPU_LOWER_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir {
class LLVMTypeConverter;
class RewritePatternSet;
namespace gpu {
class GPUFuncOp;
}
} // namespace mlir

namespace snug::sim {

// snug-gpu-to-host: the kernels of the module's gpu.modules as functions of the LLVM dialect, for the simulator. The input is
// what the lowering to NVVM takes: gpu, nvgpu, nvvm, memref, vector, math, arith and cf (scf and affine are lowered before).
// Each kernel K becomes K(context, parameters...) and K_entry(context, addresses of parameters).
std::unique_ptr<mlir::Pass> createGpuToHostPass();
// snug-sim-instrument: puts a check before each access to memory. Runs after canonicalization, when the way from an address
// back to a parameter is a chain of getelementptr.
std::unique_ptr<mlir::Pass> createInstrumentPass();
void registerSimPasses();

// From gpu.modules as builders make them to LLVM functions with checks.
void addHostPasses(mlir::OpPassManager &modules);

// Whether a thread of the kernel ever waits for another one.
bool waitsForOthers(mlir::gpu::GPUFuncOp kernel);
// Checks of indices against the dims of memrefs, in a kernel that is a function of its context.
void addIndexChecks(mlir::Operation *kernel);
// Of barriers, and of ops of a whole warp.
void populateWarpOpPatterns(const mlir::LLVMTypeConverter &converter, mlir::RewritePatternSet &patterns);
// Of asynchronous copies.
void populateAsyncCopyPatterns(const mlir::LLVMTypeConverter &converter, mlir::RewritePatternSet &patterns);

} // namespace snug::sim
#endif
