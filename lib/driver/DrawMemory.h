// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_DRAWMEMORY_H
#define SNUG_LIB_DRIVER_DRAWMEMORY_H

#include "lib/driver/MemoryPicture.h"
#include "mlir/IR/BuiltinOps.h"

namespace snug {

/// The picture of a program after the memory stage, not yet compiled.
MemoryPicture drawMemory(mlir::ModuleOp planned);

} // namespace snug

#endif
