// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/memory/RowChain.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace snug;

static constexpr size_t kMostMembers = 16;

bool snug::isHeavy(Operation *op) { return isa<nn::ContractOp, nn::AttentionOp>(op); }

static FailureOr<IndexRule> ruleOf(Operation *op) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  return rules && isa<DestinationStyleOpInterface>(op) ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
}

static bool isCollective(Operation *op) { return isa<mesh::CollectiveOpInterface>(op); }

namespace {
// What an op looks at, or changes.
struct Access {
  Value root;
  bool isWrite;
};
} // namespace

// The buffer that a memref is a view of.
static Value rootOf(Value value) {
  while (auto view = value.getDefiningOp<ViewLikeOpInterface>())
    value = view.getViewSource();
  return value;
}

// Whether it is known that no other buffer shares memory with it.
static bool isDistinct(Value root) {
  if (auto argument = dyn_cast<BlockArgument>(root))
    return isa<FunctionOpInterface>(argument.getOwner()->getParentOp());
  return isa<memref::AllocOp, nn::WeightOp>(root.getDefiningOp());
}

// Of some dims, the one that is not 1; nullopt where that is not sure.
static std::optional<unsigned> onlyDim(ArrayRef<int64_t> dims, MemRefType type) {
  std::optional<unsigned> found;
  for (int64_t dim : dims) {
    if (type.getDimSize(dim) == 1)
      continue;
    if (found)
      return std::nullopt;
    found = dim;
  }
  return found;
}

std::optional<Place> snug::placeOf(Value value, unsigned dim) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto expand = dyn_cast<memref::ExpandShapeOp>(op)) {
      for (auto [from, dims] : llvm::enumerate(expand.getReassociationIndices()))
        if (llvm::is_contained(dims, static_cast<int64_t>(dim))) {
          if (onlyDim(dims, expand.getResultType()) != dim)
            return std::nullopt;
          dim = from;
          break;
        }
    } else if (auto collapse = dyn_cast<memref::CollapseShapeOp>(op)) {
      std::optional<unsigned> from = onlyDim(collapse.getReassociationIndices()[dim], collapse.getSrcType());
      if (!from)
        return std::nullopt;
      dim = *from;
    } else if (auto slice = dyn_cast<memref::SubViewOp>(op)) {
      if (slice.getType().getRank() != slice.getSourceType().getRank() ||
          !isConstantIntValue(slice.getMixedOffsets()[dim], 0) || !isConstantIntValue(slice.getMixedStrides()[dim], 1))
        return std::nullopt;
    } else if (!isa<memref::CastOp>(op)) {
      break;
    }
    value = op->getOperand(0);
  }
  Operation *op = value.getDefiningOp(); // a view of the arena is a buffer of the plan
  return isa_and_nonnull<ViewLikeOpInterface>(op) && !isa<memref::ViewOp>(op) ? std::nullopt
                                                                              : std::optional(Place{value, dim});
}

// Whether the memref is all of its buffer.
static bool isWhole(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<memref::ExpandShapeOp, memref::CollapseShapeOp, memref::CastOp>(op))
      return !isa<ViewLikeOpInterface>(op);
    value = op->getOperand(0);
  }
  return true;
}

static bool isDestination(OpOperand &operand) {
  return cast<DestinationStyleOpInterface>(operand.getOwner()).isDpsInit(&operand);
}

static SmallVector<Access> accessesOf(Operation *op) {
  SmallVector<Access> accesses;
  op->walk([&](Operation *inner) {
    if (isa<ViewLikeOpInterface, memref::DimOp, memref::DeallocOp, memref::AllocOp>(inner))
      return;
    auto kernel = dyn_cast<DestinationStyleOpInterface>(inner);
    for (OpOperand &operand : inner->getOpOperands())
      if (isa<BaseMemRefType>(operand.get().getType()))
        accesses.push_back({rootOf(operand.get()), !kernel || kernel.isDpsInit(&operand)});
  });
  return accesses;
}

