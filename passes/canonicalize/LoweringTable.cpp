// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/LoweringTable.h"

using namespace snug;

const LoweringTable &LoweringTable::get() {
  static const LoweringTable table = [] {
    LoweringTable t;
    addElementwiseOps(t);
    addShapeOps(t);
    addLayoutOps(t);
    addContractionOps(t);
    addRowOps(t);
    addGatherOps(t);
    addReduceOps(t);
    addAttentionOps(t);
    addRotaryEmbedding(t);
    addEinsumOps(t);
    addActivationOps(t);
    addPoolingOps(t);
    addConvolutionOps(t);
    addPadOps(t);
    addResizeOps(t);
    return t;
  }();
  return table;
}

void LoweringTable::add(llvm::StringRef opType, int64_t since, LoweringFunction function, llvm::StringRef domain) {
  entries[(llvm::Twine(domain) + "::" + opType).str()][since] = function;
}

LoweringFunction LoweringTable::find(llvm::StringRef domain, llvm::StringRef opType, int64_t opset) const {
  auto op = entries.find((llvm::Twine(domain == "ai.onnx" ? "" : domain) + "::" + opType).str());
  if (op == entries.end())
    return nullptr;
  auto after = op->second.upper_bound(opset);
  return after == op->second.begin() ? nullptr : std::prev(after)->second;
}
