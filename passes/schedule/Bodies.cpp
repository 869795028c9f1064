// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What blocks of loops and branches hand on: iterations write over what the loop carries once nobody reads it any more, and
// both blocks of a branch write into one tensor.
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/schedule/Destinations.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace snug;

namespace {
// Sizes of what is made inside of an op, as values before it.
class SizesOutside {
public:
  explicit SizesOutside(Operation *op) : op(op), builder(op) {}

  FailureOr<SmallVector<OpFoldResult>> of(Value value) {
    SmallVector<OpFoldResult> sizes;
    for (int64_t dim = 0; dim < cast<RankedTensorType>(value.getType()).getRank(); ++dim) {
      FailureOr<OpFoldResult> size = ofDim(value, dim);
      if (failed(size))
        return failure();
      sizes.push_back(*size);
    }
    return sizes;
  }

private:
  bool isInside(Value value) { return op->isAncestor(value.getParentBlock()->getParentOp()); }

  FailureOr<OpFoldResult> ofDim(Value value, int64_t dim) {
    auto type = cast<RankedTensorType>(value.getType());
    if (!type.isDynamicDim(dim))
      return OpFoldResult(builder.getIndexAttr(type.getDimSize(dim)));
    if (!isInside(value))
      return OpFoldResult(tensor::DimOp::create(builder, op->getLoc(), value, dim).getResult());
    Operation *maker = value.getDefiningOp();
    if (auto empty = dyn_cast_or_null<tensor::EmptyOp>(maker))
      return before(empty.getMixedSizes()[dim]);
    if (auto expand = dyn_cast_or_null<tensor::ExpandShapeOp>(maker))
      return before(expand.getMixedOutputShape()[dim]);
    if (auto slice = dyn_cast_or_null<tensor::ExtractSliceOp>(maker)) {
      llvm::SmallBitVector dropped = slice.getDroppedDims();
      for (auto [i, size] : llvm::enumerate(slice.getMixedSizes()))
        if (!dropped.test(i) && dim-- == 0)
          return before(size);
      return failure();
    }
    if (auto collapse = dyn_cast_or_null<tensor::CollapseShapeOp>(maker)) {
      Value product = arith::ConstantIndexOp::create(builder, op->getLoc(), 1);
      SmallVector<ReassociationIndices> groups = collapse.getReassociationIndices(); // outlives the loop
      for (int64_t source : groups[dim]) {
        FailureOr<OpFoldResult> size = ofDim(collapse.getSrc(), source);
        if (failed(size))
          return failure();
        product = arith::MulIOp::create(builder, op->getLoc(), product,
                                        getValueOrCreateConstantIndexOp(builder, op->getLoc(), *size));
      }
      return OpFoldResult(product);
    }
    if (auto cast = dyn_cast_or_null<tensor::CastOp>(maker))
      return ofDim(cast.getSource(), dim);
    Value destination = writtenInto(value);
    return destination ? ofDim(destination, dim) : FailureOr<OpFoldResult>(failure());
  }

  FailureOr<OpFoldResult> before(OpFoldResult size) {
    auto value = dyn_cast<Value>(size);
    return value ? before(value) : FailureOr<OpFoldResult>(size);
  }

  FailureOr<OpFoldResult> before(Value value) {
    if (!isInside(value))
      return OpFoldResult(value);
    Operation *maker = value.getDefiningOp();
    if (auto dim = dyn_cast_or_null<tensor::DimOp>(maker); dim && dim.getConstantIndex())
      return ofDim(dim.getSource(), *dim.getConstantIndex());
    if (!maker || maker->getNumRegions() || !isMemoryEffectFree(maker) || maker->getNumResults() != 1)
      return failure();
    IRMapping mapping;
    for (Value operand : maker->getOperands()) {
      FailureOr<OpFoldResult> moved = before(operand);
      if (failed(moved))
        return failure();
      mapping.map(operand, getValueOrCreateConstantIndexOp(builder, op->getLoc(), *moved));
    }
    return OpFoldResult(builder.clone(*maker, mapping)->getResult(0));
  }

  Operation *op;
  OpBuilder builder;
};

bool isTensor(Value value) { return isa<RankedTensorType>(value.getType()); }

// What the loop around the branch carries, nobody else uses, and one of its blocks hands on as it is: then the other one
// may write over it.
bool mayUpdate(Value value, scf::IfOp branch) {
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument || argument.getOwner() != branch->getBlock() || !isa<scf::ForOp>(branch->getParentOp()))
    return false;
  return llvm::all_of(value.getUsers(),
                      [&](Operation *user) { return isa<tensor::DimOp>(user) || branch->isProperAncestor(user); });
}

// The ops of the block that read or write what stands where `there` does, views aside.
void findUsers(Value there, Block &block, llvm::SetVector<Operation *> &found) {
  llvm::SetVector<Value> aliases;
  aliases.insert(there);
  for (size_t next = 0; next < aliases.size(); ++next)
    for (OpOperand &use : aliases[next].getUses()) {
      Operation *user = use.getOwner(), *at = block.findAncestorOpInBlock(*user);
      if (!at || isa<tensor::DimOp>(user) || user == block.getTerminator())
        continue;
      for (Value result : user->getResults())
        if (isTensor(result) && (wholeViewSource(result) || isa<tensor::ExtractSliceOp>(user) ||
                                 writtenInto(result) == use.get()))
          aliases.insert(result);
      if (!isFree(at))
        found.insert(at);
    }
}

