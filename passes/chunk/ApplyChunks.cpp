// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One chunk loop in the IR. The loop carries the destinations of what leaves it; destinations of what stays inside are
// made inside, slice by slice: one left outside would keep its full size (trap 2). Where a result takes the buffer of a
// dying operand, the loop carries that operand and also reads it through what it carries: a read of the value outside
// would keep the old buffer alive and force a copy (trap 3).
#include "dialects/nn/IndexRule.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "passes/chunk/ChunkProgram.h"

#include <map>
#include <set>

using namespace mlir;
using namespace snug;

namespace {
class Applier {
public:
  Applier(const ChunkProgram &program, const ChunkLoop &loop)
      : program(program), loop(loop), builder(program.ops[0]->getContext()) {}
  Operation *run();

private:
  struct Carried {
    Value init; // before the loop
    int position;
    int64_t scale;
    Value result; // of the op in the original program whose value it holds in the end
  };

  OpFoldResult times(OpFoldResult value, int64_t factor);
  void findCarried();
  Value sliceOf(Value value, DimAccess access, Location loc);
  Value inside(const ChunkUse &use, const ChunkMember &m, Operation *op, unsigned operand);
  void cloneMember(const ChunkMember &m);

  const ChunkProgram &program;
  const ChunkLoop &loop;
  OpBuilder builder;
  std::set<int> memberNodes;
  std::vector<Carried> carried;
  DenseMap<Value, unsigned> carriedInit;                            // value from outside -> carried
  DenseMap<std::pair<Operation *, unsigned>, unsigned> destination; // (op, operand) that starts in a carried tensor
  DenseMap<Value, Value> mapped;                                    // of members' results, to the slices in the body
  std::map<std::tuple<void *, int, int64_t>, Value> slices; // one value a slice, so that in place is seen as such
  Value induction;
  OpFoldResult size, extent;
  ValueRange arguments;
};
} // namespace

// The operand that a result is computed in; null for views and what makes its own tensor.
static OpOperand *destinationOf(OpResult value) {
  auto dps = dyn_cast<DestinationStyleOpInterface>(value.getOwner());
  return dps ? dps.getTiedOpOperand(value) : nullptr;
}

static bool isDestination(OpOperand &operand) {
  return llvm::any_of(operand.getOwner()->getResults(),
                      [&](OpResult value) { return destinationOf(value) == &operand; });
}

OpFoldResult Applier::times(OpFoldResult value, int64_t factor) {
  AffineExpr s0 = builder.getAffineSymbolExpr(0);
  return factor == 1 ? value : affine::makeComposedFoldedAffineApply(builder, induction.getLoc(), s0 * factor, {value});
}

// Whatever leaves the loop is computed in a destination from outside of it: walk from the result to that destination.
void Applier::findCarried() {
  const ChunkProblem &problem = program.problem;
  DenseMap<Value, const ChunkMember *> memberOf;
  for (const ChunkMember &m : loop.members)
    for (Value value : program.ops[m.node]->getResults())
      memberOf[value] = &m;
  DenseMap<Value, Value> replaced; // tensor.empty -> dying value
  for (auto [made, dying] : loop.inPlace)
    replaced[program.values[made]] = program.values[dying];
  auto isInside = [&](Operation *op) {
    return llvm::any_of(loop.members, [&](auto &m) { return program.ops[m.node] == op; });
  };

  for (const ChunkMember &m : loop.members) {
    Operation *op = program.ops[m.node];
    if (m.dim < 0 || op->getNumResults() == 0 || !destinationOf(op->getResult(0)))
      continue;
    for (auto [index, value] : llvm::enumerate(op->getResults())) {
      // The last of a chain of members that write one destination.
      bool leaves = false, continues = false;
      SmallVector<Value> aliases{value};
      for (size_t i = 0; i < aliases.size(); ++i)
        for (OpOperand &use : aliases[i].getUses()) {
          Operation *user = use.getOwner();
          bool insideUser = isInside(user);
          leaves = leaves || !insideUser;
          if (insideUser && isa<tensor::ExtractSliceOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp>(user))
            aliases.push_back(user->getResult(0));
          continues = continues || (insideUser && isDestination(use));
        }
      if (continues)
        continue;
      Operation *first = op;
      OpOperand *init = destinationOf(cast<OpResult>(value));
      while (Operation *writer = init->get().getDefiningOp()) {
        OpOperand *before = destinationOf(cast<OpResult>(init->get()));
        if (!memberOf.count(init->get()) || !before)
          break;
        first = writer;
        init = before;
      }
      Value root = init->get();
      // Where the walk ends at a member, that is a view of a tensor of the loop's own.
      bool interior = memberOf.count(root) || (root.getDefiningOp<tensor::EmptyOp>() && !leaves);
      if (interior)
        continue;
      // A destination that is not ours to write and does not leave: bufferization copies the slice.
      DimAccess access = accessOf(problem.nodes[m.node].results[index], m);
      if (Value dying = replaced.lookup(root))
        root = dying;
      destination[{first, init->getOperandNumber()}] = carried.size();
      if (!root.getDefiningOp<tensor::EmptyOp>())
        carriedInit[root] = carried.size();
      carried.push_back({root, access.position, access.scale, value});
    }
  }
}

