// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CPU_EMITOBJECT_H
#define SNUG_CODEGEN_CPU_EMITOBJECT_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/Module.h"
#include <functional>
#include <string>

namespace snug::codegen {
struct CpuTarget;

// Lowers the kernel functions of `module` to loops and scalar or vector code (no kernel op is left).
mlir::LogicalResult lowerKernels(mlir::ModuleOp module, const CpuTarget &target);

// scf, arith, math, memref, vector and func to the LLVM dialect, with bare pointers.
mlir::LogicalResult convertToLLVM(mlir::ModuleOp module, bool verify);

// Translates, lets `finish` add to the LLVM module, optimizes at O2 and emits an object. Safe to call from several
// threads with different modules. If `dumpPrefix` is set, writes <prefix>.ll and <prefix>.s too.
mlir::LogicalResult emitObject(mlir::ModuleOp module, const CpuTarget &target,
                               const std::function<void(llvm::Module &)> &finish, const std::string &dumpPrefix,
                               llvm::SmallVector<char, 0> &object);

} // namespace snug::codegen
#endif