// Whether the value stands where `there` does, and as a whole.
enum class Place { Elsewhere, Part, Whole };
Place placeOf(Value value, Value there) {
  Place place = Place::Whole;
  while (value != there) {
    if (Value source = wholeViewSource(value)) {
      value = source;
      continue;
    }
    place = Place::Part;
    auto slice = value.getDefiningOp<tensor::ExtractSliceOp>();
    if (!(value = slice ? slice.getSource() : writtenInto(value)))
      return Place::Elsewhere;
  }
  return place;
}

// Whether an op reads what it is to write over only in ways that allow this.
bool mayWriteOver(Operation *op, Value there, OpOperand &init) {
  for (OpOperand &operand : op->getOpOperands())
    if (isTensor(operand.get()) && &operand != &init)
      if (Place place = placeOf(operand.get(), there);
          place == Place::Part || (place == Place::Whole && !mayOverwrite(op, operand, init)))
        return false;
  bool captures = false;
  for (Region &region : op->getRegions())
    region.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        captures |= isTensor(operand) && placeOf(operand, there) != Place::Elsewhere;
    });
  return !captures;
}

// Whether the op, or what it has to wait for, needs what `first` makes.
bool follows(Operation *first, const llvm::SetVector<Operation *> &ops, const OrderFacts &facts) {
  llvm::SetVector<Operation *> after;
  after.insert(first);
  for (size_t next = 0; next < after.size(); ++next) {
    for (Operation *user : after[next]->getUsers())
      if (Operation *at = first->getBlock()->findAncestorOpInBlock(*user))
        after.insert(at);
    for (auto [before, behind] : facts.before)
      if (before == after[next])
        after.insert(behind);
  }
  return llvm::any_of(ops, [&](Operation *op) { return op != first && after.contains(op); });
}

Value copyOf(OpBuilder &builder, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  Value empty = tensor::EmptyOp::create(builder, loc, tensor::getMixedSizes(builder, loc, value), type.getElementType());
  if (empty.getType() != type)
    empty = tensor::CastOp::create(builder, loc, type, empty);
  return linalg::CopyOp::create(builder, loc, value, empty).getResult(0);
}
} // namespace

FailureOr<SmallVector<Value>> snug::bodyDestinations(Operation *op) {
  SmallVector<Value> destinations;
  if (auto loop = dyn_cast<scf::ForOp>(op)) {
    for (Value carried : loop.getRegionIterArgs())
      destinations.push_back(isTensor(carried) ? carried : Value());
    return destinations;
  }
  auto branch = cast<scf::IfOp>(op);
  for (auto [index, result] : llvm::enumerate(branch.getResults())) {
    destinations.emplace_back();
    if (!isTensor(result))
      continue;
    Value yields[] = {branch.thenYield().getOperand(index), branch.elseYield().getOperand(index)};
    for (Value value : yields)
      if (!destinations[index] && mayUpdate(value, branch) && !llvm::is_contained(ArrayRef(destinations).drop_back(), value))
        destinations[index] = value;
    if (destinations[index])
      continue;
    SizesOutside outside(op);
    auto sizes = outside.of(yields[0]);
    if (failed(sizes))
      return op->emitError() << "internal fault: the sizes of result " << index << " are not known before the branch";
    OpBuilder builder(op);
    auto type = cast<RankedTensorType>(result.getType());
    Value empty = tensor::EmptyOp::create(builder, op->getLoc(), *sizes, type.getElementType());
    destinations[index] = empty.getType() == type ? empty : tensor::CastOp::create(builder, op->getLoc(), type, empty);
  }
  return destinations;
}

void snug::tieYields(Block &block, ArrayRef<Value> destinations, OrderFacts &facts) {
  Operation *terminator = block.getTerminator();
  OpBuilder builder(terminator);
  // What stands where another value has to be is brought away first.
  for (auto [index, destination] : llvm::enumerate(destinations))
    for (Value other : destinations)
      if (Value value = terminator->getOperand(index); destination && other && other != destination && isIn(value, other))
        terminator->setOperand(index, copyOf(builder, terminator->getLoc(), value));
  for (auto [index, destination] : llvm::enumerate(destinations)) {
    if (!destination)
      continue;
    Value value = terminator->getOperand(index);
    SmallVector<Operation *> views;
    bool isThere = false;
    tensor::EmptyOp empty = madeIn(value, views, destination, isThere);
    if (!empty || empty->getBlock() != &block)
      continue;
    llvm::SetVector<Operation *> users;
    findUsers(destination, block, users);
    // The first op that writes there; the others update what it has made.
    Operation *first = nullptr;
    OpOperand *init = nullptr;
    for (OpOperand &use : empty->getUses())
      if (first = block.findAncestorOpInBlock(*use.getOwner()); first == use.getOwner())
        init = &use;
    while (first && isFree(first) && first->hasOneUse()) {
      init = &*first->use_begin();
      first = init->getOwner();
    }
    if (!first || isFree(first) || first->getBlock() != &block || follows(first, users, facts) ||
        (users.contains(first) && (!isa<DestinationStyleOpInterface>(first) || !init || !mayWriteOver(first, destination, *init))))
      continue;
    if (!produceInto(value, destination))
      continue;
    for (Operation *user : users)
      if (user != first)
        facts.before.push_back({user, first});
  }
}

void snug::copyYields(Block &block, ArrayRef<Value> destinations) {
  Operation *terminator = block.getTerminator();
  OpBuilder builder(terminator);
  for (auto [index, destination] : llvm::enumerate(destinations))
    if (Value value = terminator->getOperand(index); destination && !isIn(value, destination))
      terminator->setOperand(index,
                             linalg::CopyOp::create(builder, terminator->getLoc(), value, destination).getResult(0));
}