std::optional<unsigned> snug::rowsIn(const RowChain::Member &member, unsigned operand) {
  AffineMap map = ruleOf(member.op)->operands[operand];
  for (unsigned i = 0; map && i < map.getNumResults(); ++i)
    if (auto bare = dyn_cast<AffineDimExpr>(map.getResult(i)); bare && bare.getPosition() == member.dim)
      return i;
  return std::nullopt;
}

// Whether each operand either has these rows as one dim, or none of them.
static bool hasPlainRows(const RowChain::Member &member) {
  FailureOr<IndexRule> rule = ruleOf(member.op);
  if (failed(rule) || rule->operands.size() != member.op->getNumOperands() ||
      rule->dims[member.dim].kind != IterKind::Parallel)
    return false;
  for (AffineMap map : rule->operands) {
    unsigned uses = 0, bare = 0;
    for (unsigned i = 0; map && i < map.getNumResults(); ++i) {
      uses += map.getResult(i).isFunctionOfDim(member.dim);
      bare += map.getResult(i) == getAffineDimExpr(member.dim, map.getContext());
    }
    if (uses != bare || bare > 1)
      return false;
  }
  auto kernel = cast<DestinationStyleOpInterface>(member.op);
  return llvm::all_of(kernel.getDpsInitsMutable(),
                      [&](OpOperand &init) { return rowsIn(member, init.getOperandNumber()).has_value(); });
}

// The member that an op is where an operand of it has its rows in this dim.
static std::optional<RowChain::Member> memberOf(Operation *op, unsigned operand, unsigned operandDim) {
  FailureOr<IndexRule> rule = ruleOf(op);
  if (failed(rule) || operand >= rule->operands.size())
    return std::nullopt;
  AffineMap map = rule->operands[operand];
  if (!map || operandDim >= map.getNumResults())
    return std::nullopt;
  auto bare = dyn_cast<AffineDimExpr>(map.getResult(operandDim));
  if (!bare)
    return std::nullopt;
  RowChain::Member member{op, bare.getPosition()};
  return hasPlainRows(member) ? std::optional(member) : std::nullopt;
}

// Whether rows of the operand lie side by side, whichever they are.
static bool isContiguousInRows(const RowChain::Member &member, OpOperand &operand) {
  std::optional<unsigned> rows = rowsIn(member, operand.getOperandNumber());
  return rows && llvm::all_of(cast<MemRefType>(operand.get().getType()).getShape().take_front(*rows),
                              [](int64_t size) { return size == 1; });
}

namespace {
class Finder {
public:
  explicit Finder(Block &block) : block(block) {
    for (Operation &op : block)
      for (const Access &access : accessesOf(&op))
        if (accessedBy[access.root].empty() || accessedBy[access.root].back() != &op)
          accessedBy[access.root].push_back(&op);
  }

  std::vector<RowChain> run() {
    std::vector<RowChain> chains;
    SmallVector<Operation *> collectives;
    for (Operation &op : block)
      if (auto together = dyn_cast<mesh::CollectiveOpInterface>(op); together && !together.getStarts())
        collectives.push_back(&op);
    for (Operation *op : llvm::reverse(collectives))
      if (!taken.contains(op))
        if (std::optional<RowChain> chain = chainOf(op)) {
          for (const RowChain::Member &member : chain->members)
            taken.insert(member.op);
          chains.push_back(std::move(*chain));
        }
    return chains;
  }

private:
  using Members = std::vector<RowChain::Member>;

  // With a heavy kernel before it, or else behind it.
  std::optional<RowChain> chainOf(Operation *collective) {
    FailureOr<IndexRule> rule = ruleOf(collective);
    if (failed(rule))
      return std::nullopt;
    auto parallel = llvm::find_if(rule->dims, [](const IterDim &dim) { return dim.kind == IterKind::Parallel; });
    RowChain::Member member{collective, static_cast<unsigned>(parallel - rule->dims.begin())};
    if (parallel == rule->dims.end() || !hasPlainRows(member))
      return std::nullopt;
    for (bool isBehind : {false, true}) {
      RowChain chain;
      chain.members = {member};
      if (!isBehind && (!growBack(chain.members) || !finish(chain.members)))
        continue;
      if (isBehind && !growForward(chain.members))
        continue;
      if (check(chain))
        return chain;
    }
    return std::nullopt;
  }

