// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One chunk loop in the IR. The loop carries the destinations of what leaves it; destinations of what stays inside are
// made inside, slice by slice: one left outside would keep its full size (trap 2). Where a result takes the buffer of a
// dying operand, the loop carries that operand and also reads it through what it carries: a read of the value outside
// would keep the old buffer alive and force a copy (trap 3).
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StructuredOpsUtils.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "passes/chunk/SliceRanges.h"

#include <set>

using namespace mlir;
using namespace snug;

namespace {
class Applier {
public:
  Applier(const ChunkProgram &program, const ChunkLoop &loop)
      : program(program), loop(loop), builder(program.ops[0]->getContext()), ranges(program, loop, builder) {}
  Operation *run();

private:
  struct Carried {
    Value init; // before the loop
    LoopSlice slice;
    Value result; // of the op in the original program whose value it holds in the end
    bool isInPlace; // the plan has looked at who reads what of it
  };
  void findCarried();
  Value cut(Value value, int position, const SliceRange &range, Location loc);
  Value inside(const ChunkUse &use, const ChunkMember &m, Operation *op, unsigned operand);
  void cloneMember(const ChunkMember &m);
  Value carryOver(const ChunkMember &m, llvm::function_ref<Value(Value destination)> compute);

  const ChunkProgram &program;
  const ChunkLoop &loop;
  OpBuilder builder;
  SliceRanges ranges;
  std::set<int> memberNodes;
  std::vector<Carried> carried;
  DenseMap<Value, unsigned> carriedInit;                            // value from outside -> carried
  DenseMap<std::pair<Operation *, unsigned>, unsigned> destination; // (op, operand) that starts in a carried tensor
  std::map<int, unsigned> keptIn;        // member that carries -> the loop's argument
  std::map<unsigned, Value> keptForNext; // such an argument -> what is yielded for it
  DenseMap<Value, Value> mapped;                                    // of members' results, to the slices in the body
  DenseMap<Value, SliceRange> made;                                 // of members' results: what they are slices of
  std::map<std::tuple<void *, int, void *, void *>, Value> slices;  // one a slice, so that in place is seen as such
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

  auto bufferOf = [&](Value value) {
    auto found = llvm::find(program.values, value);
    return found == program.values.end() ? -1 : problem.values[found - program.values.begin()].buffer;
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
        if (!memberOf.count(init->get()) || !before || memberOf.lookup(first->getResult(0))->isFresh)
          break;
        first = writer;
        init = before;
      }
      Value root = init->get();
      // Where the walk ends at a member, that is a view of a tensor of the loop's own.
      bool isFresh = memberOf.lookup(first->getResult(0))->isFresh;
      // What does not leave needs no more than a slice of its own, be it of nothing or of a tensor that is not
      // overwritten.
      auto ownSlice = [&, made = Value(value)] {
        return root.getDefiningOp<tensor::EmptyOp>() || bufferOf(root) != bufferOf(made);
      };
      bool interior = !isFresh && (memberOf.count(root) || (!leaves && ownSlice()));
      if (interior)
        continue;
      LoopSlice slice = sliceOf(problem.nodes[m.node].results[index], m);
      Value written = cast<DestinationStyleOpInterface>(first).getTiedOpResult(init);
      bool isInPlace = bufferOf(root) >= 0 && bufferOf(root) == bufferOf(written);
      if (Value dying = replaced.lookup(root))
        root = dying;
      if (isFresh) {
        SmallVector<OpFoldResult> sizes;
        for (int64_t dim = 0, rank = cast<RankedTensorType>(root.getType()).getRank(); dim < rank; ++dim)
          sizes.push_back(ranges.extentOf(root, dim));
        root = tensor::EmptyOp::create(builder, root.getLoc(), sizes, getElementTypeOrSelf(root.getType()));
      }
      destination[{first, init->getOperandNumber()}] = carried.size();
      if (!root.getDefiningOp<tensor::EmptyOp>())
        carriedInit[root] = carried.size();
      carried.push_back({root, slice, value, isInPlace});
    }
  }
}

Value Applier::cut(Value value, int position, const SliceRange &range, Location loc) {
  if (position < 0)
    return value;
  Value &slice =
      slices[{value.getAsOpaquePointer(), position, range.offset.getOpaqueValue(), range.size.getOpaqueValue()}];
  if (slice)
    return slice;
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  SmallVector<OpFoldResult> offsets(rank, builder.getIndexAttr(0)), strides(rank, builder.getIndexAttr(1));
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, loc, value);
  offsets[position] = range.offset;
  sizes[position] = range.size;
  return slice = tensor::ExtractSliceOp::create(builder, loc, value, offsets, sizes, strides);
}

