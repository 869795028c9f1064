// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From an .onnx file to the dialect snug_onnx. Every node is imported and none is judged; weights stay in their files.

#ifndef SNUG_LIB_IMPORT_ONNX_IMPORTER_H
#define SNUG_LIB_IMPORT_ONNX_IMPORTER_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <array>
#include <map>
#include <optional>
#include <string>

namespace snug {

/// Why an import failed: `message` is one complete sentence with the file, the fact and the remedy, without a newline.
struct ImportError {
  int exitCode = 0; // 2 not valid ONNX or unsafe, 3 not representable, 5 cannot be read, 70 a fault of Snug's own
  std::string message;
};

/// The model to import: a file, or what would be in it.
struct OnnxSource {
  OnnxSource(llvm::StringRef path) : path(path) {}
  OnnxSource(llvm::StringRef name, llvm::StringRef bytes) : path(name), bytes(bytes) {}
  llvm::StringRef path;                 // of the file; with `bytes` no more than its name in messages and in the IR
  std::optional<llvm::StringRef> bytes; // such a model has no folder, and so no external data
};

/// Whether there is a direct way to compile an operator (domain, "" for ai.onnx; op type; opset).
using IsKnownOp = llvm::function_ref<bool(llvm::StringRef, llvm::StringRef, int64_t)>;

/// Values of the main graph by name, and the dims of each that are to be cut along the axes of a mesh, or -1.
using TensorPins = std::map<std::string, std::array<int64_t, 2>>;

/// Imports the model `source`, an untrusted input. On failure fills `error`. Loads the dialects it needs into
/// `context`. The module holds
///   - @main, one argument a graph input that has no initializer (with one, it is that constant: Snug compiles ahead of
///     time) and one result a graph output, with `snug.name` and `snug.dims` (see dialects/onnx/OnnxDialect.h);
///   - a snug_onnx.initializer a weight. Its `file` is relative to the folder of the path and was found below it, its
///     range within the file; that holds for the file as it was then, so who opens it later must check again
///     (ExternalData.h);
///   - a private func.func a model-local function.
/// With `dataMayBeMissing` external data files that do not exist are no failure; all other checks stay.
/// For nodes of operators that `isKnown` denies and ONNX's schema defines by other operators, that definition is added as a
/// function, under the symbol that NodeOp::getSchemaFunctionSymbol tells.
/// Values that `pins` names are marked (snug.pin, snug_onnx.pin), and taken out of it.
/// Threads: one import at a time per context. Memory: the file is mapped and its weights are never read.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>> importOnnx(mlir::MLIRContext &context, const OnnxSource &source,
                                                              ImportError &error, bool dataMayBeMissing = false,
                                                              IsKnownOp isKnown = nullptr, TensorPins *pins = nullptr);

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_IMPORTER_H
