// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/KernelOps.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/nn/ScatterOp.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

#define GET_OP_CLASSES
#include "dialects/nn/NnOps.cpp.inc"

namespace {
SmallVector<AffineMap> mapsOf(ArrayAttr attr) {
  return llvm::map_to_vector(attr, [](Attribute a) { return cast<AffineMapAttr>(a).getValue(); });
}

int64_t rankOf(Value value) { return cast<ShapedType>(value.getType()).getRank(); }

// Row kernels: every dim but the last is parallel, the last one is a whole row.
IndexRule rowRule(Operation *op, int64_t rank, ValueRange rowVectors) {
  MLIRContext *context = op->getContext();
  IndexRule rule;
  rule.dims.assign(rank, IterDim{});
  rule.dims.back().kind = IterKind::Whole;
  AffineMap identity = AffineMap::getMultiDimIdentityMap(rank, context);
  AffineMap row = AffineMap::get(rank, 0, getAffineDimExpr(rank - 1, context));
  for (Value operand : op->getOperands())
    rule.operands.push_back(llvm::is_contained(rowVectors, operand) ? row : identity);
  rule.results.assign(std::max<size_t>(op->getNumResults(), 1), identity);
  return rule;
}
} // namespace

bool snug::keepsDestinations(Operation *op) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  return succeeded(rule) && rule->keepsDestinations;
}

void snug::kernelEffects(DestinationStyleOpInterface op,
                         SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<BaseMemRefType>(operand.get().getType()))
      continue;
    bool isDestination = op.isDpsInit(&operand);
    if (!isDestination || keepsDestinations(op))
      effects.emplace_back(MemoryEffects::Read::get(), &operand, SideEffects::DefaultResource::get());
    if (isDestination)
      effects.emplace_back(MemoryEffects::Write::get(), &operand, SideEffects::DefaultResource::get());
  }
}

#define SNUG_KERNEL_EFFECTS(OP)                                                                                        \
  void OP::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {                  \
    kernelEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);                                         \
  }
SNUG_KERNEL_EFFECTS(ContractOp)
SNUG_KERNEL_EFFECTS(SoftmaxOp)
SNUG_KERNEL_EFFECTS(NormOp)
SNUG_KERNEL_EFFECTS(GatherOp)
SNUG_KERNEL_EFFECTS(AttentionOp)
SNUG_KERNEL_EFFECTS(PartialReduceOp)
SNUG_KERNEL_EFFECTS(ScanOp)
SNUG_KERNEL_EFFECTS(TopKOp)
SNUG_KERNEL_EFFECTS(ScalarKernelOp)
#undef SNUG_KERNEL_EFFECTS

// --- contract -----------------------------------------------------------------------------------------------------

SmallVector<AffineMap> ContractOp::getMaps() { return mapsOf(getIndexingMaps()); }

namespace {
// Results are constants or sums of dims, each times a positive constant: what a convolution reads.
bool hasWindows(AffineMap map) {
  std::function<bool(AffineExpr)> isWindow = [&](AffineExpr expr) {
    if (auto binary = dyn_cast<AffineBinaryOpExpr>(expr)) {
      if (binary.getKind() == AffineExprKind::Add)
        return isWindow(binary.getLHS()) && isWindow(binary.getRHS());
      auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
      return binary.getKind() == AffineExprKind::Mul && factor && factor.getValue() > 0 &&
             isa<AffineDimExpr>(binary.getLHS());
    }
    auto constant = dyn_cast<AffineConstantExpr>(expr);
    return isa<AffineDimExpr>(expr) || (constant && constant.getValue() >= 0);
  };
  return llvm::all_of(map.getResults(), isWindow);
}
} // namespace

