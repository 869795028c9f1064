// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/BufferLife.h"
#include "lib/analysis/IndexBounds.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "passes/memory/DeferWaits.h"
#include "passes/memory/OverlapPrice.h"
#include "passes/memory/Passes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <limits>
#include <map>

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_OVERLAPCOLLECTIVES
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
// The rows of a piece.
struct Rows {
  OpFoldResult begin, size; // in a buffer of all rows
  OpFoldResult alone;       // the same size, as its largest value is found
};

// Puts the pieces of a chain where its last member is, each stage of a piece as late as the stage before of the next
// piece allows: so what one piece sends is under way while the next one is computed.
class Cutter {
public:
  Cutter(const RowChain &chain, int pieces, int64_t tile)
      : chain(chain), pieces(pieces), builder(chain.members.back().op), loc(chain.members.back().op->getLoc()) {
    const RowChain::Member &first = chain.members.front();
    for (unsigned i = 0; i < first.op->getNumOperands(); ++i)
      if (std::optional<unsigned> dim = rowsIn(first, i)) {
        makeRows(memref::getMixedSize(builder, loc, first.op->getOperand(i), *dim), tile);
        break;
      }
  }

  void run() {
    SmallVector<SmallVector<RowChain::Member>> stages(1); // each ends with what it sends, but the last
    for (const RowChain::Member &member : chain.members) {
      stages.back().push_back(member);
      if (isa<mesh::CollectiveOpInterface>(member.op))
        stages.emplace_back();
    }
    int last = static_cast<int>(stages.size()) - 1;
    for (int step = 0; step < pieces + last; ++step)
      for (int stage = 0; stage <= last; ++stage) {
        int piece = step - stage;
        if (piece < 0 || piece >= pieces)
          continue;
        if (stage > 0)
          wait(stages[stage - 1].back(), piece);
        for (const RowChain::Member &member : stages[stage])
          place(member, piece);
      }
    for (const RowChain::Member &member : llvm::reverse(chain.members))
      member.op->erase();
    for (memref::AllocOp alloc : chain.apart)
      drop(alloc);
  }

private:
  // Pieces of equal size, a multiple of `tile`; the last ones may have less, or nothing.
  void makeRows(OpFoldResult all, int64_t tile) {
    auto index = [&](int64_t value) -> OpFoldResult { return builder.getIndexAttr(value); };
    if (std::optional<int64_t> count = getConstantIntValue(all)) {
      int64_t each = static_cast<int64_t>(llvm::divideCeil(*count, pieces * tile)) * tile;
      for (int64_t begin = 0; begin < *count; begin += each) {
        int64_t size = std::min(each, *count - begin);
        rows.push_back({index(begin), index(size), index(size)});
      }
      pieces = static_cast<int>(rows.size());
      return;
    }
    auto constant = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(builder, loc, value); };
    Value count = cast<Value>(all), each = arith::CeilDivSIOp::create(builder, loc, count, constant(pieces * tile));
    if (tile > 1)
      each = arith::MulIOp::create(builder, loc, each, constant(tile));
    Value begin = constant(0);
    for (int piece = 0; piece < pieces; ++piece) {
      Value end = count;
      if (piece + 1 < pieces) {
        Value most = piece == 0 ? each : arith::MulIOp::create(builder, loc, each, constant(piece + 1)).getResult();
        end = arith::MinSIOp::create(builder, loc, most, count);
      }
      if (piece == 0) {
        rows.push_back({index(0), end, end});
      } else {
        Value size = arith::SubIOp::create(builder, loc, end, begin);
        rows.push_back({begin, size, arith::MinSIOp::create(builder, loc, size, each).getResult()});
      }
      begin = end;
    }
  }

  // The rows of a piece in an operand of a member.
  Value rowsOf(const RowChain::Member &member, unsigned operand, int piece) {
    Value whole = member.op->getOperand(operand);
    std::optional<unsigned> dim = rowsIn(member, operand);
    if (!dim)
      return whole;
    Value &part = parts[{whole, {piece, *dim}}];
    if (part)
      return part;
    if (isApart(whole))
      return part = alone(whole, *dim, piece);
    SmallVector<OpFoldResult> sizes = memref::getMixedSizes(builder, loc, whole),
                              offsets(sizes.size(), builder.getIndexAttr(0)),
                              strides(sizes.size(), builder.getIndexAttr(1));
    offsets[*dim] = rows[piece].begin;
    sizes[*dim] = rows[piece].size;
    return part = memref::SubViewOp::create(builder, loc, whole, offsets, sizes, strides);
  }

  bool isApart(Value value) const {
    while (Operation *op = value.getDefiningOp()) {
      if (auto alloc = dyn_cast<memref::AllocOp>(op))
        return llvm::is_contained(chain.apart, alloc);
      if (!isa<memref::ExpandShapeOp, memref::CollapseShapeOp>(op))
        break;
      value = op->getOperand(0);
    }
    return false;
  }

  // A view of a buffer that each piece has for itself, of the piece's.
  Value alone(Value whole, unsigned dim, int piece) {
    Operation *op = whole.getDefiningOp();
    auto type = cast<MemRefType>(whole.getType());
    SmallVector<OpFoldResult> sizes = memref::getMixedSizes(builder, loc, whole);
    sizes[dim] = rows[piece].alone;
    SmallVector<int64_t> shape;
    SmallVector<Value> dynamic;
    dispatchIndexOpFoldResults(sizes, dynamic, shape);
    if (isa<memref::AllocOp>(op)) {
      Value &made = buffers[{whole, piece}];
      if (!made)
        made = memref::AllocOp::create(builder, op->getLoc(), MemRefType::get(shape, type.getElementType()), dynamic);
      return made;
    }
    // Only one dim of those that are put together, or taken apart, is not 1 where rows are in it.
    Value source = op->getOperand(0);
    auto sourceType = cast<MemRefType>(source.getType());
    unsigned from = 0;
    while (from + 1 < sourceType.getRank() && placeOf(source, from) != placeOf(whole, dim))
      ++from;
    Value part = alone(source, from, piece);
    if (auto expand = dyn_cast<memref::ExpandShapeOp>(op))
      return memref::ExpandShapeOp::create(builder, loc, shape, part, expand.getReassociationIndices(), sizes);
    return memref::CollapseShapeOp::create(builder, loc, part,
                                           cast<memref::CollapseShapeOp>(op).getReassociationIndices());
  }

  // Takes a buffer away that nobody uses any more, but for its sizes.
  static void drop(memref::AllocOp alloc) {
    SmallVector<Operation *> users{alloc};
    for (size_t next = 0; next < users.size(); ++next)
      if (!isa<memref::DimOp>(users[next]))
        users.append(users[next]->user_begin(), users[next]->user_end());
    for (Operation *user : llvm::reverse(users)) {
      if (auto dim = dyn_cast<memref::DimOp>(user)) {
        std::optional<int64_t> index = dim.getConstantIndex();
        std::optional<Place> place = index ? placeOf(dim.getSource(), *index) : std::nullopt;
        if (!place)
          continue;
        MemRefType type = alloc.getType();
        dim.replaceAllUsesWith(alloc.getDynamicSizes()[type.getDynamicDimIndex(place->dim)]);
      }
      if (user->use_empty())
        user->erase();
    }
  }

  void place(const RowChain::Member &member, int piece) {
    SmallVector<Value> operands;
    for (unsigned i = 0; i < member.op->getNumOperands(); ++i)
      operands.push_back(rowsOf(member, i, piece));
    OpSlice slice;
    slice.dim = member.dim;
    slice.iterations = {rows[piece].begin, rows[piece].size};
    (void)cloneOnDestinations(builder, member.op, slice, operands);
    if (auto together = dyn_cast<mesh::CollectiveOpInterface>(*std::prev(builder.getInsertionPoint())))
      together.setStarts(true);
  }

  void wait(const RowChain::Member &member, int piece) {
    auto together = cast<mesh::CollectiveOpInterface>(member.op);
    auto number = [&](Value value) {
      return llvm::find(member.op->getOperands(), value) - member.op->getOperands().begin();
    };
    Value send = rowsOf(member, number(together.getInput()), piece),
          receive = rowsOf(member, number(together.getInit()), piece);
    mesh::WaitOp::create(builder, member.op->getLoc(), send, receive);
  }

  const RowChain &chain;
  int pieces;
  OpBuilder builder;
  Location loc;
  SmallVector<Rows> rows;
  llvm::DenseMap<std::pair<Value, std::pair<int, unsigned>>, Value> parts;
  llvm::DenseMap<std::pair<Value, int>, Value> buffers; // that pieces have for themselves
};

