// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_MEMORY_DEFERWAITS_H
#define SNUG_PASSES_MEMORY_DEFERWAITS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace snug {

/// Starts each shift before the last heavy kernel that does without it, and waits for it behind that, where what came is looked at
/// or what was sent is written over: so it runs beside the kernel. Shifts without such a kernel stay as they are. On
/// memrefs, before buffers share memory. How many it changed.
size_t deferWaits(mlir::func::FuncOp function);

} // namespace snug

#endif