LogicalResult ContractOp::verify() {
  SmallVector<AffineMap> maps = getMaps();
  if (maps.size() != getNumOperands())
    return emitOpError() << "has " << getNumOperands() << " operands but " << maps.size() << " indexing maps";
  unsigned numDims = getIteratorTypes().size();
  for (auto [index, map, operand] : llvm::enumerate(maps, getOperands())) {
    if (map.getNumDims() != numDims || map.getNumSymbols() != 0 ||
        !(map.isProjectedPermutation(/*allowZeroInResults=*/true) || (index == 0 && hasWindows(map))))
      return emitOpError() << "indexing map " << index << " is no projected permutation of " << numDims << " dims";
    int64_t rank = rankOf(operand) - (index == 1 && getPacked() ? 1 : 0);
    if (map.getNumResults() != rank)
      return emitOpError() << "indexing map " << index << " has " << map.getNumResults()
                           << " results for an operand of rank " << rank;
  }
  int64_t reductions = 0;
  for (auto [dim, type] : llvm::enumerate(getIteratorTypes().getAsValueRange<StringAttr>())) {
    bool inInit = maps.back().isFunctionOfDim(dim);
    if (type != "parallel" && type != "reduction")
      return emitOpError() << "iterator type '" << type << "' is neither parallel nor reduction";
    if ((type == "parallel") != inInit)
      return emitOpError() << "dim " << dim << " is " << type << " but " << (inInit ? "in" : "not in")
                           << " the destination's map";
    reductions += type == "reduction";
  }
  if (reductions == 0 || (reductions > 1 && getPacked()))
    return emitOpError() << "has " << reductions << " reduction dims, wants " << (reductions ? "one" : "at least one");
  for (unsigned dim = 0; dim < numDims; ++dim) {
    auto isBare = [&](unsigned index) {
      return !(index == 1 && getPacked()) &&
             llvm::is_contained(maps[index].getResults(), getAffineDimExpr(dim, getContext()));
    };
    if (llvm::none_of(llvm::seq<unsigned>(maps.size()), isBare))
      return emitOpError() << "dim " << dim << " is the extent of no operand";
  }
  Block &block = getEpilogue().front();
  if (block.getNumArguments() != 1 + getEpilogueIns().size())
    return emitOpError() << "epilogue block has " << block.getNumArguments()
                         << " arguments, wants the sum and one an epilogue input";
  if (block.getTerminator()->getNumOperands() != 1)
    return emitOpError("epilogue yields one value");
  auto factor = dyn_cast<FloatType>(getElementTypeOrSelf(getA().getType()));
  if (factor && block.getArgument(0).getType() != computeType(factor))
    return emitOpError() << "epilogue takes a sum of type " << block.getArgument(0).getType() << ", which is made in "
                         << computeType(factor);
  return success();
}

FailureOr<IndexRule> ContractOp::getIndexRule() {
  IndexRule rule;
  for (StringRef type : getIteratorTypes().getAsValueRange<StringAttr>())
    rule.dims.push_back(type == "parallel" ? IterDim{} : IterDim{IterKind::Reduction, Combiner::Sum});
  rule.operands = getMaps();
  rule.results.assign(1, rule.operands.back());
  keepWindows(rule);
  if (!getPacked())
    return rule;
  // (panel, k, column in it): the column dim counts panels here, and the columns of one are one more dim, behind the
  // others. A last panel that is filled up keeps the columns together.
  auto panels = cast<ShapedType>(getB().getType());
  int64_t width = panels.getDimSize(2);
  AffineExpr k = rule.operands[1].getResult(0), column = rule.operands[1].getResult(1);
  auto columns = cast<ShapedType>(getInit().getType()).getDimSize(*rule.operands.back().getResultPosition(column));
  auto position = cast<AffineDimExpr>(column).getPosition();
  if (ShapedType::isDynamic(columns) || columns % width != 0) {
    rule.dims[position].kind = IterKind::Whole;
    rule.operands[1] = AffineMap();
    return rule;
  }
  AffineExpr inPanel = getAffineDimExpr(rule.dims.size(), getContext());
  rule.dims.push_back({IterKind::Whole, Combiner::None});
  for (AffineMap &map : rule.operands)
    map = map.replace(column, column * width + inPanel, rule.dims.size(), 0);
  rule.operands[1] = AffineMap::get(rule.dims.size(), 0, {column, k, inPanel}, getContext());
  rule.results.assign(1, rule.operands.back());
  return rule;
}

// --- row kernels --------------------------------------------------------------------------------------------------

static LogicalResult verifyRows(Operation *op, Value input, Value init) {
  auto from = cast<ShapedType>(input.getType()), to = cast<ShapedType>(init.getType());
  auto read = dyn_cast<FloatType>(from.getElementType()), written = dyn_cast<FloatType>(to.getElementType());
  if (from.getRank() < 1 || !read || !written || computeType(read) != computeType(written) ||
      failed(verifyCompatibleShape(from.getShape(), to.getShape())))
    return op->emitOpError() << "writes rows of " << from << " to " << to;
  return success();
}

LogicalResult SoftmaxOp::verify() { return verifyRows(*this, getInput(), getInit()); }

