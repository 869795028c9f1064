// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The strings of a model's constants: a table of snug_string in the library, whose addresses the loader sets.
#ifndef SNUG_CODEGEN_LINK_STRINGTABLE_H
#define SNUG_CODEGEN_LINK_STRINGTABLE_H

#include "dialects/nn/NnDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace snug::codegen {

struct StringTable {
  struct Entry {
    mlir::StringAttr data;
    mlir::ArrayAttr recipe;
    uint64_t offset; // in bytes
  };
  std::vector<Entry> entries;
  std::vector<llvm::StringRef> strings; // of all entries, one after the other; owned by the module's attributes

  static mlir::FailureOr<StringTable> plan(mlir::ModuleOp module);
  // Where the constant's strings begin, if it has strings.
  std::optional<uint64_t> offsetOf(nn::WeightOp op) const;
  // Of the table and what it points to.
  uint64_t bytes() const;
};

} // namespace snug::codegen
#endif
