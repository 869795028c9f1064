// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the ops with subgraphs share.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CONTROLFLOW_H
#define SNUG_PASSES_CANONICALIZE_OPS_CONTROLFLOW_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

inline void defineAll(Lowering &l, llvm::ArrayRef<LoweredValue> values) {
  for (auto [index, value] : llvm::enumerate(values))
    l.define(index, value);
}

// The one element of a boolean value, where it is known.
inline std::optional<bool> knownCondition(Lowering &l, const LoweredValue &value) {
  auto known = l.constantInts(value);
  return known && known->size() == 1 ? std::optional<bool>((*known)[0]) : std::nullopt;
}

inline mlir::FailureOr<mlir::Region *> bodyOf(Lowering &l, llvm::StringRef name) {
  mlir::Region *body = l.node().getBody(name);
  if (!body)
    return l.error() << "the subgraph '" << name << "' is missing";
  return body;
}

// Loop.cpp
mlir::LogicalResult loopOp(Lowering &l);

} // namespace snug

#endif
