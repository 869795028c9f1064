// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which files a model may refer to: those below its own folder, after links are resolved.

#ifndef SNUG_LIB_IMPORT_ONNX_EXTERNALDATA_H
#define SNUG_LIB_IMPORT_ONNX_EXTERNALDATA_H

#include "lib/import/onnx/Importer.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>

namespace snug {

/// A regular file and its size in bytes, or those bytes themselves.
struct DataFile {
  std::string path;
  uint64_t size;
  std::optional<llvm::StringRef> bytes = std::nullopt;
};

class ExternalData {
public:
  /// For the model `source`. Where data may be missing, a file that is not there counts as large enough:
  /// what a run needs is known without weights.
  explicit ExternalData(const OnnxSource &source, bool mayBeMissing = false);

  /// The file that the model calls `location`. On failure returns nothing and sets `problem` to the rest of a sentence
  /// that begins with the tensor's name. Answers are kept, so many tensors of one file cost one look at it.
  std::optional<DataFile> find(llvm::StringRef location, std::string &problem);

  /// The model file's own name in its folder: what a tensor inside the model file refers to.
  const std::string &modelName() const { return name; }

private:
  std::string folder, name;
  std::optional<llvm::StringRef> modelBytes;
  bool mayBeMissing;
  llvm::StringMap<DataFile> known;
};

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_EXTERNALDATA_H
