// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// libFuzzer target: any bytes are imported or refused with a message, and what is imported holds together.
//   fuzz-import -runs=20000 -seed=1 -max_len=4096 CORPUS

#include "lib/import/onnx/Importer.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static llvm::SmallString<128> path = [] {
    llvm::SmallString<128> name;
    if (llvm::sys::fs::createTemporaryFile("fuzz-import", "onnx", name))
      abort();
    return name;
  }();
  std::error_code code;
  llvm::raw_fd_ostream(path, code).write(reinterpret_cast<const char *>(data), size);
  // A context keeps every attribute it has seen, so each input has its own.
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  snug::ImportError error;
  auto module = snug::importOnnx(context, llvm::StringRef(path), error);
  if (succeeded(module)) {
    llvm::raw_null_ostream null;
    (**module).print(null);
    return 0;
  }
  bool known = error.exitCode == 2 || error.exitCode == 3 || error.exitCode == 5;
  if (!known || error.message.empty()) {
    llvm::errs() << "exit code " << error.exitCode << ": " << error.message << "\n";
    abort();
  }
  return 0;
}
