// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One chunk loop in the IR. The loop carries the destinations of what leaves it; destinations of what stays inside are
// made inside, slice by slice: one left outside would keep its full size (trap 2). Where a result takes the buffer of a
// dying operand, the loop carries that operand and also reads it through what it carries: a read of the value outside
// would keep the old buffer alive and force a copy (trap 3). Where members need a halo, the slices of iterations side by
// side overlap, and end where the tensor does.
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
    LoopSlice slice;
    Value result; // of the op in the original program whose value it holds in the end
  };
  // Elements of one dim.
  struct Range {
    OpFoldResult offset, size;
    bool operator==(const Range &other) const { return offset == other.offset && size == other.size; }
  };

  OpFoldResult times(OpFoldResult value, int64_t factor);
  OpFoldResult evaluate(AffineExpr expr, ArrayRef<OpFoldResult> symbols);
  OpFoldResult extentOf(Value value, int position);
  OpFoldResult iterationsOf(const ChunkMember &m);
  Range rangeOf(const LoopSlice &slice, llvm::function_ref<OpFoldResult()> length);
  Range rangeOf(const ChunkMember &m);
  Range rangeOf(const ChunkUse &use, const ChunkMember &m);
  void findCarried();
  Value cut(Value value, int position, const Range &range, Location loc);
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
  DenseMap<Value, Range> made;                                      // of members' results: what they are slices of
  // One value a slice, so that in place is seen as such, and one range a kind of slice.
  std::map<std::tuple<void *, int, void *, void *>, Value> slices;
  std::map<std::tuple<int64_t, int64_t, int64_t, void *>, Range> ranges;
  std::map<std::tuple<void *, void *, int64_t, int64_t, int64_t>, Range> derived;
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
  return factor == 1 ? value : evaluate(builder.getAffineSymbolExpr(0) * factor, value);
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
      // What does not leave needs no more than a slice of its own, be it of nothing or of a tensor that is not overwritten.
      auto ownSlice = [&, made = Value(value)] {
        return root.getDefiningOp<tensor::EmptyOp>() || bufferOf(root) != bufferOf(made);
      };
      bool interior = !isFresh && (memberOf.count(root) || (!leaves && ownSlice()));
      if (interior)
        continue;
      LoopSlice slice = sliceOf(problem.nodes[m.node].results[index], m);
      if (Value dying = replaced.lookup(root))
        root = dying;
      if (isFresh) {
        SmallVector<OpFoldResult> sizes;
        for (int64_t dim = 0, rank = cast<RankedTensorType>(root.getType()).getRank(); dim < rank; ++dim)
          sizes.push_back(extentOf(root, dim));
        root = tensor::EmptyOp::create(builder, root.getLoc(), sizes, getElementTypeOrSelf(root.getType()));
      }
      destination[{first, init->getOperandNumber()}] = carried.size();
      if (!root.getDefiningOp<tensor::EmptyOp>())
        carriedInit[root] = carried.size();
      carried.push_back({root, slice, value});
    }
  }
}

OpFoldResult Applier::evaluate(AffineExpr expr, ArrayRef<OpFoldResult> symbols) {
  return affine::makeComposedFoldedAffineApply(builder, program.ops[loop.last]->getLoc(),
                                               AffineMap::get(0, symbols.size(), expr), symbols);
}

// An extent in the program before it was chunked, as a value that is there outside of the loop.
OpFoldResult Applier::extentOf(Value value, int position) {
  auto type = cast<RankedTensorType>(value.getType());
  if (!type.isDynamicDim(position))
    return builder.getIndexAttr(type.getDimSize(position));
  Operation *op = value.getDefiningOp();
  if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes()[position];
  if (llvm::none_of(loop.members, [&](const ChunkMember &m) { return program.ops[m.node] == op; })) {
    OpBuilder::InsertionGuard guard(builder);
    if (induction)
      builder.setInsertionPoint(induction.getParentBlock()->getParentOp());
    return tensor::getMixedSize(builder, value.getLoc(), value, position);
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
    return expand.getMixedOutputShape()[position];
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    int64_t inner = 1; // its rule merges one dynamic dim with static ones
    OpFoldResult outer = builder.getIndexAttr(1);
    for (int64_t dim : collapse.getReassociationIndices()[position])
      if (collapse.getSrcType().isDynamicDim(dim))
        outer = extentOf(collapse.getSrc(), dim);
      else
        inner *= collapse.getSrcType().getDimSize(dim);
    return times(outer, inner);
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [dim, size] : llvm::enumerate(slice.getMixedSizes()))
      if (!dropped.test(dim) && position-- == 0)
        return size;
  }
  return extentOf(destinationOf(cast<OpResult>(value))->get(), position);
}