Value Applier::inside(const ChunkUse &use, const ChunkMember &m, Operation *op, unsigned operand) {
  Value value = program.values[use.value];
  int position = sliceOf(use, m).position;
  if (auto found = destination.find({op, operand}); found != destination.end())
    return cut(arguments[found->second], position, ranges.of(use, m), op->getLoc());
  if (Value slice = mapped.lookup(value)) {
    if (position < 0)
      return slice;
    auto have = made.find(value);
    SliceRange need = ranges.of(use, m);
    if (have == made.end()) // it is there as a whole
      return cut(slice, position, need, op->getLoc());
    if (need == have->second)
      return slice;
    return cut(slice, position, {ranges.difference(need.offset, have->second.offset), need.size}, op->getLoc());
  }
  auto empty = value.getDefiningOp<tensor::EmptyOp>();
  if (position < 0 && !(empty && m.dim < 0))
    return value;
  if (empty) {
    SmallVector<OpFoldResult> sizes = empty.getMixedSizes();
    if (position >= 0)
      sizes[position] = ranges.of(use, m).size;
    return tensor::EmptyOp::create(builder, empty.getLoc(), sizes, empty.getType().getElementType());
  }
  // Of what the loop carries, iterations before have written their slices; another slice is read of what was there.
  if (auto found = carriedInit.find(value); found != carriedInit.end()) {
    const Carried &c = carried[found->second];
    if (c.isInPlace || (sliceOf(use, m) == c.slice && !c.slice.hasHalo()))
      value = arguments[found->second];
  }
  return cut(value, position, ranges.of(use, m), op->getLoc());
}

// The rows of a member that are there in this iteration: those kept from the one before, and new ones behind them.
Value Applier::carryOver(const ChunkMember &m, llvm::function_ref<Value(Value)> compute) {
  auto result = cast<OpResult>(program.ops[m.node]->getResult(0));
  Location loc = result.getLoc();
  const ChunkUse &use = program.problem.nodes[m.node].results[0];
  int position = use.access[m.dim].position;
  auto type = cast<RankedTensorType>(result.getType());
  SliceRange all = ranges.of(m), fresh = ranges.of(computed(m));
  SliceRanges::Kept kept = ranges.kept(m);
  SmallVector<OpFoldResult> sizes, offsets(type.getRank(), builder.getIndexAttr(0)),
      strides(type.getRank(), builder.getIndexAttr(1));
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    sizes.push_back(ranges.extentOf(result, dim));
  auto at = [&](SmallVector<OpFoldResult> values, OpFoldResult value) {
    values[position] = value;
    return values;
  };
  Value window = tensor::EmptyOp::create(builder, loc, at(sizes, all.size), type.getElementType());
  Value argument = arguments[keptIn.at(m.node)];
  Value old = tensor::ExtractSliceOp::create(builder, loc, argument, offsets, at(sizes, kept.old), strides);
  window = tensor::InsertSliceOp::create(builder, loc, old, window, offsets, at(sizes, kept.old), strides);
  Value destination =
      tensor::ExtractSliceOp::create(builder, loc, window, at(offsets, kept.old), at(sizes, fresh.size), strides);
  window = tensor::InsertSliceOp::create(builder, loc, compute(destination), window, at(offsets, kept.old),
                                         at(sizes, fresh.size), strides);
  Value next = tensor::ExtractSliceOp::create(builder, loc, window, at(offsets, kept.next.offset),
                                              at(sizes, kept.next.size), strides);
  keptForNext[keptIn.at(m.node)] =
      tensor::InsertSliceOp::create(builder, loc, next, argument, offsets, at(sizes, kept.next.size), strides);
  return window;
}

