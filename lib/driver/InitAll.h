// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one place that names every dialect, interface model and pass of Snug: driver, snug-opt and plugin share it.
#ifndef SNUG_LIB_DRIVER_INITALL_H
#define SNUG_LIB_DRIVER_INITALL_H

namespace mlir {
class DialectRegistry;
}

namespace snug {
void registerAllSnugDialects(mlir::DialectRegistry &registry);
void registerAllSnugPasses();
} // namespace snug

#endif