Value Applier::sliceOf(Value value, DimAccess access, Location loc) {
  Value &slice = slices[{value.getAsOpaquePointer(), access.position, access.scale}];
  if (slice)
    return slice;
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  SmallVector<OpFoldResult> offsets(rank, builder.getIndexAttr(0)), strides(rank, builder.getIndexAttr(1));
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, loc, value);
  offsets[access.position] = times(induction, access.scale);
  sizes[access.position] = times(size, access.scale);
  return slice = tensor::ExtractSliceOp::create(builder, loc, value, offsets, sizes, strides);
}

Value Applier::inside(const ChunkUse &use, const ChunkMember &m, Operation *op, unsigned operand) {
  Value value = program.values[use.value];
  if (Value slice = mapped.lookup(value))
    return slice;
  DimAccess access = accessOf(use, m);
  if (auto found = destination.find({op, operand}); found != destination.end())
    return sliceOf(arguments[found->second], access, op->getLoc());
  auto empty = value.getDefiningOp<tensor::EmptyOp>();
  if (access.position < 0 && !(empty && m.dim < 0))
    return value;
  if (empty) {
    SmallVector<OpFoldResult> sizes = empty.getMixedSizes();
    if (access.position >= 0)
      sizes[access.position] = times(size, access.scale);
    return tensor::EmptyOp::create(builder, empty.getLoc(), sizes, empty.getType().getElementType());
  }
  if (auto found = carriedInit.find(value); found != carriedInit.end())
    value = arguments[found->second];
  return sliceOf(value, access, op->getLoc());
}

void Applier::cloneMember(const ChunkMember &m) {
  Operation *op = program.ops[m.node];
  const ChunkNode &node = program.problem.nodes[m.node];
  SmallVector<Value> operands;
  for (auto [index, operand] : llvm::enumerate(op->getOperands()))
    operands.push_back(inside(node.uses[index], m, op, index));
  Location loc = op->getLoc();
  if (m.dim < 0) {
    IRMapping mapping;
    mapping.map(op->getOperands(), operands);
    Operation *copy = builder.clone(*op, mapping);
    for (auto [before, after] : llvm::zip_equal(op->getResults(), copy->getResults()))
      mapped[before] = after;
    return;
  }
  DimAccess result = accessOf(node.results[0], m);
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    mapped[op->getResult(0)] =
        tensor::CollapseShapeOp::create(builder, loc, operands[0], collapse.getReassociationIndices());
    return;
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    SmallVector<OpFoldResult> shape = expand.getMixedOutputShape();
    shape[result.position] = times(size, result.scale);
    SmallVector<int64_t> staticShape;
    for (OpFoldResult extent : shape)
      staticShape.push_back(getConstantIntValue(extent).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(staticShape, expand.getResultType().getElementType());
    mapped[op->getResult(0)] =
        tensor::ExpandShapeOp::create(builder, loc, type, operands[0], expand.getReassociationIndices(), shape);
    return;
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    SmallVector<OpFoldResult> sizes = slice.getMixedSizes();
    sizes[accessOf(node.uses[0], m).position] = times(size, result.scale);
    SmallVector<int64_t> shape;
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [dim, extent] : llvm::enumerate(sizes))
      if (!dropped.test(dim))
        shape.push_back(getConstantIntValue(extent).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(shape, slice.getType().getElementType());
    mapped[op->getResult(0)] = tensor::ExtractSliceOp::create(builder, loc, type, operands[0], slice.getMixedOffsets(),
                                                              sizes, slice.getMixedStrides());
    return;
  }
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op)) {
    SmallVector<OpFoldResult> sizes = insert.getMixedSizes();
    sizes[result.position] = times(size, result.scale);
    mapped[op->getResult(0)] = tensor::InsertSliceOp::create(builder, loc, operands[0], operands[1],
                                                             insert.getMixedOffsets(), sizes, insert.getMixedStrides());
    return;
  }
  auto dps = cast<DestinationStyleOpInterface>(op);
  SmallVector<Type> types;
  for (OpResult value : op->getResults())
    types.push_back(operands[dps.getTiedOpOperand(value)->getOperandNumber()].getType());
  Operation *copy = mlir::clone(builder, op, types, operands);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(copy);
  cast<IndexRuleOpInterface>(copy).placeSlice(builder, m.dim,
                                              getValueOrCreateConstantIndexOp(builder, loc, times(induction, m.scale)),
                                              getValueOrCreateConstantIndexOp(builder, loc, times(extent, m.scale)));
  for (auto [before, after] : llvm::zip_equal(op->getResults(), copy->getResults()))
    mapped[before] = after;
}