void Applier::cloneMember(const ChunkMember &member) {
  const ChunkMember m = computed(member);
  Operation *op = program.ops[m.node];
  const ChunkNode &node = program.problem.nodes[m.node];
  if (member.carries) {
    Value result = op->getResult(0);
    mapped[result] = carryOver(member, [&](Value destination) {
      SmallVector<Value> operands;
      OpSlice slice;
      slice.dim = m.dim;
      slice.iterations = ranges.of(m);
      for (unsigned index = 0; index < op->getNumOperands(); ++index) {
        const ChunkUse &use = node.uses[index];
        operands.push_back(use.isInit ? destination : inside(use, m, op, index));
        slice.operands.push_back(ranges.of(use, m));
      }
      slice.results.push_back(ranges.of(node.results[0], m));
      return cast<IndexRuleOpInterface>(op).cloneSlice(builder, slice, operands)[0];
    });
    made[result] = ranges.of(node.results[0], member);
    return;
  }
  SmallVector<Value> operands, copies;
  for (auto [index, operand] : llvm::enumerate(op->getOperands()))
    operands.push_back(inside(node.uses[index], m, op, index));
  if (m.dim < 0) {
    IRMapping mapping;
    mapping.map(op->getOperands(), operands);
    llvm::append_range(copies, builder.clone(*op, mapping)->getResults());
  } else {
    OpSlice slice;
    slice.dim = m.dim;
    slice.iterations = ranges.of(m);
    for (size_t index = 0; index < operands.size(); ++index)
      slice.operands.push_back(ranges.of(node.uses[index], m));
    for (auto [value, use] : llvm::zip_equal(op->getResults(), node.results))
      slice.results.push_back(made[value] = ranges.of(use, m));
    copies = cast<IndexRuleOpInterface>(op).cloneSlice(builder, slice, operands);
  }
  for (auto [before, after] : llvm::zip_equal(op->getResults(), copies))
    mapped[before] = after;
}

Operation *Applier::run() {
  builder.setInsertionPointAfter(program.ops[loop.last]);
  findCarried();
  for (const ChunkMember &m : loop.members)
    memberNodes.insert(m.node);
  Location loc = program.ops[loop.members.front().node]->getLoc();
  SmallVector<Value> inits;
  for (const Carried &c : carried)
    inits.push_back(c.init);
  for (const ChunkMember &m : loop.members)
    if (m.carries) {
      Value result = program.ops[m.node]->getResult(0);
      SmallVector<OpFoldResult> sizes;
      for (int64_t dim = 0, rank = cast<RankedTensorType>(result.getType()).getRank(); dim < rank; ++dim)
        sizes.push_back(ranges.extentOf(result, dim));
      sizes[program.problem.nodes[m.node].results[0].access[m.dim].position] = builder.getIndexAttr(m.before + m.after);
      keptIn[m.node] = inits.size();
      inits.push_back(tensor::EmptyOp::create(builder, loc, sizes, getElementTypeOrSelf(result.getType())));
    }
  OpFoldResult extent = ranges.iterations(), size;
  Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
  Value step = arith::ConstantIndexOp::create(builder, loc, loop.size);
  Value upper = getValueOrCreateConstantIndexOp(builder, loc, extent);
  auto forOp = scf::ForOp::create(builder, loc, zero, upper, step, inits);
  builder.setInsertionPointToStart(forOp.getBody());
  Value induction = forOp.getInductionVar();
  arguments = forOp.getRegionIterArgs();
  std::optional<int64_t> constant = getConstantIntValue(extent);
  if (constant && *constant % loop.size == 0) {
    size = builder.getIndexAttr(loop.size);
  } else {
    AffineExpr d0 = builder.getAffineDimExpr(0), s0 = builder.getAffineSymbolExpr(0);
    AffineMap map = AffineMap::get(1, 1, {builder.getAffineConstantExpr(loop.size), s0 - d0}, builder.getContext());
    size = affine::AffineMinOp::create(builder, loc, map, ValueRange{induction, upper}).getResult();
  }
  ranges.begin(induction, size, extent);
  for (const ChunkMember &m : loop.members)
    cloneMember(m);
  SmallVector<Value> yields;
  for (auto [index, c] : llvm::enumerate(carried)) {
    Value slice = mapped.lookup(c.result);
    Location at = c.result.getLoc();
    if (c.slice.position < 0) { // a sum
      yields.push_back(slice);
      continue;
    }
    // By the very values of the slice that was taken: only so is it seen that it goes back to where it was.
    const SliceRange &range = made.at(c.result);
    int64_t rank = cast<RankedTensorType>(c.init.getType()).getRank();
    SmallVector<OpFoldResult> offsets(rank, builder.getIndexAttr(0)), strides(rank, builder.getIndexAttr(1)), sizes;
    auto taken = slices.find({arguments[index].getAsOpaquePointer(), c.slice.position, range.offset.getOpaqueValue(),
                              range.size.getOpaqueValue()});
    if (taken != slices.end()) {
      sizes = taken->second.getDefiningOp<tensor::ExtractSliceOp>().getMixedSizes();
    } else {
      sizes = tensor::getMixedSizes(builder, at, arguments[index]);
      sizes[c.slice.position] = range.size;
    }
    offsets[c.slice.position] = range.offset;
    yields.push_back(tensor::InsertSliceOp::create(builder, at, slice, arguments[index], offsets, sizes, strides));
  }
  for (auto [argument, value] : keptForNext)
    yields.push_back(value);
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
