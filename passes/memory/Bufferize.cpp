// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/FuncBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotModuleBufferize.h"
#include "mlir/Dialect/Bufferization/Transforms/Transforms.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/memory/Passes.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_BUFFERIZE
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
// The mark of buffers that are in the schedule. It is carried by locations, as bufferization drops attributes.
constexpr StringLiteral kScheduled = "snug.scheduled";

Location markScheduled(Location loc) {
  return FusedLoc::get(loc.getContext(), {loc}, StringAttr::get(loc.getContext(), kScheduled));
}
bool isScheduled(Location loc) {
  auto fused = dyn_cast<FusedLoc>(loc);
  return fused && fused.getMetadata() == StringAttr::get(loc.getContext(), kScheduled);
}
Location unmarked(Location loc) { return isScheduled(loc) ? cast<FusedLoc>(loc).getLocations().front() : loc; }

InFlightDiagnostic fault(Operation *op) {
  return mlir::emitError(unmarked(op->getLoc())) << "internal fault: the schedule does not hold in memory: ";
}

// One buffer a tensor.empty, made before anything can merge equal ones.
void makeAllocations(ModuleOp module) {
  SmallVector<tensor::EmptyOp> empties;
  module.walk([&](tensor::EmptyOp empty) { empties.push_back(empty); });
  for (tensor::EmptyOp empty : empties) {
    OpBuilder builder(empty);
    if (!empty->use_empty())
      empty.replaceAllUsesWith(bufferization::AllocTensorOp::create(builder, markScheduled(empty.getLoc()),
                                                                    empty.getType(), empty.getDynamicSizes())
                                   .getResult());
    empty.erase();
  }
}

// Nobody writes into an input that is not donated: without this, bufferization takes every argument for writable.
void protectInputs(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>())
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      if (isa<TensorType>(function.getArgument(i).getType()) && !function.getArgAttr(i, "bufferization.writable"))
        function.setArgAttr(i, "bufferization.writable",
                            BoolAttr::get(module.getContext(), isWritableArgument(function.getArgument(i))));
}

// --- after bufferization -------------------------------------------------------------------------------------------

// Looks through views that keep all elements in order.
Value wholeBuffer(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<memref::CastOp, memref::ExpandShapeOp, memref::CollapseShapeOp>(op))
      break;
    value = op->getOperand(0);
  }
  return value;
}

bool sameMemory(Value a, Value b) {
  a = wholeBuffer(a);
  b = wholeBuffer(b);
  if (a == b)
    return true;
  auto x = a.getDefiningOp<memref::SubViewOp>(), y = b.getDefiningOp<memref::SubViewOp>();
  return x && y && x.getMixedOffsets() == y.getMixedOffsets() && x.getMixedSizes() == y.getMixedSizes() &&
         x.getMixedStrides() == y.getMixedStrides() && sameMemory(x.getSource(), y.getSource());
}

struct BufferizePass : snug::impl::BufferizeBase<BufferizePass> {
  using BufferizeBase::BufferizeBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    BufferizeBase::getDependentDialects(registry);
    arith::registerBufferizableOpInterfaceExternalModels(registry);
    bufferization::func_ext::registerBufferizableOpInterfaceExternalModels(registry);
    linalg::registerBufferizableOpInterfaceExternalModels(registry);
    scf::registerBufferizableOpInterfaceExternalModels(registry);
    tensor::registerBufferizableOpInterfaceExternalModels(registry);
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    makeAllocations(module);
    protectInputs(module);
    // Equal slices become one value: what is read and written in place must be the same value to be seen as such.
    OpPassManager merge(ModuleOp::getOperationName());
    merge.addPass(createCSEPass());
    if (failed(runPipeline(merge, module)))
      return signalPassFailure();

    bufferization::OneShotBufferizationOptions options;
    options.bufferizeFunctionBoundaries = true;
    options.setFunctionBoundaryTypeConversion(bufferization::LayoutMapOption::IdentityLayoutMap);
    bufferization::BufferizationState state;
    llvm::SmallPtrSet<Operation *, 32> before;
    module.walk([&](bufferization::AllocTensorOp op) { before.insert(op); });
    if (failed(bufferization::insertTensorCopies(module, options, state)))
      return signalPassFailure();
    bool sound = true;
    module.walk([&](bufferization::AllocTensorOp op) {
      if (before.contains(op))
        return;
      sound = false;
      InFlightDiagnostic diagnostic = fault(op) << "'";
      Operation *user = op->use_empty() ? nullptr : *op->user_begin();
      diagnostic << (user ? user->getName().getStringRef() : "an op") << "' cannot write in place and needs a copy of "
                 << op.getType();
    });
    if (!sound || failed(bufferization::bufferizeModuleOp(module, options, state)))
      return signalPassFailure();
    // Loops that carry a buffer unchanged lose it, and equal slices become one.
    OpPassManager cleanup(ModuleOp::getOperationName());
    cleanup.addPass(createCanonicalizerPass());
    cleanup.addPass(createCSEPass());
    cleanup.addPass(createCanonicalizerPass());
    if (failed(runPipeline(cleanup, module)) || failed(dropResults(module)) || failed(checkAllocations(module)) ||
        failed(resolveCopies(module)))
      return signalPassFailure();
    OpPassManager last(ModuleOp::getOperationName());
    last.addPass(createCanonicalizerPass());
    if (failed(runPipeline(last, module)))
      signalPassFailure();
  }

  // A result stands in its destination argument, so it need not be returned.
  LogicalResult dropResults(ModuleOp module) {
    for (auto function : module.getOps<func::FuncOp>()) {
      auto numInputs = function->getAttrOfType<IntegerAttr>("snug.num_inputs");
      if (function.isDeclaration() || !numInputs)
        continue;
      Operation *terminator = function.front().getTerminator();
      unsigned argument = numInputs.getInt();
      llvm::BitVector dropped(function.getNumResults());
      for (auto [index, value] : llvm::enumerate(terminator->getOperands())) {
        if (!isa<BaseMemRefType>(value.getType()))
          continue;
        if (wholeBuffer(value) != function.getArgument(argument))
          return fault(terminator) << "result " << index << " is not in its destination, argument " << argument;
        ++argument;
        dropped.set(index);
      }
      terminator->eraseOperands(dropped);
      if (failed(function.eraseResults(dropped)))
        return failure();
    }
    return success();
  }

  LogicalResult checkAllocations(ModuleOp module) {
    bool sound = true;
    module.walk([&](Operation *op) {
      if (!isa<memref::AllocOp, memref::AllocaOp>(op))
        return;
      if (!isScheduled(op->getLoc())) {
        fault(op) << "bufferization adds a buffer of " << op->getResult(0).getType();
        sound = false;
      }
      op->setLoc(unmarked(op->getLoc()));
    });
    return success(sound);
  }

  // What was computed in place needs no copy; an insert of a tensor that stands elsewhere is the program's own copy,
  // and that is a kernel.
  LogicalResult resolveCopies(ModuleOp module) {
    SmallVector<memref::CopyOp> copies;
    module.walk([&](memref::CopyOp copy) { copies.push_back(copy); });
    for (memref::CopyOp copy : copies) {
      if (!sameMemory(copy.getSource(), copy.getTarget())) {
        OpBuilder builder(copy);
        linalg::CopyOp::create(builder, copy.getLoc(), copy.getSource(), copy.getTarget());
      }
      copy.erase();
    }
    return success();
  }
};
} // namespace