LogicalResult NormOp::verify() {
  for (Value vector : {getScale(), getShift()})
    if (vector && (rankOf(vector) != 1 || rankOf(getInput()) < 1 ||
                   failed(verifyCompatibleDims({cast<ShapedType>(vector.getType()).getDimSize(0),
                                                cast<ShapedType>(getInput().getType()).getShape().back()}))))
      return emitOpError() << "scales or shifts rows of " << getInput().getType() << " by " << vector.getType();
  return verifyRows(*this, getInput(), getInit());
}

FailureOr<IndexRule> SoftmaxOp::getIndexRule() { return rowRule(*this, rankOf(getInput()), {}); }

FailureOr<IndexRule> NormOp::getIndexRule() {
  SmallVector<Value> rowVectors;
  for (Value operand : {getScale(), getShift()})
    if (operand)
      rowVectors.push_back(operand);
  return rowRule(*this, rankOf(getInput()), rowVectors);
}

// --- gather -------------------------------------------------------------------------------------------------------

LogicalResult GatherOp::verify() {
  auto data = cast<ShapedType>(getData().getType()), indices = cast<ShapedType>(getIndices().getType());
  auto init = cast<ShapedType>(getInit().getType());
  int64_t axis = getAxis();
  if (axis < 0 || axis >= data.getRank())
    return emitOpError() << "gathers along dim " << axis << " of " << data;
  if (getWeights()) {
    auto weights = cast<ShapedType>(getWeights().getType());
    auto type = dyn_cast<FloatType>(weights.getElementType()), element = dyn_cast<FloatType>(data.getElementType());
    if (indices.getRank() < 1 || !type || !element || computeType(element) != computeType(type) ||
        failed(verifyCompatibleShape(weights.getShape(), indices.getShape())))
      return emitOpError() << "weighs elements of " << data << " at " << indices << " by " << weights;
  }
  SmallVector<int64_t> shape(data.getShape().take_front(axis));
  llvm::append_range(shape, indices.getShape().take_front(getNumChosenDims()));
  llvm::append_range(shape, data.getShape().drop_front(axis + 1));
  if (data.getElementType() != init.getElementType() || failed(verifyCompatibleShape(shape, init.getShape())))
    return emitOpError() << "gathers from " << data << " at " << indices << " into " << init;
  if (!indices.getElementType().isIntOrIndex())
    return emitOpError() << "takes " << indices.getElementType() << " as an index";
  return success();
}

// Dims: those of the result, that of taps where there are some, and last the gathered one, which is read anywhere.
FailureOr<IndexRule> GatherOp::getIndexRule() {
  MLIRContext *context = getContext();
  int64_t axis = getAxis(), rank = rankOf(getInit()), taps = getWeights() ? 1 : 0, numDims = rank + taps + 1;
  IndexRule rule;
  rule.dims.assign(numDims, IterDim{});
  for (int64_t dim = rank; dim < numDims; ++dim)
    rule.dims[dim].kind = IterKind::Whole;
  SmallVector<AffineExpr> data, indices, result;
  for (int64_t dim = 0; dim < rank; ++dim) {
    bool fromIndices = dim >= axis && dim < axis + getNumChosenDims();
    result.push_back(getAffineDimExpr(dim, context));
    (fromIndices ? indices : data).push_back(result.back());
  }
  data.insert(data.begin() + axis, getAffineDimExpr(numDims - 1, context));
  if (taps)
    indices.push_back(getAffineDimExpr(rank, context));
  auto add = [&](ArrayRef<AffineExpr> exprs) { rule.operands.push_back(AffineMap::get(numDims, 0, exprs, context)); };
  add(data);
  for (int64_t i = 0; i <= taps; ++i) // indices, and weights like them
    add(indices);
  add(result);
  rule.results.assign(1, rule.operands.back());
  return rule;
}

// --- attention ----------------------------------------------------------------------------------------------------

SmallVector<AffineMap> AttentionOp::getMaps() { return mapsOf(getIndexingMaps()); }

bool AttentionOp::isSupportedAccess(ArrayRef<AffineExpr> indices, unsigned numBatchDims) {
  return llvm::all_of(indices, [&](AffineExpr index) {
    if (isa<AffineDimExpr>(index))
      return true;
    for (unsigned dim = numBatchDims; dim < numBatchDims + 4; ++dim)
      if (index.isFunctionOfDim(dim))
        return false;
    auto constant = dyn_cast<AffineConstantExpr>(index);
    return !constant || constant.getValue() == 0;
  });
}

