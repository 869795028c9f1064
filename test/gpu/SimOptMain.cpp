// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-gpu-sim-opt: the passes of the lowering for the simulator, one at a time.
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "test/gpu/lower/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllPasses();
  snug::sim::registerSimPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "The lowering for the GPU simulator\n", registry));
}
