// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ShareNodes.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/IR/OperationSupport.h"
#include "passes/canonicalize/LoweringTable.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/Hashing.h"

using namespace mlir;
using namespace snug;

namespace {
// Equal where operation, operands, attributes and result types are; names of nodes do not count.
struct SameOperation : llvm::DenseMapInfo<Operation *> {
  static unsigned getHashValue(const Operation *op) {
    return OperationEquivalence::computeHash(const_cast<Operation *>(op), OperationEquivalence::directHashValue,
                                             OperationEquivalence::ignoreHashValue, OperationEquivalence::IgnoreLocations);
  }
  static bool isEqual(const Operation *left, const Operation *right) {
    if (left == right)
      return true;
    if (left == getEmptyKey() || left == getTombstoneKey() || right == getEmptyKey() || right == getTombstoneKey())
      return false;
    return OperationEquivalence::isEquivalentTo(const_cast<Operation *>(left), const_cast<Operation *>(right),
                                                OperationEquivalence::IgnoreLocations);
  }
};
using Known = llvm::DenseMap<Operation *, Operation *, SameOperation>;

// Not what gives another value each time, nor what is not supported: of that each node is counted.
bool mayShare(onnx::NodeOp node) {
  StringRef type = node.getOpType();
  return !type.starts_with("Random") && !llvm::is_contained({"Bernoulli", "Multinomial", "Dropout"}, type) &&
         LoweringTable::get().find(node.getDomain(), type, node.getOpset());
}

// `around`: of the regions around.
void share(Region &region, const Known &around) {
  Known known = around;
  for (Block &block : region)
    for (Operation &op : llvm::make_early_inc_range(block)) {
      for (Region &inner : op.getRegions())
        share(inner, known);
      auto node = dyn_cast<onnx::NodeOp>(op);
      if (op.getNumRegions() != 0 || (node ? !mayShare(node) : !isa<onnx::GetOp>(op)))
        continue;
      auto [first, isNew] = known.try_emplace(&op, &op);
      if (isNew)
        continue;
      op.replaceAllUsesWith(first->second);
      op.erase();
    }
}
} // namespace

void snug::shareNodes(Region &region) { share(region, Known()); }