  unsigned numCollectives(const Members &members) const {
    return llvm::count_if(members, [](const RowChain::Member &member) { return isCollective(member.op); });
  }

  bool mayGrow(const Members &members) const {
    return members.size() < kMostMembers && numCollectives(members) <= kMostCollectives;
  }

  // Puts in front what makes the rows, up to a heavy kernel.
  bool growBack(Members &members) {
    RowChain::Member first = members.front();
    if (isHeavy(first.op))
      return true;
    if (!mayGrow(members))
      return false;
    for (OpOperand &operand : first.op->getOpOperands()) {
      std::optional<unsigned> rows = rowsIn(first, operand.getOperandNumber());
      std::optional<Place> place = rows && !isDestination(operand) ? placeOf(operand.get(), *rows) : std::nullopt;
      Operation *maker = place ? before(first.op, place->root) : nullptr;
      std::optional<RowChain::Member> member = maker ? writerOf(maker, *place) : std::nullopt;
      if (!member)
        continue;
      members.insert(members.begin(), *member);
      if (growBack(members))
        return true;
      members.erase(members.begin());
    }
    return false;
  }

  // Appends what reads the rows, up to a heavy kernel.
  bool growForward(Members &members) {
    while (mayGrow(members)) {
      if (isHeavy(members.back().op))
        return true;
      if (!append(members))
        return false;
    }
    return false;
  }

  // The pieces of a gathered tensor do not lie side by side: who brings them into order belongs to the chain.
  bool finish(Members &members) {
    while (isCollective(members.back().op) && !isContiguousInRows(members.back(), initOf(members.back().op)))
      if (!mayGrow(members) || !append(members))
        return false;
    return true;
  }

  bool append(Members &members) {
    OpOperand &init = initOf(members.back().op);
    std::optional<Place> place = placeOf(init.get(), *rowsIn(members.back(), init.getOperandNumber()));
    Operation *reader = place ? after(members.back().op, place->root) : nullptr;
    if (!reader || !isa<DestinationStyleOpInterface>(reader) || taken.contains(reader))
      return false;
    for (OpOperand &operand : reader->getOpOperands())
      if (auto type = dyn_cast<MemRefType>(operand.get().getType()))
        for (unsigned dim = 0; dim < type.getRank(); ++dim)
          if (placeOf(operand.get(), dim) == place && type.getDimSize(dim) != 1)
            if (std::optional<RowChain::Member> member = memberOf(reader, operand.getOperandNumber(), dim)) {
              members.push_back(*member);
              return true;
            }
    return false;
  }

  static OpOperand &initOf(Operation *op) { return cast<DestinationStyleOpInterface>(op).getDpsInitsMutable()[0]; }

  Operation *before(Operation *op, Value root) const {
    Operation *found = nullptr;
    for (Operation *other : accessedBy.lookup(root))
      if (other->isBeforeInBlock(op))
        found = other;
    return found;
  }
  Operation *after(Operation *op, Value root) const {
    for (Operation *other : accessedBy.lookup(root))
      if (op->isBeforeInBlock(other))
        return other;
    return nullptr;
  }

  // The op as a member, if it writes all of the buffer, and rows along this dim of it.
  std::optional<RowChain::Member> writerOf(Operation *op, const Place &place) const {
    auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
    if (!kernel || kernel.getNumDpsInits() != 1 || taken.contains(op))
      return std::nullopt;
    OpOperand &init = initOf(op);
    auto type = dyn_cast<MemRefType>(init.get().getType());
    if (!type || !isWhole(init.get()))
      return std::nullopt;
    for (unsigned dim = 0; dim < type.getRank(); ++dim)
      if (type.getDimSize(dim) != 1 && placeOf(init.get(), dim) == place)
        return memberOf(op, init.getOperandNumber(), dim);
    return std::nullopt;
  }