// What one iteration takes of `length` elements. The size is said in a way from which the most there are of it follows.
Applier::Range Applier::rangeOf(const LoopSlice &slice, llvm::function_ref<OpFoldResult()> length) {
  Location loc = induction.getLoc();
  OpFoldResult end = slice.hasHalo() ? length() : OpFoldResult();
  Range &range = ranges[{slice.scale, slice.before, slice.after, end.getOpaqueValue()}];
  if (range.size)
    return range;
  if (!slice.hasHalo())
    return range = {times(induction, slice.scale), times(size, slice.scale)};
  AffineExpr first = builder.getAffineSymbolExpr(0) * slice.scale - slice.before;
  AffineExpr last = (builder.getAffineSymbolExpr(0) + builder.getAffineSymbolExpr(1)) * slice.scale + slice.after;
  AffineExpr all = builder.getAffineSymbolExpr(2), zero = builder.getAffineConstantExpr(0);
  std::optional<int64_t> steps = getConstantIntValue(extent), constant = getConstantIntValue(end);
  bool endsEarly = !steps || !constant || *steps * slice.scale + slice.after > *constant, beginsLate = slice.before > 0;
  SmallVector<AffineExpr> sizes{builder.getAffineSymbolExpr(1) * slice.scale + (slice.before + slice.after)};
  if (endsEarly)
    sizes.push_back(all - first);
  if (beginsLate)
    sizes.push_back(last);
  if (endsEarly && beginsLate)
    sizes.push_back(all);
  for (AffineExpr &expr : sizes)
    expr = simplifyAffineExpr(expr, 0, 3);
  auto context = builder.getContext();
  SmallVector<OpFoldResult> symbols{induction, size, end};
  range.size = affine::makeComposedFoldedAffineMin(builder, loc, AffineMap::get(0, 3, sizes, context), symbols);
  range.offset = beginsLate ? affine::makeComposedFoldedAffineMax(
                                  builder, loc, AffineMap::get(0, 3, {first, zero}, context), symbols)
                            : evaluate(first, symbols);
  return range;
}

// Iterations of the whole op along the member's dim.
OpFoldResult Applier::iterationsOf(const ChunkMember &m) {
  const ChunkNode &node = program.problem.nodes[m.node];
  for (const auto *uses : {&node.results, &node.uses})
    for (const ChunkUse &use : *uses)
      if (!use.access.empty())
        if (const DimAccess &access = use.access[m.dim];
            access.position >= 0 && access.scale == 1 && access.window == 1 && access.offset == 0)
          return extentOf(program.values[use.value], access.position);
  llvm_unreachable("a dim that is cut stands bare somewhere");
}

Applier::Range Applier::rangeOf(const ChunkMember &m) {
  return rangeOf({-1, m.scale, m.before, m.after}, [&] { return iterationsOf(m); });
}

// What the member's iterations take of an operand or result.
Applier::Range Applier::rangeOf(const ChunkUse &use, const ChunkMember &m) {
  if (sliceOf(use, m).position < 0)
    return {};
  const DimAccess &access = use.access[m.dim];
  Operation *op = program.ops[m.node];
  if (isa<tensor::InsertSliceOp>(op) && &use == &program.problem.nodes[m.node].uses[0]) // less than the whole has
    return rangeOf(sliceOf(use, m), [&] { return extentOf(program.values[use.value], access.position); });
  if (LoopSlice slice = sliceOf(use, m); m.before == 0 && m.after == 0 && !slice.hasHalo())
    return rangeOf(slice, [] { return OpFoldResult(); });
  Range range = rangeOf(m);
  if (access.scale == 1 && access.window == 1 && access.offset == 0)
    return range;
  Range &taken = derived[{range.offset.getOpaqueValue(), range.size.getOpaqueValue(), access.scale, access.window,
                          access.offset}];
  AffineExpr s0 = builder.getAffineSymbolExpr(0);
  if (!taken.size)
    taken = {evaluate(s0 * access.scale + access.offset, range.offset),
             evaluate(s0 * access.scale + (access.window - access.scale), range.size)};
  return taken;
}