// The most bytes of buffers that are live at one time.
FailureOr<int64_t> mostLive(func::FuncOp function, IndexBounds &bounds) {
  Timeline timeline(function);
  std::map<int64_t, int64_t> changes;
  WalkResult walked = function.walk([&](memref::AllocOp alloc) {
    FailureOr<BufferUses> uses = bufferUses(alloc.getResult());
    FailureOr<std::optional<LiveSpan>> live =
        failed(uses) ? FailureOr<std::optional<LiveSpan>>(failure()) : liveSpan(alloc, uses->accesses, timeline);
    if (failed(live))
      return WalkResult::interrupt();
    if (*live) {
      int64_t bytes = bounds.bytes(alloc.getType(), alloc.getDynamicSizes()).value_or(0);
      changes[(*live)->lower] += bytes;
      changes[(*live)->upper] -= bytes;
    }
    return WalkResult::advance();
  });
  if (walked.wasInterrupted())
    return failure();
  int64_t now = 0, most = 0;
  for (auto [time, change] : changes)
    most = std::max(most, now += change);
  return most;
}

struct OverlapCollectivesPass : snug::impl::OverlapCollectivesBase<OverlapCollectivesPass> {
  using OverlapCollectivesBase::OverlapCollectivesBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (pieces == 1 || !module->hasAttr(kMesh))
      return;
    bool isAllowed = links.empty() || (links.size() == 4 && links[0] > 0 && links[1] >= 0 && links[2] > 0 && links[3] >= 0);
    if (!isAllowed || pieces < 0 || pieces > kMostPieces || (pieces > 0 && !llvm::isPowerOf2_64(pieces))) {
      module.emitError() << "snug-overlap-collectives wants 0, 1, 2, 4 or 8 pieces, and of links four numbers: two bandwidths "
                            "above 0, each with its latency";
      return signalPassFailure();
    }
    FailureOr<Machine> found = findMachine(module);
    if (failed(found))
      return signalPassFailure();
    auto attribute = module->getAttrOfType<IntegerAttr>("snug.threads");
    machine = *found;
    threads = attribute ? static_cast<int>(attribute.getInt()) : 1;
    SmallVector<Attribute> said;
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isDeclaration() && failed(overlap(function, said)))
        return signalPassFailure();
    module->setAttr("snug.overlap", ArrayAttr::get(module.getContext(), said));
  }

  // All chains in their fastest pieces, where there is room for that; else one by one, in the fastest for which there
  // is.
  LogicalResult overlap(func::FuncOp function, SmallVector<Attribute> &said) {
    FailureOr<int64_t> most = mostFresh(function);
    if (failed(most))
      return failure();
    const int64_t allowed = limit < 0 ? std::numeric_limits<int64_t>::max() : std::max<int64_t>(*most, limit);
    OwningOpRef<func::FuncOp> before = function.clone();
    if (deferWaits(function)) {
      if (failed(most = mostFresh(function)))
        return failure();
      if (*most > allowed)
        restore(function, *before);
      before = function.clone();
    }
    SmallVector<Attribute> all;
    cut(function, /*isAll=*/true, 0, 0, all);
    if (failed(most = mostFresh(function)))
      return failure();
    if (*most > allowed) {
      restore(function, *before);
      all.clear();
      for (size_t refused = 0, choice = 0;;) {
        before = function.clone();
        size_t done = all.size(), choices = cut(function, /*isAll=*/false, refused, choice, all);
        if (!choices)
          break;
        if (all.size() > done && failed(most = mostFresh(function)))
          return failure();
        if (all.size() > done && *most <= allowed) {
          choice = 0;
          continue;
        }
        restore(function, *before);
        all.truncate(done);
        if (++choice < choices)
          continue;
        choice = 0;
        ++refused;
      }
    }
    said.append(all.rbegin(), all.rend());
    return success();
  }

  FailureOr<int64_t> mostFresh(func::FuncOp function) {
    IndexBounds bounds(getOperation());
    return mostLive(function, bounds);
  }

  static void restore(func::FuncOp function, func::FuncOp before) { function.getBody().takeBody(before.getBody()); }

  // Cuts all chains that are worth it, or the first one but for so many, in the pieces that are that choice. The number
  // of choices for that one; 0: there is none.
  size_t cut(func::FuncOp function, bool isAll, size_t skipped, size_t choice, SmallVector<Attribute> &said) {
    SmallVector<Block *> blocks;
    function.walk([&](Block *block) {
      if (llvm::any_of(*block, [](Operation &op) { return isa<mesh::CollectiveOpInterface>(op); }))
        blocks.push_back(block);
    });
    for (Block *block : blocks)
      for (const RowChain &chain : findRowChains(*block)) {
        OverlapPrices prices(getOperation(), machine, threads, links, static_cast<int>(pieces));
        SmallVector<OverlapTimes> choices = prices.of(chain);
        if (choices.empty() || (skipped > 0 && skipped--))
          continue;
        said.push_back(describe(chain, choices[choice]));
        Cutter(chain, choices[choice].pieces, prices.tileOf(chain)).run();
        if (!isAll)
          return choices.size();
      }
    return 0;
  }

  Machine machine;
  int threads = 1;

  static FailureOr<Machine> findMachine(ModuleOp module) {
    auto text = module->getAttrOfType<StringAttr>("snug.machine");
    if (!text)
      return builtinMachine(256);
    std::string problem;
    std::optional<Machine> machine = parseMachine(text.str(), problem);
    if (!machine)
      return module.emitError() << "the attribute snug.machine is not valid: " << problem;
    return *machine;
  }

  DictionaryAttr describe(const RowChain &chain, const OverlapTimes &times) {
    Builder b(&getContext());
    SmallVector<Attribute> kernels, collectives;
    for (const RowChain::Member &member : chain.members) {
      if (auto together = dyn_cast<mesh::CollectiveOpInterface>(member.op))
        collectives.push_back(b.getDictionaryAttr(
            {b.getNamedAttr("axes", b.getDenseI64ArrayAttr(together.getAxes())),
             b.getNamedAttr("kind", b.getStringAttr(mesh::stringifyCollectiveKind(together.getCollectiveKind())))}));
      else if (isHeavy(member.op))
        for (const std::string &node : nodeNames(member.op->getLoc()))
          kernels.push_back(b.getStringAttr(node));
    }
    auto ms = [&](StringRef name, double seconds) { return b.getNamedAttr(name, b.getF64FloatAttr(seconds * 1e3)); };
    return b.getDictionaryAttr({ms("alone_ms", times.alone_s),
                                b.getNamedAttr("collectives", b.getArrayAttr(collectives)),
                                ms("hidden_ms", times.hidden_s), b.getNamedAttr("kernels", b.getArrayAttr(kernels)),
                                ms("ms", times.time_s), b.getNamedAttr("pieces", b.getI64IntegerAttr(times.pieces))});
  }
};
} // namespace
