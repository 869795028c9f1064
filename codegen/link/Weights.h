// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The weights blob: each distinct (data, recipe) once, at a 64-byte aligned offset; evaluated by streaming. Of a program that
// is cut for a mesh each rank has a blob of its own, all of one layout.
#ifndef SNUG_CODEGEN_LINK_WEIGHTS_H
#define SNUG_CODEGEN_LINK_WEIGHTS_H

#include "codegen/link/WeightRecipe.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include <functional>
#include <optional>
#include <string>

namespace snug::codegen {

// Where the files that snug_nn.data names are.
struct DataFolder {
  std::string path;
  // A model that is in memory: this name stands for these bytes, and no other file is read.
  std::string modelName;
  std::optional<llvm::StringRef> modelBytes;
};

// The numbers of a data's elements in the order in which a weight's recipe has them; on failure `error` says why.
mlir::FailureOr<std::vector<int64_t>> elementsOf(nn::WeightOp op, nn::DataOp data, std::string &error);
// Whether its elements are strings, which are no part of the blob (StringTable.h).
bool holdsStrings(nn::DataOp data);

struct Weights {
  struct Entry {
    nn::DataOp data;
    mlir::ArrayAttr recipe;
    mlir::ShapedType type; // of the packed form
    uint64_t offset, bytes;
  };
  std::vector<Entry> entries;
  uint64_t bytes = 0; // of one rank
  std::optional<Mesh> mesh;
  std::string id; // 16 hexadecimal digits over content and layout; known once it was streamed

  // Entries in the order of the weight ops of `module`; an op's own entry is weightOffset(op).
  static mlir::FailureOr<Weights> plan(mlir::ModuleOp module);
  uint64_t offsetOf(nn::WeightOp op) const;

  // Gives the bytes of a rank's blob in order, in pieces, padding included; sets `id`. No more than one weight's part for
  // that rank is in memory at a time. Rank 0 where there is no mesh. On failure `error` says why.
  mlir::LogicalResult stream(const DataFolder &folder, int64_t rank, const Sink &sink, std::string &error);
  // Writes a .safetensors file whose data section starts with the blob at `dataOffset`.
  mlir::LogicalResult writeSafetensors(const std::string &path, const DataFolder &folder, int64_t rank,
                                       uint64_t &dataOffset, std::string &error);
};

} // namespace snug::codegen
#endif
