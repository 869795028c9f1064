// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops that are one kernel have in common, of whatever dialect: the same ops in destination-passing style stand on
// tensors and on memrefs.
#ifndef SNUG_DIALECTS_NN_KERNELOPS_H
#define SNUG_DIALECTS_NN_KERNELOPS_H

#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"

namespace snug {

/// Whether what the op's destinations hold counts, as its rule says (IndexRule::keepsDestinations).
bool keepsDestinations(mlir::Operation *op);

/// On memrefs a kernel reads its ins, and its destination where that counts, and writes its destination; on tensors it has no effect.
void kernelEffects(mlir::DestinationStyleOpInterface op,
                   llvm::SmallVectorImpl<mlir::SideEffects::EffectInstance<mlir::MemoryEffects::Effect>> &effects);

/// The kernel on memrefs in place of the one on tensors.
mlir::LogicalResult bufferizeKernel(mlir::Operation *op, mlir::RewriterBase &rewriter,
                                    const mlir::bufferization::BufferizationOptions &options,
                                    mlir::bufferization::BufferizationState &state);
/// Whether each of these operands is a destination, or may be written over by one.
bool overwritesElements(mlir::Operation *op, llvm::ArrayRef<mlir::OpOperand *> operands);

/// A kernel writes all of its destination, so its old content is never read, unless it counts; which operand the destination may share
/// a buffer with is decided by the schedule, not here.
template <class OpT>
struct KernelBufferization
    : mlir::bufferization::DstBufferizableOpInterfaceExternalModel<KernelBufferization<OpT>, OpT> {
  bool bufferizesToMemoryRead(mlir::Operation *op, mlir::OpOperand &operand,
                              const mlir::bufferization::AnalysisState &) const {
    return !mlir::cast<mlir::DestinationStyleOpInterface>(op).isDpsInit(&operand) || keepsDestinations(op);
  }
  bool bufferizesToElementwiseAccess(mlir::Operation *op, const mlir::bufferization::AnalysisState &,
                                     llvm::ArrayRef<mlir::OpOperand *> operands) const {
    return overwritesElements(op, operands);
  }
  mlir::LogicalResult bufferize(mlir::Operation *op, mlir::RewriterBase &rewriter,
                                const mlir::bufferization::BufferizationOptions &options,
                                mlir::bufferization::BufferizationState &state) const {
    return bufferizeKernel(op, rewriter, options, state);
  }
};

} // namespace snug

#endif
