// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/KernelOps.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/nn/ScatterOp.h"
#include "dialects/nn/TextOps.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug::nn;

#include "dialects/nn/NnDialect.cpp.inc"
#include "dialects/nn/NnEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/nn/NnAttrs.cpp.inc"
#include "dialects/nn/IndexRuleInterface.cpp.inc"

void NnDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/nn/NnAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/nn/NnOps.cpp.inc"
      >();
  addOperations<ScatterOp, TextOp, TextBytesOp>();
}

bool snug::overwritesElements(Operation *op, ArrayRef<OpOperand *> operands) {
  auto kernel = cast<DestinationStyleOpInterface>(op);
  return llvm::all_of(operands, [&](OpOperand *operand) {
    return kernel.isDpsInit(operand) || llvm::any_of(kernel.getDpsInitsMutable(), [&](OpOperand &init) {
             return mayOverwrite(op, *operand, init);
           });
  });
}

LogicalResult snug::bufferizeKernel(Operation *op, RewriterBase &rewriter,
                                    const bufferization::BufferizationOptions &options,
                                    bufferization::BufferizationState &state) {
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    if (!isa<TensorType>(operand.getType())) {
      operands.push_back(operand);
      continue;
    }
    FailureOr<Value> buffer = bufferization::getBuffer(rewriter, operand, options, state);
    if (failed(buffer))
      return failure();
    operands.push_back(*buffer);
  }
  rewriter.setInsertionPoint(op);
  OperationState newState(op->getLoc(), op->getName());
  newState.addOperands(operands);
  newState.addAttributes(llvm::to_vector(op->getDiscardableAttrs()));
  newState.propertiesAttr = op->getPropertiesAsAttribute();
  for (Region &region : op->getRegions())
    newState.addRegion()->takeBody(region);
  Operation *newOp = rewriter.create(newState);
  SmallVector<Value> replacements;
  for (OpOperand &init : cast<DestinationStyleOpInterface>(newOp).getDpsInitsMutable())
    replacements.push_back(init.get());
  bufferization::replaceOpWithBufferizedValues(rewriter, op, replacements);
  return success();
}

namespace {
struct WeightBufferization
    : bufferization::BufferizableOpInterface::ExternalModel<WeightBufferization, WeightOp> {
  LogicalResult bufferize(Operation *op, RewriterBase &rewriter, const bufferization::BufferizationOptions &,
                          bufferization::BufferizationState &) const {
    auto weight = cast<WeightOp>(op);
    auto type = cast<RankedTensorType>(weight.getType());
    rewriter.setInsertionPoint(op);
    auto memref = MemRefType::get(type.getShape(), type.getElementType());
    Value buffer = WeightOp::create(rewriter, op->getLoc(), memref, weight.getDataAttr(), weight.getRecipe());
    bufferization::replaceOpWithBufferizedValues(rewriter, op, buffer);
    return success();
  }
  bool isWritable(Operation *, Value, const bufferization::AnalysisState &) const { return false; }
};
} // namespace

void snug::registerNnDialect(DialectRegistry &registry) {
  registry.insert<NnDialect>();
  registry.addExtension(+[](MLIRContext *context, NnDialect *) {
    context->loadDialect<bufferization::BufferizationDialect>();
    ContractOp::attachInterface<KernelBufferization<ContractOp>>(*context);
    SoftmaxOp::attachInterface<KernelBufferization<SoftmaxOp>>(*context);
    NormOp::attachInterface<KernelBufferization<NormOp>>(*context);
    GatherOp::attachInterface<KernelBufferization<GatherOp>>(*context);
    AttentionOp::attachInterface<KernelBufferization<AttentionOp>>(*context);
    PartialReduceOp::attachInterface<KernelBufferization<PartialReduceOp>>(*context);
    ScanOp::attachInterface<KernelBufferization<ScanOp>>(*context);
    TopKOp::attachInterface<KernelBufferization<TopKOp>>(*context);
    ScalarKernelOp::attachInterface<KernelBufferization<ScalarKernelOp>>(*context);
    ScatterOp::attachInterface<KernelBufferization<ScatterOp>>(*context);
    WeightOp::attachInterface<WeightBufferization>(*context);
  });
}
