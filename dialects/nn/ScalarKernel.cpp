// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.scalar_kernel, and the ops of its region.
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

SmallVector<AffineMap> ScalarKernelOp::getMaps() {
  return llvm::map_to_vector(getIndexingMaps(), [](Attribute map) { return cast<AffineMapAttr>(map).getValue(); });
}

// Whether it is one of the reductions that all targets have, of the region's arguments alone.
static bool isKnownReduction(Region &region) {
  Block &body = region.front();
  if (!llvm::hasNItems(body, 2))
    return false;
  Operation &step = body.front();
  Type type = body.getArgument(0).getType();
  bool fits = type.isF32() ? isa<arith::MaximumFOp, arith::MinimumFOp>(step)
                           : (type.isInteger(32) || type.isInteger(64)) && isa<arith::MaxSIOp, arith::MinSIOp, arith::AddIOp>(step);
  return fits && llvm::is_contained(step.getOperands(), body.getArgument(0)) && llvm::is_contained(step.getOperands(), body.getArgument(1)) &&
         body.getTerminator()->getOperand(0) == step.getResult(0);
}

static LogicalResult verifyParallel(ScalarKernelOp kernel, scf::ParallelOp loop) {
  if (loop.getNumLoops() != 1)
    return loop.emitOpError() << "has " << loop.getNumLoops() << " dims; in a scalar kernel it has one";
  if (loop->getParentOfType<scf::ParallelOp>())
    return loop.emitOpError("stands in another parallel loop of a scalar kernel");
  if (!kernel.getOverwrites().empty())
    return loop.emitOpError("stands in a scalar kernel that overwrites an input");
  for (Region &reduction : cast<scf::ReduceOp>(loop.getBody()->getTerminator()).getReductions())
    if (!isKnownReduction(reduction))
      return loop.emitOpError("reduces by what is neither the largest or smallest of f32, i32 or i64 nor the sum of i32 or i64");
  return success();
}

LogicalResult ScalarKernelOp::verify() {
  SmallVector<AffineMap> maps = getMaps();
  if (maps.size() != getNumOperands() || getInits().empty())
    return emitOpError() << "has " << getNumOperands() << " operands, " << getInits().size() << " destinations and "
                         << maps.size() << " indexing maps";
  for (auto [index, map, operand] : llvm::enumerate(maps, getOperands())) {
    if (map.getNumDims() != maps[0].getNumDims() || map.getNumSymbols() != 0 || !map.isProjectedPermutation())
      return emitOpError() << "indexing map " << index << " is no projected permutation of " << maps[0].getNumDims()
                           << " dims";
    if (int64_t rank = cast<ShapedType>(operand.getType()).getRank(); map.getNumResults() != rank)
      return emitOpError() << "indexing map " << index << " has " << map.getNumResults()
                           << " results for an operand of rank " << rank;
  }
  unsigned parallel = getNumParallelDims();
  for (BlockArgument argument : getBody().getArguments())
    if (!argument.getType().isIndex())
      return emitOpError("has a region whose arguments are no indices");
  if (parallel > maps[0].getNumDims())
    return emitOpError() << "has " << parallel << " parallel dims of " << maps[0].getNumDims();
  for (unsigned dim = 0; dim < maps[0].getNumDims(); ++dim)
    if (llvm::none_of(maps, [&](AffineMap map) { return map.isFunctionOfDim(dim); }))
      return emitOpError() << "dim " << dim << " is the extent of no operand";
  for (int64_t number : getOverwrites())
    if (number < 0 || number >= static_cast<int64_t>(getIns().size()))
      return emitOpError() << "overwrites operand " << number << ", which is no input";
  if (getBody().front().getTerminator()->getNumOperands())
    return emitOpError("has a region that yields values");
  WalkResult loops = getBody().walk([&](scf::ParallelOp loop) {
    return failed(verifyParallel(*this, loop)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(loops.wasInterrupted());
}

bool ScalarKernelOp::hasParallelLoop() {
  return getBody().walk([](scf::ParallelOp) { return WalkResult::interrupt(); }).wasInterrupted();
}

FailureOr<IndexRule> ScalarKernelOp::getIndexRule() {
  IndexRule rule;
  rule.operands = getMaps();
  rule.dims.assign(rule.operands[0].getNumDims(), IterDim{IterKind::Whole, Combiner::None});
  for (unsigned dim = 0; dim < getNumParallelDims(); ++dim)
    rule.dims[dim].kind = IterKind::Parallel;
  llvm::append_range(rule.results, ArrayRef(rule.operands).drop_front(getIns().size()));
  return rule;
}

// snug_nn.index counts from the slice's start.
void ScalarKernelOp::placeSlice(OpBuilder &builder, unsigned dim, Value offset) {
  SmallVector<IndexOp> places;
  getBody().walk([&](IndexOp index) {
    if (index.getDim() == dim)
      places.push_back(index);
  });
  OpBuilder::InsertionGuard guard(builder);
  for (IndexOp index : places) {
    builder.setInsertionPointAfter(index);
    auto sum = arith::AddIOp::create(builder, index.getLoc(), index.getResult(), offset);
    index.getResult().replaceAllUsesExcept(sum, sum);
  }
}

LogicalResult IndexOp::verify() {
  if (auto scalar = (*this)->getParentOfType<ScalarKernelOp>()) {
    if (getDim() >= scalar.getNumParallelDims())
      return emitOpError() << "asks for dim " << getDim() << " of " << scalar.getNumParallelDims() << " parallel ones";
    return success();
  }
  auto attention = dyn_cast<AttentionOp>((*this)->getParentOp());
  if (!attention)
    return emitOpError("stands in no kernel that has places");
  unsigned dims = attention.getNumBatchDims() + 2;
  if (getDim() >= dims)
    return emitOpError() << "asks for dim " << getDim() << ", a score has " << dims;
  return success();
}

// Whether there is such an element, and it is taken as this type.
static LogicalResult verifyElement(Operation *op, int64_t number, size_t indices, Type value) {
  auto scalar = op->getParentOfType<ScalarKernelOp>();
  if (!scalar || number >= scalar->getNumOperands())
    return op->emitOpError() << "names operand " << number << " of no scalar kernel that has it";
  auto type = cast<ShapedType>(scalar->getOperand(number).getType());
  Type element = type.getElementType();
  if (auto floatType = dyn_cast<FloatType>(element))
    element = computeType(floatType);
  if (static_cast<int64_t>(indices) != type.getRank() || value != element)
    return op->emitOpError() << "takes an element of " << type << " by " << indices << " indices as " << value;
  return success();
}

LogicalResult LoadOp::verify() { return verifyElement(*this, getNumber(), getIndices().size(), getResult().getType()); }

LogicalResult StoreOp::verify() {
  auto scalar = (*this)->getParentOfType<ScalarKernelOp>();
  if (scalar && getNumber() < scalar.getIns().size())
    return emitOpError() << "writes operand " << getNumber() << ", which is no destination";
  return verifyElement(*this, getNumber(), getIndices().size(), getValue().getType());
}

LogicalResult ExtentOp::verify() {
  auto scalar = (*this)->getParentOfType<ScalarKernelOp>();
  if (!scalar || getNumber() >= scalar->getNumOperands() ||
      static_cast<int64_t>(getDim()) >= cast<ShapedType>(scalar->getOperand(getNumber()).getType()).getRank())
    return emitOpError() << "asks for dim " << getDim() << " of operand " << getNumber()
                         << ", which the enclosing kernel lacks";
  return success();
}
