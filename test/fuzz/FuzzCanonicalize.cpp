// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// libFuzzer target: models that were valid once are imported and canonicalized, or refused with a message.
//   fuzz-canonicalize -runs=20000 -seed=1 -max_len=16384 CORPUS
// Dims without a value are 3.

#include "lib/import/onnx/Importer.h"
#include "mlir/IR/MLIRContext.h"
#include "passes/canonicalize/Canonicalize.h"
#include "passes/canonicalize/ExpandInputs.h"
#include "passes/canonicalize/InferDims.h"
#include "passes/canonicalize/LoweringTable.h"
#include "test/fuzz/ModelMutator.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);

static size_t write(const onnx::ModelProto &model, uint8_t *data, size_t capacity) {
  size_t size = model.ByteSizeLong();
  return size <= capacity && model.SerializeToArray(data, static_cast<int>(size)) ? size : 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed) {
  onnx::ModelProto model;
  if (!model.ParseFromArray(data, static_cast<int>(size)))
    return LLVMFuzzerMutate(data, size, capacity);
  for (unsigned times = 1 + seed % 3, i = 0; i < times; ++i)
    snug::fuzz::ModelMutator(model, seed + i).mutate();
  size_t written = write(model, data, capacity);
  return written ? written : size;
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t firstSize, const uint8_t *second, size_t secondSize,
                                            uint8_t *out, size_t capacity, unsigned seed) {
  onnx::ModelProto model, other;
  if (!model.ParseFromArray(first, static_cast<int>(firstSize)) ||
      !other.ParseFromArray(second, static_cast<int>(secondSize)))
    return 0;
  snug::fuzz::ModelMutator(model, seed).takeNodeOf(other);
  return write(model, out, capacity);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // A context keeps every attribute it has seen, so each input has its own.
  MLIRContext context(MLIRContext::Threading::DISABLED);
  bool said = false;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    said |= diagnostic.getSeverity() == DiagnosticSeverity::Error && !diagnostic.str().empty();
    return success();
  });
  snug::ImportError error;
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  auto faulty = [&](const llvm::Twine &what) {
    llvm::errs() << what << "\n";
    abort();
  };
  auto isKnown = [](llvm::StringRef domain, llvm::StringRef opType, int64_t opset) {
    return snug::LoweringTable::get().find(domain, opType, opset) != nullptr;
  };
  // What an input that is a sequence or has no shape needs to be told is asked for one by one: "--dim NAME.length=1".
  SmallVector<std::string> given, dims, open;
  mlir::FailureOr<OwningOpRef<ModuleOp>> module = mlir::failure();
  for (std::string problem;;) {
    module = snug::importOnnx(context, snug::OnnxSource("model.onnx", bytes), error, /*dataMayBeMissing=*/false, isKnown);
    if (failed(module)) {
      if (error.exitCode != 2 && error.exitCode != 3 && error.exitCode != 5)
        faulty("exit code " + llvm::Twine(error.exitCode) + ": " + error.message);
      return 0;
    }
    dims = given;
    if (succeeded(snug::expandInputs(**module, dims, problem)))
      break;
    size_t at = problem.rfind(" --dim ");
    if (at == std::string::npos || !llvm::StringRef(problem).ends_with("=1") || given.size() == 4)
      return 0;
    given.push_back(problem.substr(at + 7));
  }
  if (failed(snug::checkTypes(**module)))
    return 0;
  snug::inferDims(**module, dims, open);
  while (!open.empty() && open.front().find('=') == std::string::npos) {
    dims.push_back(open.front() + "=3");
    open.clear();
    snug::inferDims(**module, dims, open);
  }
  PassManager passes(&context);
  snug::addCanonicalizePasses(passes, dims);
  said = false;
  if (failed(passes.run(**module)) && !said)
    faulty("the model was refused without a word");
  return 0;
}
