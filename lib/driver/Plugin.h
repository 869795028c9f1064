// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_PLUGIN_H
#define SNUG_LIB_DRIVER_PLUGIN_H

namespace snug {
// Registers the passes that stock mlir-opt gets from the plugin: those that work on any linalg program.
void registerPluginPasses();
} // namespace snug

#endif