LogicalResult AttentionOp::verify() {
  SmallVector<AffineMap> maps = getMaps();
  if (maps.size() != getNumOperands())
    return emitOpError() << "has " << getNumOperands() << " operands but " << maps.size() << " indexing maps";
  unsigned numDims = maps[0].getNumDims();
  if (numDims < 4)
    return emitOpError() << "has " << numDims << " iteration dims, wants (batch..., s, t, d, e)";
  for (auto [index, map, operand] : llvm::enumerate(maps, getOperands()))
    if (map.getNumDims() != numDims || map.getNumSymbols() != 0 || !isSupportedAccess(map.getResults(), numDims - 4) ||
        static_cast<int64_t>(map.getNumResults()) != rankOf(operand))
      return emitOpError() << "indexing map " << index << " does not map (batch..., s, t, d, e) to the operand's dims";
  // Where each dim may and must stand. Extents are read there.
  struct Role {
    unsigned dim;
    StringRef name;
    SmallVector<unsigned> in;
  };
  unsigned init = getNumOperands() - 1, scoresEnd = 3 + getScoreIns().size();
  if (bool(getMax()) != bool(getTotal()))
    return emitOpError() << "has one of the two statistics of a row: they come together";
  for (unsigned operand = scoresEnd; operand < init; ++operand) {
    if (!cast<ShapedType>(getOperand(operand).getType()).getElementType().isF32())
      return emitOpError() << "makes statistics of type " << getOperand(operand).getType() << ", which are f32";
    for (unsigned dim = 0; dim <= rowDim(); ++dim)
      if (!llvm::is_contained(maps[operand].getResults(), getAffineDimExpr(dim, getContext())))
        return emitOpError() << "indexing map " << operand << " lacks dim " << dim << ", of which each has statistics of its own";
  }
  SmallVector<unsigned> rows{0};
  for (unsigned operand = scoresEnd; operand <= init; ++operand)
    rows.push_back(operand);
  for (const Role &role : {Role{rowDim(), "s", rows}, Role{keyDim(), "t", {1, 2}},
                           Role{headSizeDim(), "d", {0, 1}}, Role{valueSizeDim(), "e", {2, init}}})
    for (unsigned operand = 0; operand <= init; ++operand) {
      bool isScore = operand > 2 && operand < scoresEnd && (role.dim == rowDim() || role.dim == keyDim());
      if (!isScore && maps[operand].isFunctionOfDim(role.dim) != llvm::is_contained(role.in, operand))
        return emitOpError() << "indexing map " << operand
                             << (maps[operand].isFunctionOfDim(role.dim) ? " has" : " lacks") << " dim " << role.name;
    }
  if (getInParts() && (!getMax() || !getFewRows() || getNumBatchDims() == 0))
    return emitOpError("is in parts, and so has few_rows, stats and a batch dim");
  if (std::optional<unsigned> part = partDim())
    for (unsigned operand = 0; operand < scoresEnd; ++operand)
      if (maps[operand].isFunctionOfDim(*part))
        return emitOpError() << "indexing map " << operand << " has dim " << *part << ", which counts parts of the results";
  for (unsigned dim = 0; dim < getNumBatchDims(); ++dim)
    if (!llvm::is_contained(maps.back().getResults(), getAffineDimExpr(dim, getContext())))
      return emitOpError() << "batch dim " << dim << " is not in the destination";
  Block &block = getScore().front();
  if (block.getNumArguments() != 1 + getScoreIns().size())
    return emitOpError() << "score block has " << block.getNumArguments()
                         << " arguments, wants q k^T and one a score input";
  for (auto [argument, operand] : llvm::zip(block.getArguments().drop_front(), getScoreIns()))
    if (argument.getType() != cast<ShapedType>(operand.getType()).getElementType())
      return emitOpError() << "score block takes " << argument.getType() << " of an input of " << operand.getType();
  auto stored = dyn_cast<FloatType>(cast<ShapedType>(getInit().getType()).getElementType());
  if (!stored)
    return emitOpError() << "writes to " << getInit().getType();
  Type element = computeType(stored);
  Operation *yield = block.getTerminator();
  if (block.getArgument(0).getType() != element || yield->getNumOperands() != 1 ||
      yield->getOperand(0).getType() != element)
    return emitOpError() << "score block takes and yields one " << element;
  return success();
}

