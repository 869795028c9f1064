// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/InitAll.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllPasses();
  snug::registerAllSnugDialects(registry);
  snug::registerAllSnugPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "Snug's passes, one at a time\n", registry));
}
