// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads an .onnx file without reading its weights.

#ifndef SNUG_LIB_IMPORT_ONNX_MODELFILE_H
#define SNUG_LIB_IMPORT_ONNX_MODELFILE_H

#include "lib/import/onnx/Importer.h"

namespace onnx {
class ModelProto;
}

namespace snug {

/// Tensors of at most so many bytes are held by value, larger ones by reference into their file.
inline constexpr uint64_t kLargestInlineTensor = 1024;
/// Integers and booleans are shapes, indices, positions and masks, whose values decide how a model is compiled: external
/// ones are read up to this size.
inline constexpr uint64_t kLargestInlineIntegers = 64 << 10;

/// Parses `source` into `model`. The elements of each tensor larger than kLargestInlineTensor stay in the file:
/// in `model` such a tensor has external data in the file `ownName` at its offset there, whether it is an initializer
/// or stands in a node, subgraph or function. On failure fills `error`.
mlir::LogicalResult readModelFile(const OnnxSource &source, llvm::StringRef ownName, ::onnx::ModelProto &model,
                                  ImportError &error);

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_MODELFILE_H
