// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "passes/shard/Layouts.h"
#include "passes/shard/Passes.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_VERIFYPARTITION
#include "passes/shard/Passes.h.inc"
} // namespace snug

namespace {
// What says how often, or whether, a body is run.
SmallVector<Value> courseOf(Operation *op) {
  SmallVector<Value> values;
  for (Value operand : op->getOperands())
    if (operand.getType().isIntOrIndex())
      values.push_back(operand);
  return values;
}

// Whether the value is another one on each device: it is made of the device's place.
bool isOfPlace(Value value) {
  if (value.getDefiningOp<mesh::IndexOp>())
    return true;
  BackwardSliceOptions options;
  options.omitBlockArguments = true;
  llvm::SetVector<Operation *> slice;
  if (failed(getBackwardSlice(value, &slice, options)))
    return true;
  return llvm::any_of(slice, [](Operation *op) { return isa<mesh::IndexOp>(op); });
}

struct VerifyPartitionPass : snug::impl::VerifyPartitionBase<VerifyPartitionPass> {
  using VerifyPartitionBase::VerifyPartitionBase;

  void getDependentDialects(DialectRegistry &registry) const override { registerShardDialects(registry); }

  void runOnOperation() override {
    bool sound = true;
    bool hasMesh = getOperation()->hasAttr(kMesh);
    getOperation()->walk([&](Operation *op) {
      auto wrong = [&](const Twine &why) {
        op->emitOpError() << why;
        sound = false;
      };
      if (op->hasAttr(kCuts))
        wrong("has cuts that were not carried out");
      if (isa<mesh::PinOp>(op))
        wrong("is left: it stands in a function that is not cut");
      if (!isa<mesh::CollectiveOpInterface, mesh::IndexOp>(op))
        return;
      if (!hasMesh)
        wrong("stands in a program for one device");
      if (!isa<mesh::CollectiveOpInterface>(op))
        return;
      for (Operation *around = op->getParentOp(); around && !isa<FunctionOpInterface>(around); around = around->getParentOp())
        if (llvm::any_of(courseOf(around), isOfPlace))
          wrong("is not done by all devices alike: what it is in depends on the device's place");
    });
    if (!sound)
      signalPassFailure();
  }
};
} // namespace
