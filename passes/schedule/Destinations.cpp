// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/schedule/Destinations.h"
#include "dialects/nn/IndexRule.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace snug;

// --- destinations are free to be written ---------------------------------------------------------------------------

// Whether nobody but `use` looks at the buffer behind it, so that a write in place harms nobody in any order. What comes
// from outside of a loop or branch is somebody else's, but for what the loop carries.
static bool isExclusive(OpOperand &use) {
  Value value = use.get();
  while (true) {
    unsigned readers = llvm::count_if(value.getUses(), [](OpOperand &u) { return !isa<tensor::DimOp>(u.getOwner()); });
    if (readers > 1)
      return false;
    if (Value source = wholeViewSource(value))
      value = source;
    else
      break;
  }
  Operation *op = value.getDefiningOp();
  if (value.getParentBlock() != use.getOwner()->getBlock())
    return false;
  if (auto argument = dyn_cast<BlockArgument>(value); argument && isa<scf::ForOp>(argument.getOwner()->getParentOp()))
    return true;
  return op ? !isa<nn::WeightOp, tensor::ExtractSliceOp>(op) && !op->hasTrait<OpTrait::ConstantLike>()
            : isWritableArgument(value);
}

// Sizes of a tensor, from where its buffer comes from if that is at hand, so as not to keep kernels alive for their
// shape.
static SmallVector<OpFoldResult> sizesOf(OpBuilder &builder, Location loc, Value value) {
  while (auto kernel = value.getDefiningOp<DestinationStyleOpInterface>())
    value = kernel.getTiedOpOperand(cast<OpResult>(value))->get();
  if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes();
  return tensor::getMixedSizes(builder, loc, value);
}

// Whether it reads no tensor, so that making it anew costs no more than a copy.
static bool isFill(linalg::LinalgOp op) {
  if (!op || !isa<linalg::FillOp, linalg::GenericOp>(op) || op->getNumResults() != 1 ||
      op.getNumLoops() != op.getNumParallelLoops() || op.payloadUsesValueFromOperand(op.getDpsInitOperand(0)))
    return false;
  auto isTensor = [](Value value) { return isa<ShapedType>(value.getType()); };
  bool reads = llvm::any_of(op.getDpsInputs(), isTensor);
  op.getBlock()->walk([&](Operation *inner) { reads |= llvm::any_of(inner->getOperands(), isTensor); });
  return !reads;
}

