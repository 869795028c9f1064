// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/Contiguous.h"
#include "dialects/nn/KernelOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::mesh;

#define GET_OP_CLASSES
#include "dialects/mesh/MeshOps.cpp.inc"

// --- verifiers ----------------------------------------------------------------------------------------------------

// nullopt for a function that stands alone, as a copy of one does while something is tried: its mesh is not known.
static FailureOr<std::optional<Mesh>> meshAround(Operation *op) {
  if (!op->getParentOfType<ModuleOp>())
    return std::optional<Mesh>();
  FailureOr<std::optional<Mesh>> mesh = Mesh::of(op);
  if (failed(mesh))
    return op->emitOpError() << "stands in a module whose " << kMesh << " is not array<i64: d1, d2>, two numbers of devices from 1 on";
  if (!*mesh)
    return op->emitOpError() << "stands in a program for one device: its module has no " << kMesh << " = array<i64: d1, d2>";
  return mesh;
}

static bool isCombined(Type type) {
  return isa<Float16Type, BFloat16Type, Float32Type, Float64Type>(type) || type.isSignlessInteger(8) ||
         type.isSignlessInteger(16) || type.isSignlessInteger(32) || type.isSignlessInteger(64);
}

// Of the shape of one part, that of all parts of a group.
static SmallVector<int64_t> partsOf(ArrayRef<int64_t> part, int64_t groupSize) {
  SmallVector<int64_t> shape{groupSize};
  llvm::append_range(shape, part);
  return shape;
}

static LogicalResult verifyCollective(CollectiveOpInterface op) {
  Operation *operation = op;
  ArrayRef<int64_t> axes = op.getAxes();
  if (axes.empty() || axes.size() > 2 || llvm::any_of(axes, [](int64_t axis) { return axis < 0 || axis > 1; }) ||
      (axes.size() == 2 && axes[0] >= axes[1])) {
    InFlightDiagnostic diagnostic = operation->emitOpError() << "goes along axes [";
    llvm::interleaveComma(axes, diagnostic);
    return diagnostic << "], wants [0], [1] or [0, 1]";
  }
  FailureOr<std::optional<Mesh>> mesh = meshAround(op);
  if (failed(mesh))
    return failure();
  auto from = cast<ShapedType>(op.getInput().getType()), to = cast<ShapedType>(op.getInit().getType());
  ShapedType parts = from.getRank() < to.getRank() ? to : from;
  int64_t groupSize = *mesh ? (*mesh)->groupSize(axes) : parts.getRank() ? parts.getDimSize(0) : 1;
  CollectiveKind kind = op.getCollectiveKind();
  bool fits = from.getElementType() == to.getElementType();
  switch (kind) {
  case CollectiveKind::AllReduce:
  case CollectiveKind::Shift:
    fits = fits && succeeded(verifyCompatibleShape(from.getShape(), to.getShape()));
    break;
  case CollectiveKind::ReduceScatter:
    fits = fits && from.getRank() == to.getRank() + 1 && from.getDimSize(0) == groupSize &&
           succeeded(verifyCompatibleShape(from.getShape(), partsOf(to.getShape(), groupSize)));
    break;
  case CollectiveKind::AllGather:
    fits = fits && to.getRank() == from.getRank() + 1 && to.getDimSize(0) == groupSize &&
           succeeded(verifyCompatibleShape(to.getShape(), partsOf(from.getShape(), groupSize)));
    break;
  case CollectiveKind::AllToAll:
    fits = fits && from.getRank() > 0 && from.getDimSize(0) == groupSize && to.getRank() > 0 && to.getDimSize(0) == groupSize &&
           succeeded(verifyCompatibleShape(from.getShape(), to.getShape()));
    break;
  }
  if (!fits)
    return operation->emitOpError() << "of " << groupSize << " devices does not make " << to << " of " << from;
  if (op.getCombination() && !isCombined(from.getElementType()))
    return operation->emitOpError() << "combines elements of type " << from.getElementType()
                                    << ", wants f16, bf16, f32, f64 or integers of 8, 16, 32 or 64 bits";
  if (op.getStarts() && !isa<MemRefType>(op.getInput().getType()))
    return operation->emitOpError() << "starts on tensors: what is in flight is memory";
  for (OpOperand &operand : operation->getOpOperands())
    if (auto type = dyn_cast<MemRefType>(operand.get().getType()); type && isScattered(type))
      return operation->emitOpError() << "wants memory that is contiguous, operand " << operand.getOperandNumber()
                                      << " is " << type;
  return success();
}