  // Whether all can be done piece by piece, at the place of the last one.
  bool check(RowChain &chain) {
    if (numCollectives(chain.members) > kMostCollectives)
      return false;
    llvm::SmallDenseSet<Operation *> inChain;
    llvm::MapVector<Value, Place> written;
    for (const RowChain::Member &member : chain.members) {
      inChain.insert(member.op);
      for (OpOperand &init : cast<DestinationStyleOpInterface>(member.op).getDpsInitsMutable()) {
        std::optional<Place> place = placeOf(init.get(), *rowsIn(member, init.getOperandNumber()));
        if (!place || !isDistinct(place->root))
          return false;
        written.insert({place->root, *place});
      }
    }
    llvm::SmallDenseSet<Value> touched;
    for (const RowChain::Member &member : chain.members)
      for (OpOperand &operand : member.op->getOpOperands()) {
        if (!isa<MemRefType>(operand.get().getType()))
          continue;
        Value root = rootOf(operand.get());
        touched.insert(root);
        if (!isDistinct(root))
          return false;
        auto found = written.find(root);
        if (found == written.end())
          continue;
        // What is written is looked at in the same rows only.
        std::optional<unsigned> rows = rowsIn(member, operand.getOperandNumber());
        if (!rows || placeOf(operand.get(), *rows) != found->second)
          return false;
      }
    return findApart(chain, inChain, written) && staysApart(chain, inChain, written, touched);
  }

  // Which buffers pieces have of their own; false where a collective could not have its pieces side by side.
  static bool findApart(RowChain &chain, const llvm::SmallDenseSet<Operation *> &inChain,
                        const llvm::MapVector<Value, Place> &written) {
    for (auto &[root, place] : written)
      if (auto alloc = root.getDefiningOp<memref::AllocOp>(); alloc && isKnownTo(alloc, inChain))
        chain.apart.push_back(alloc);
    for (const RowChain::Member &member : chain.members)
      for (OpOperand &operand : member.op->getOpOperands())
        if (isCollective(member.op) && !isContiguousInRows(member, operand) &&
            !llvm::is_contained(chain.apart, rootOf(operand.get()).getDefiningOp<memref::AllocOp>()))
          return false;
    return true;
  }

  // Whether nobody else reads or writes the buffer, and all do so through views that keep its elements in order.
  static bool isKnownTo(memref::AllocOp alloc, const llvm::SmallDenseSet<Operation *> &inChain) {
    SmallVector<Operation *> users(alloc->getUsers());
    while (!users.empty()) {
      Operation *user = users.pop_back_val();
      if (isa<memref::ExpandShapeOp, memref::CollapseShapeOp>(user))
        users.append(user->user_begin(), user->user_end());
      else if (!inChain.contains(user) && !isa<memref::DimOp, memref::DeallocOp>(user))
        return false;
    }
    return true;
  }

  // Whether what stands between the members, which is done before them, minds.
  bool staysApart(const RowChain &chain, const llvm::SmallDenseSet<Operation *> &inChain,
                  const llvm::MapVector<Value, Place> &written, const llvm::SmallDenseSet<Value> &touched) const {
    for (Operation *op = chain.members.front().op; op != chain.members.back().op; op = op->getNextNode()) {
      if (inChain.contains(op))
        continue;
      for (const Access &access : accessesOf(op))
        if (!isDistinct(access.root) || written.contains(access.root) ||
            (access.isWrite && touched.contains(access.root)))
          return false;
    }
    return true;
  }

  Block &block;
  llvm::DenseMap<Value, SmallVector<Operation *>> accessedBy; // in order
  llvm::SmallDenseSet<Operation *> taken;
};
} // namespace

std::vector<RowChain> snug::findRowChains(Block &block) { return Finder(block).run(); }