// What a batch dim is divided by: query heads that share a key head. 1 where it stands bare in all maps, nullopt where
// it is used in another way.
static std::optional<int64_t> groupOf(AttentionOp op, unsigned batchDim) {
  int64_t group = 1;
  for (AffineMap map : op.getMaps())
    for (AffineExpr index : map.getResults()) {
      if (!index.isFunctionOfDim(batchDim) || isa<AffineDimExpr>(index))
        continue;
      auto quotient = dyn_cast<AffineBinaryOpExpr>(index);
      auto divisor = quotient ? dyn_cast<AffineConstantExpr>(quotient.getRHS()) : AffineConstantExpr();
      if (!divisor || index.getKind() != AffineExprKind::FloorDiv || !isa<AffineDimExpr>(quotient.getLHS()) ||
          divisor.getValue() < 1 || (group != 1 && group != divisor.getValue()))
        return std::nullopt;
      group = divisor.getValue();
    }
  return group;
}

// Dims: those of the maps. Queries that share key heads are cut by whole groups, so that the dim of their heads counts
// groups here, and the heads of a group are one more dim, behind the others.
FailureOr<IndexRule> AttentionOp::getIndexRule() {
  IndexRule rule;
  rule.operands = getMaps();
  rule.dims.assign(rule.operands[0].getNumDims(), IterDim{});
  rule.dims[keyDim()] = {IterKind::Reduction, Combiner::OnlineSoftmax};
  rule.dims[headSizeDim()].kind = IterKind::Whole;
  rule.dims[valueSizeDim()].kind = IterKind::Whole;
  DenseMap<AffineExpr, AffineExpr> counted;
  for (unsigned dim = 0; dim < getNumBatchDims(); ++dim) {
    AffineExpr head = getAffineDimExpr(dim, getContext());
    int64_t heads = cast<ShapedType>(getInit().getType()).getDimSize(*rule.operands.back().getResultPosition(head));
    std::optional<int64_t> group = groupOf(*this, dim);
    if (!group || (*group > 1 && (ShapedType::isDynamic(heads) || heads % *group != 0))) {
      rule.dims[dim].kind = IterKind::Whole;
    } else if (*group > 1) {
      counted[head.floorDiv(*group)] = head;
      counted[head] = head * *group + getAffineDimExpr(rule.dims.size(), getContext());
      rule.dims.push_back({IterKind::Whole, Combiner::None});
    }
  }
  if (std::optional<unsigned> part = partDim()) // which keys are whose is told by the extents of both
    rule.dims[*part] = rule.dims[keyDim()] = {IterKind::Whole, Combiner::None};
  for (AffineMap &map : rule.operands)
    map = map.replace(counted, rule.dims.size(), 0);
  rule.results.assign(rule.operands.end() - getDpsInitsMutable().size(), rule.operands.end());
  return rule;
}

// snug_nn.index counts from the slice's start.
void AttentionOp::placeSlice(OpBuilder &builder, unsigned dim, Value offset) {
  // The rule's dim counts groups, the op's heads.
  int64_t group = dim < getNumBatchDims() ? groupOf(*this, dim).value_or(1) : 1;
  for (IndexOp index : llvm::make_early_inc_range(getScore().front().getOps<IndexOp>())) {
    if (index.getDim() != dim)
      continue;
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(index);
    Location loc = index.getLoc();
    Value first = offset;
    if (group > 1)
      first = arith::MulIOp::create(builder, loc, offset, arith::ConstantIndexOp::create(builder, loc, group));
    auto sum = arith::AddIOp::create(builder, loc, index.getResult(), first);
    index.getResult().replaceAllUsesExcept(sum, sum);
  }
}

// --- in place -----------------------------------------------------------------------------------------------------

bool snug::mayOverwrite(Operation *op, OpOperand &operand, OpOperand &init) {
  if (operand.get().getType() != init.get().getType() || &operand == &init)
    return false;
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  return rules && rules.mayOverwrite(operand, init);
}

// Rows are read in passes and written in the last one, at the index that is read.
bool SoftmaxOp::mayOverwrite(OpOperand &operand, OpOperand &) { return operand.getOperandNumber() == 0; }
bool NormOp::mayOverwrite(OpOperand &operand, OpOperand &) { return operand.getOperandNumber() == 0; }
// An element is read before what belongs there is written, and never again.
bool ScanOp::mayOverwrite(OpOperand &operand, OpOperand &) { return operand.getOperandNumber() == 0; }

bool ScalarKernelOp::mayOverwrite(OpOperand &operand, OpOperand &init) {
  return &init == getDpsInitOperand(0) && llvm::is_contained(getOverwrites(), operand.getOperandNumber());
}

// An epilogue input is read where the finished sum is written.
bool ContractOp::mayOverwrite(OpOperand &operand, OpOperand &) {
  SmallVector<AffineMap> maps = getMaps();
  return operand.getOperandNumber() >= 2 && maps[operand.getOperandNumber()] == maps.back();
}
