// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Snug's passes that work on any linalg program, for mlir-opt --load-pass-plugin.
#include "lib/driver/Plugin.h"
#include "mlir/Tools/Plugins/PassPlugin.h"

extern "C" LLVM_ATTRIBUTE_WEAK mlir::PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Snug", LLVM_VERSION_STRING, [] { snug::registerPluginPasses(); }};
}