Operation *Applier::run() {
  findCarried();
  for (const ChunkMember &m : loop.members)
    memberNodes.insert(m.node);
  Operation *anchor = program.ops[loop.last];
  Location loc = program.ops[loop.members.front().node]->getLoc();
  builder.setInsertionPointAfter(anchor);
  SmallVector<Value> inits;
  for (const Carried &c : carried)
    inits.push_back(c.init);
  extent = tensor::getMixedSize(builder, loc, carried[0].init, carried[0].position);
  if (carried[0].scale != 1) {
    AffineExpr s0 = builder.getAffineSymbolExpr(0);
    extent = affine::makeComposedFoldedAffineApply(builder, loc, s0.floorDiv(carried[0].scale), {extent});
  }
  Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
  Value step = arith::ConstantIndexOp::create(builder, loc, loop.size);
  Value upper = getValueOrCreateConstantIndexOp(builder, loc, extent);
  auto forOp = scf::ForOp::create(builder, loc, zero, upper, step, inits);
  builder.setInsertionPointToStart(forOp.getBody());
  induction = forOp.getInductionVar();
  arguments = forOp.getRegionIterArgs();
  std::optional<int64_t> constant = getConstantIntValue(extent);
  if (constant && *constant % loop.size == 0) {
    size = builder.getIndexAttr(loop.size);
  } else {
    AffineExpr d0 = builder.getAffineDimExpr(0), s0 = builder.getAffineSymbolExpr(0);
    AffineMap map = AffineMap::get(1, 1, {builder.getAffineConstantExpr(loop.size), s0 - d0}, builder.getContext());
    size = affine::AffineMinOp::create(builder, loc, map, ValueRange{induction, upper}).getResult();
  }
  for (const ChunkMember &m : loop.members)
    cloneMember(m);
  SmallVector<Value> yields;
  for (auto [index, c] : llvm::enumerate(carried)) {
    Value slice = mapped.lookup(c.result);
    Location at = c.result.getLoc();
    int64_t rank = cast<RankedTensorType>(c.init.getType()).getRank();
    SmallVector<OpFoldResult> offsets(rank, builder.getIndexAttr(0)), strides(rank, builder.getIndexAttr(1));
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, at, arguments[index]);
    offsets[c.position] = times(induction, c.scale);
    sizes[c.position] = times(size, c.scale);
    // By the very values of the slice that was taken: only so is it seen that it goes back to where it was.
    if (auto taken = slices.find({arguments[index].getAsOpaquePointer(), c.position, c.scale}); taken != slices.end()) {
      auto slice = taken->second.getDefiningOp<tensor::ExtractSliceOp>();
      offsets = slice.getMixedOffsets();
      sizes = slice.getMixedSizes();
    }
    yields.push_back(tensor::InsertSliceOp::create(builder, at, slice, arguments[index], offsets, sizes, strides));
  }
  scf::YieldOp::create(builder, loc, yields);

  // What needs the loop's results follows it; so do views of them.
  Operation *last = forOp;
  auto moveBehind = [&](Operation *op) {
    op->moveAfter(last);
    last = op;
  };
  std::set<int> behind(loop.after.begin(), loop.after.end());
  for (int node = loop.first; node <= loop.last; ++node)
    if (behind.count(node) || (memberNodes.count(node) && program.problem.nodes[node].isView))
      moveBehind(program.ops[node]);
  for (auto [index, c] : llvm::enumerate(carried))
    c.result.replaceUsesWithIf(forOp.getResult(index), [&](OpOperand &use) {
      return llvm::none_of(loop.members, [&](const ChunkMember &m) {
        return program.ops[m.node] == use.getOwner() && !program.problem.nodes[m.node].isView;
      });
    });
  for (const ChunkMember &m : llvm::reverse(loop.members))
    if (program.ops[m.node]->use_empty())
      program.ops[m.node]->erase();
  return forOp;
}

Operation *snug::applyChunkLoop(const ChunkProgram &program, const ChunkLoop &loop) {
  return Applier(program, loop).run();
}
