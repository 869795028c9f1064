// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-codegen-test IN.mlir OUT.so [DATA_DIR [DUMP_DIR]]: a planned program to a library, for the tests of code
// generation.
#include "codegen/Codegen.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>

int main(int argc, char **argv) {
  if (argc < 3)
    return 1;
  mlir::DialectRegistry registry;
  snug::registerCodegenDialects(registry);
  mlir::MLIRContext context(registry);
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceFile<mlir::ModuleOp>(argv[1], &context);
  if (!module)
    return 2;
  snug::CodegenOptions options;
  options.outputPath = argv[2];
  options.modelDirectory = argc > 3 ? argv[3] : ".";
  options.dumpDirectory = argc > 4 ? argv[4] : "";
  if (const char *march = std::getenv("SNUG_MARCH"))
    options.march = march;
  if (const char *target = std::getenv("SNUG_TARGET"))
    options.target = target;
  snug::CodegenReport report;
  if (mlir::failed(snug::compileToLibrary(*module, options, report)))
    return report.exitCode;
  llvm::outs() << "{\"kernels\": " << report.kernels << ", \"launches\": " << report.launches
               << ", \"arena\": " << report.arenaBytes << ", \"weights\": " << report.weightsBytes
               << ", \"lower_ms\": " << report.lowerMs << ", \"llvm_ms\": " << report.llvmMs
               << ", \"weights_ms\": " << report.weightsMs << ", \"link_ms\": " << report.linkMs << "}\n";
  return 0;
}