CollectiveOpInterface WaitOp::getStart() {
  for (Operation *before = (*this)->getPrevNode(); before; before = before->getPrevNode()) {
    if (auto other = dyn_cast<WaitOp>(before); other && other.getInput() == getInput() && other.getInit() == getInit())
      return {};
    if (auto start = dyn_cast<CollectiveOpInterface>(before))
      if (start.getStarts() && start.getInput() == getInput() && start.getInit() == getInit())
        return start;
  }
  return {};
}

LogicalResult WaitOp::verify() {
  if (!getStart())
    return emitOpError() << "waits for a collective that was not started in its block with these operands";
  return success();
}

void WaitOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  effects.emplace_back(MemoryEffects::Read::get(), &getInputMutable());
  effects.emplace_back(MemoryEffects::Write::get(), &getInitMutable());
}

LogicalResult IndexOp::verify() {
  if (getAxis() != 0 && getAxis() != 1)
    return emitOpError() << "asks for the place along axis " << getAxis() << ", a mesh has axes 0 and 1";
  return success(succeeded(meshAround(*this)));
}

// --- index rules --------------------------------------------------------------------------------------------------

// Dims: that of the group, where there is one, and then those of a part. Of these the outermost that is not 1 may be cut.
static IndexRule ruleOf(CollectiveOpInterface op) {
  MLIRContext *context = op->getContext();
  auto from = cast<ShapedType>(op.getInput().getType()), to = cast<ShapedType>(op.getInit().getType());
  CollectiveKind kind = op.getCollectiveKind();
  int64_t group = kind == CollectiveKind::AllReduce || kind == CollectiveKind::Shift ? 0 : 1, numDims = std::max(from.getRank(), to.getRank());
  ShapedType longer = from.getRank() > to.getRank() ? from : to;
  IndexRule rule;
  rule.dims.assign(numDims, IterDim{IterKind::Whole, Combiner::None});
  for (int64_t dim = group; dim < numDims; ++dim)
    if (longer.getDimSize(dim) != 1) {
      rule.dims[dim].kind = IterKind::Parallel;
      break;
    }
  AffineMap all = AffineMap::getMultiDimIdentityMap(numDims, context);
  AffineMap part = group && numDims > 0 ? all.dropResult(0) : all;
  rule.operands = {from.getRank() == numDims ? all : part, to.getRank() == numDims ? all : part};
  rule.results.assign(1, rule.operands.back());
  return rule;
}

// A slice of parts that stand in a tensor from outside is in as many pieces as there are parts: it is copied, and so is
// what is made of such a slice.
static SmallVector<Value> cloneContiguous(OpBuilder &builder, Operation *op, const OpSlice &slice, ValueRange operands) {
  auto kernel = cast<DestinationStyleOpInterface>(op);
  SmallVector<Value> contiguous(operands);
  for (auto [operand, value] : llvm::zip_equal(op->getOpOperands(), contiguous)) {
    if (isContiguous(value))
      continue;
    value = kernel.isDpsInit(&operand) ? emptyLike(builder, op->getLoc(), value)
                                       : contiguousCopy(builder, op->getLoc(), value);
  }
  return cloneOnDestinations(builder, op, slice, contiguous);
}

#define SNUG_COLLECTIVE(OP)                                                                                            \
  LogicalResult OP::verify() { return verifyCollective(cast<CollectiveOpInterface>(getOperation())); }                 \
  FailureOr<IndexRule> OP::getIndexRule() { return ruleOf(cast<CollectiveOpInterface>(getOperation())); }              \
  SmallVector<Value> OP::cloneSlice(OpBuilder &builder, const OpSlice &slice, ValueRange operands) {                   \
    return cloneContiguous(builder, *this, slice, operands);                                                           \
  }                                                                                                                    \
  bool OP::mayOverwrite(OpOperand &operand, OpOperand &) {                                                             \
    return getCollectiveKind() == CollectiveKind::AllReduce && operand.getOperandNumber() == 0;                        \
  }                                                                                                                    \
  bool OP::wantsContiguous() { return true; }                                                                          \
  void OP::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {                  \
    kernelEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);                                         \
  }
SNUG_COLLECTIVE(AllReduceOp)
SNUG_COLLECTIVE(ReduceScatterOp)
SNUG_COLLECTIVE(AllGatherOp)
SNUG_COLLECTIVE(AllToAllOp)
SNUG_COLLECTIVE(ShiftOp)
#undef SNUG_COLLECTIVE
