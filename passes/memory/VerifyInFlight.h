// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_MEMORY_VERIFYINFLIGHT_H
#define SNUG_PASSES_MEMORY_VERIFYINFLIGHT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace snug {

/// Whether each collective that is started has its wait, no more are in flight than a transport has to expect, and
/// nobody writes to what is sent, or looks at what is received, before the wait. Errors say where not.
bool verifyInFlight(mlir::func::FuncOp function);

} // namespace snug

#endif
