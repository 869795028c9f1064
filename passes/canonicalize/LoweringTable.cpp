// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/ContribQuantized.h"
#include "passes/canonicalize/ops/Strings.h"

#include <algorithm>
#include <tuple>

using namespace snug;

const LoweringTable &LoweringTable::get() {
  static const LoweringTable table = [] {
    LoweringTable t;
    addElementwiseOps(t);
    addLogicOps(t);
    addShapeOps(t);
    addLayoutOps(t);
    addSequenceOps(t);
    addContractionOps(t);
    addQuantizationOps(t);
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
    addCastOps(t);
    addPositionOps(t);
    addResizeOps(t);
    addControlFlowOps(t);
    addOptionalOps(t);
    addRecurrentOps(t);
    addIndexedOps(t);
    addScanOps(t);
    addLossOps(t);
    addSamplingOps(t);
    addRegionOps(t);
    addSpectrumOps(t);
    addRandomOps(t);
    addTrainingOps(t);
    addImageOps(t);
    addClassicOps(t);
    addDataSizeOps(t);
    addNonMaxSuppression(t);
    addStringOps(t);
    addLabelEncoderOps(t);
    addClassifierOps(t);
    addGramOps(t);
    addMapOps(t);
    addSupportVectorOps(t);
    addTreeOps(t);
    addLegacyOps(t);
    addContribNorms(t);
    addContribFusedOps(t);
    addContribAttentionOps(t);
    addGroupQueryAttention(t);
    addContribQuantizedOps(t);
    return t;
  }();
  return table;
}

void LoweringTable::add(llvm::StringRef opType, int64_t since, LoweringFunction function, TypeSet types,
                        llvm::StringRef domain) {
  entries[(llvm::Twine(domain) + "::" + opType).str()][since] = {function, types};
}

std::vector<LoweringTable::Row> LoweringTable::rows() const {
  std::vector<Row> found;
  for (const auto &entry : entries) {
    auto [domain, opType] = entry.getKey().split("::");
    found.push_back({domain.str(), opType.str(), {}, entry.second.rbegin()->second.types});
    for (const auto &row : entry.second)
      found.back().since.push_back(row.first);
  }
  std::sort(found.begin(), found.end(), [](const Row &a, const Row &b) { return std::tie(a.domain, a.opType) < std::tie(b.domain, b.opType); });
  return found;
}

const LoweringTable::Entry *LoweringTable::find(llvm::StringRef domain, llvm::StringRef opType, int64_t opset) const {
  auto op = entries.find((llvm::Twine(domain == "ai.onnx" ? "" : domain) + "::" + opType).str());
  if (op == entries.end())
    return nullptr;
  auto after = op->second.upper_bound(opset);
  return after == op->second.begin() ? nullptr : &std::prev(after)->second;
}