Value Applier::cut(Value value, int position, const Range &range, Location loc) {
  if (position < 0)
    return value;
  Value &slice = slices[{value.getAsOpaquePointer(), position, range.offset.getOpaqueValue(),
                         range.size.getOpaqueValue()}];
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
    return cut(arguments[found->second], position, rangeOf(use, m), op->getLoc());
  if (Value slice = mapped.lookup(value)) {
    if (position < 0)
      return slice;
    auto have = made.find(value);
    Range need = rangeOf(use, m);
    if (have == made.end()) // it is there as a whole
      return cut(slice, position, need, op->getLoc());
    if (need == have->second)
      return slice;
    AffineExpr difference = builder.getAffineSymbolExpr(0) - builder.getAffineSymbolExpr(1);
    return cut(slice, position, {evaluate(difference, {need.offset, have->second.offset}), need.size}, op->getLoc());
  }
  auto empty = value.getDefiningOp<tensor::EmptyOp>();
  if (position < 0 && !(empty && m.dim < 0))
    return value;
  if (empty) {
    SmallVector<OpFoldResult> sizes = empty.getMixedSizes();
    if (position >= 0)
      sizes[position] = rangeOf(use, m).size;
    return tensor::EmptyOp::create(builder, empty.getLoc(), sizes, empty.getType().getElementType());
  }
  if (auto found = carriedInit.find(value); found != carriedInit.end())
    value = arguments[found->second];
  return cut(value, position, rangeOf(use, m), op->getLoc());
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
  int position = sliceOf(node.results[0], m).position;
  Range range = rangeOf(node.results[0], m);
  for (auto [value, use] : llvm::zip_equal(op->getResults(), node.results))
    made[value] = rangeOf(use, m);
  if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
    mapped[op->getResult(0)] =
        tensor::CollapseShapeOp::create(builder, loc, operands[0], collapse.getReassociationIndices());
    return;
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    SmallVector<OpFoldResult> shape = expand.getMixedOutputShape();
    shape[position] = range.size;
    SmallVector<int64_t> staticShape;
    for (OpFoldResult extent : shape)
      staticShape.push_back(getConstantIntValue(extent).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(staticShape, expand.getResultType().getElementType());
    mapped[op->getResult(0)] =
        tensor::ExpandShapeOp::create(builder, loc, type, operands[0], expand.getReassociationIndices(), shape);
    return;
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
    SmallVector<OpFoldResult> sizes = slice.getMixedSizes(), offsets = slice.getMixedOffsets();
    int from = sliceOf(node.uses[0], m).position;
    sizes[from] = range.size;
    offsets[from] = builder.getIndexAttr(0); // the operand begins there
    SmallVector<int64_t> shape;
    llvm::SmallBitVector dropped = slice.getDroppedDims();
    for (auto [dim, extent] : llvm::enumerate(sizes))
      if (!dropped.test(dim))
        shape.push_back(getConstantIntValue(extent).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(shape, slice.getType().getElementType());
    mapped[op->getResult(0)] =
        tensor::ExtractSliceOp::create(builder, loc, type, operands[0], offsets, sizes, slice.getMixedStrides());
    return;
  }
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op)) {
    SmallVector<OpFoldResult> sizes = insert.getMixedSizes(), offsets = insert.getMixedOffsets();
    Range part = rangeOf(node.uses[0], m);
    sizes[position] = part.size;
    AffineExpr place = builder.getAffineSymbolExpr(0) - builder.getAffineSymbolExpr(1);
    offsets[position] = evaluate(place - node.uses[0].access[m.dim].offset, {part.offset, range.offset});
    mapped[op->getResult(0)] = tensor::InsertSliceOp::create(builder, loc, operands[0], operands[1], offsets, sizes,
                                                             insert.getMixedStrides());
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
                                              getValueOrCreateConstantIndexOp(builder, loc, rangeOf(m).offset));
  for (auto [before, after] : llvm::zip_equal(op->getResults(), copy->getResults()))
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
  // A member without a halo takes equal steps from start to end.
  auto steps = std::find_if(loop.members.rbegin(), loop.members.rend(), [&](const ChunkMember &m) {
    return m.dim >= 0 && !m.hasHalo() && program.problem.nodes[m.node].extents[m.dim] == loop.extent * m.scale;
  });
  extent = evaluate(builder.getAffineSymbolExpr(0).floorDiv(steps->scale), iterationsOf(*steps));
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
    if (c.slice.position < 0) { // a sum
      yields.push_back(slice);
      continue;
    }
    // By the very values of the slice that was taken: only so is it seen that it goes back to where it was.
    const Range &range = made.at(c.result);
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
