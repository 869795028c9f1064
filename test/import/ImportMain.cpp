// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// import-onnx MODEL [--locations | --round-trip]: prints the imported module, or the error and exits with its code.
// --round-trip also parses what was printed and fails unless that prints the same again.

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/Importer.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

static std::string print(mlir::ModuleOp module, bool locations) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  mlir::OpPrintingFlags flags;
  module.print(stream, locations ? flags.enableDebugInfo() : flags);
  return text;
}

int main(int argc, char **argv) {
  if (argc < 2)
    return 1;
  llvm::StringRef option = argc > 2 ? argv[2] : "";
  mlir::MLIRContext context;
  snug::ImportError error;
  auto module = snug::importOnnx(context, llvm::StringRef(argv[1]), error);
  if (failed(module)) {
    llvm::errs() << "error: " << error.message << "\n";
    return error.exitCode;
  }
  std::string text = print(**module, /*locations=*/!option.empty());
  if (option == "--round-trip") {
    auto again = mlir::parseSourceString<mlir::ModuleOp>(text, mlir::ParserConfig(&context));
    if (!again || print(*again, /*locations=*/true) != text)
      return 70;
  }
  llvm::outs() << text;
  return 0;
}