void snug::separateDestinations(Block &block) {
  auto makeExclusive = [&](Operation *op, OpOperand &init) {
    if (!isa<RankedTensorType>(init.get().getType()) || isExclusive(init))
      return;
    OpBuilder builder(op);
    Location loc = op->getLoc();
    Value value = init.get();
    auto fill = value.getDefiningOp<linalg::LinalgOp>();
    if (isFill(fill) && readsDestination(init)) {
      auto type = cast<RankedTensorType>(value.getType());
      Value empty =
          tensor::EmptyOp::create(builder, fill->getLoc(), sizesOf(builder, loc, value), type.getElementType());
      if (empty.getType() != type)
        empty = tensor::CastOp::create(builder, loc, type, empty);
      IRMapping mapping;
      mapping.map(fill.getDpsInits()[0], empty);
      init.set(builder.clone(*fill, mapping)->getResult(0));
      return;
    }
    if (value.getDefiningOp<tensor::EmptyOp>()) {
      init.set(builder.clone(*value.getDefiningOp())->getResult(0));
      return;
    }
    auto type = cast<RankedTensorType>(value.getType());
    Value fresh = tensor::EmptyOp::create(builder, loc, sizesOf(builder, loc, value), type.getElementType());
    if (fresh.getType() != type)
      fresh = tensor::CastOp::create(builder, loc, type, fresh);
    if (readsDestination(init))
      fresh = linalg::CopyOp::create(builder, loc, value, fresh).getResult(0);
    init.set(fresh);
  };
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      for (OpOperand &init : dps.getDpsInitsMutable())
        makeExclusive(&op, init);
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      for (OpOperand &init : loop.getInitArgsMutable())
        makeExclusive(&op, init);
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

// --- results become destination arguments --------------------------------------------------------------------------

void snug::addDestinationArguments(func::FuncOp function) {
  if (function->hasAttr("snug.num_inputs"))
    return;
  Builder builder(function.getContext());
  unsigned numInputs = function.getNumArguments();
  for (auto [index, type] : llvm::enumerate(function.getResultTypes())) {
    if (!isa<RankedTensorType>(type))
      continue;
    NamedAttrList attrs;
    for (StringRef name : {StringRef("snug.name"), StringRef("snug.dims"), StringRef("snug.element_type"),
                           StringRef(kLargestShape), StringRef(kShapeOf), StringRef(kLayout)})
      if (Attribute attr = function.getResultAttr(index, name))
        attrs.append(name, attr);
    attrs.append(kOutputArgument, builder.getUnitAttr());
    attrs.append("bufferization.writable", builder.getBoolAttr(true));
    (void)function.insertArgument(function.getNumArguments(), type, attrs.getDictionary(function.getContext()),
                                  function.getLoc());
  }
  function->setAttr("snug.num_inputs", builder.getI64IntegerAttr(numInputs));
}

tensor::EmptyOp snug::madeIn(Value value, SmallVectorImpl<Operation *> &views, Value there, bool &isThere) {
  while (value != there) {
    Operation *op = value.getDefiningOp();
    if (auto empty = dyn_cast_or_null<tensor::EmptyOp>(op))
      return empty;
    if (Value source = wholeViewSource(value)) {
      views.push_back(op);
      value = source;
    } else if (!(value = writtenInto(value))) {
      return {};
    }
  }
  isThere = true;
  return {};
}

bool snug::produceInto(Value value, Value destination) {
  OpBuilder builder(value.getContext());
  SmallVector<Operation *> views;
  bool isThere = false;
  tensor::EmptyOp empty = madeIn(value, views, destination, isThere);
  if (!empty)
    return isThere;
  // A tensor has the shape of its destination, so until the first view back from here sizes are those of the empty.
  builder.setInsertionPointAfter(empty);
  for (auto [index, view] : llvm::enumerate(views)) {
    auto type = cast<RankedTensorType>(view->getOperand(0).getType());
    Location loc = view->getLoc();
    if (isa<tensor::CastOp>(view)) {
      destination = tensor::CastOp::create(builder, loc, type, destination);
    } else if (auto expand = dyn_cast<tensor::ExpandShapeOp>(view)) {
      destination = tensor::CollapseShapeOp::create(builder, loc, type, destination, expand.getReassociationIndices());
    } else {
      auto collapse = cast<tensor::CollapseShapeOp>(view);
      bool sizesKnown = type.hasStaticShape() || index + 1 == views.size();
      if (!sizesKnown)
        return false;
      SmallVector<OpFoldResult> sizes =
          type.hasStaticShape() ? tensor::getMixedSizes(builder, loc, view->getOperand(0)) : empty.getMixedSizes();
      destination =
          tensor::ExpandShapeOp::create(builder, loc, type, destination, collapse.getReassociationIndices(), sizes);
    }
  }
  if (destination.getType() != empty.getType())
    return false;
  empty.replaceAllUsesWith(destination);
  empty.erase();
  return true;
}

bool snug::isIn(Value value, Value destination) {
  SmallVector<Operation *> views;
  bool isThere = false;
  (void)madeIn(value, views, destination, isThere);
  return isThere;
}

void snug::assignDestinations(func::FuncOp function) {
  Operation *terminator = function.front().getTerminator();
  unsigned argument = function->getAttrOfType<IntegerAttr>("snug.num_inputs").getInt();
  for (OpOperand &result : terminator->getOpOperands()) {
    if (!isa<RankedTensorType>(result.get().getType()))
      continue;
    BlockArgument destination = function.getArgument(argument++);
    // Unless another result is made there.
    if ((destination.use_empty() || isIn(result.get(), destination)) && produceInto(result.get(), destination))
      continue;
    OpBuilder builder(terminator);
    result.set(linalg::CopyOp::create(builder, terminator->getLoc(), result.get(), destination).getResult(0));
  }
}

