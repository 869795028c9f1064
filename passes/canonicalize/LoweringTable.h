// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Op type x opset -> lowering function. One file a family under ops/; each adds its entries here. A new version of an op
// is one more line with the opset it begins at.
#ifndef SNUG_PASSES_CANONICALIZE_LOWERINGTABLE_H
#define SNUG_PASSES_CANONICALIZE_LOWERINGTABLE_H

#include "mlir/Support/LLVM.h"
#include "passes/canonicalize/ElementTypes.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/Twine.h"
#include <map>
#include <string>
#include <vector>

namespace snug {

class Lowering;
// Lowers the node at hand and defines its results; on failure it has emitted an error at the node.
using LoweringFunction = mlir::LogicalResult (*)(Lowering &);

class LoweringTable {
public:
  // The table with all families.
  static const LoweringTable &get();
  struct Entry {
    LoweringFunction function;
    TypeSet types; // of the inputs' elements, among those that the standard allows
  };
  // `since`: first opset of `domain` that the function serves. "ai.onnx" is "". A function that only moves elements takes
  // types::All, one that computes in integers asks ElementTypes.h for what depends on their sign.
  void add(llvm::StringRef opType, int64_t since, LoweringFunction function, llvm::StringRef domain = "") {
    add(opType, since, function, types::Ordinary, domain);
  }
  void add(llvm::StringRef opType, int64_t since, LoweringFunction function, TypeSet types, llvm::StringRef domain = "");
  // Null where the op is unknown or older than its oldest entry.
  const Entry *find(llvm::StringRef domain, llvm::StringRef opType, int64_t opset) const;

  // Each op of the table and the opsets at which a row of it begins, by domain and name.
  struct Row {
    std::string domain, opType;
    std::vector<int64_t> since;
    TypeSet types; // of the newest
  };
  std::vector<Row> rows() const;

private:
  llvm::StringMap<std::map<int64_t, Entry>> entries; // "domain::OpType" -> since -> function
};

void addElementwiseOps(LoweringTable &table);
void addLogicOps(LoweringTable &table);
void addShapeOps(LoweringTable &table);
void addLayoutOps(LoweringTable &table);
void addSequenceOps(LoweringTable &table);
void addContractionOps(LoweringTable &table);
void addQuantizationOps(LoweringTable &table);
void addRowOps(LoweringTable &table);
void addGatherOps(LoweringTable &table);
void addReduceOps(LoweringTable &table);
void addAttentionOps(LoweringTable &table);
void addRotaryEmbedding(LoweringTable &table);
void addEinsumOps(LoweringTable &table);
void addActivationOps(LoweringTable &table);
void addPoolingOps(LoweringTable &table);
void addConvolutionOps(LoweringTable &table);
void addPadOps(LoweringTable &table);
void addCastOps(LoweringTable &table);
void addPositionOps(LoweringTable &table);
void addResizeOps(LoweringTable &table);
void addControlFlowOps(LoweringTable &table);
void addOptionalOps(LoweringTable &table);
void addRecurrentOps(LoweringTable &table);
void addIndexedOps(LoweringTable &table);
void addScanOps(LoweringTable &table);
void addLossOps(LoweringTable &table);
void addSamplingOps(LoweringTable &table);
void addRegionOps(LoweringTable &table);
void addSpectrumOps(LoweringTable &table);
void addRandomOps(LoweringTable &table);
void addTrainingOps(LoweringTable &table);
void addImageOps(LoweringTable &table);
void addClassicOps(LoweringTable &table);
void addDataSizeOps(LoweringTable &table);
void addNonMaxSuppression(LoweringTable &table);
void addLegacyOps(LoweringTable &table);
// ONNX Runtime's own ops, of which its optimizer and its quantizer write files.
void addContribNorms(LoweringTable &table);
void addContribFusedOps(LoweringTable &table);
void addContribAttentionOps(LoweringTable &table);
void addGroupQueryAttention(LoweringTable &table);

} // namespace snug

#endif
