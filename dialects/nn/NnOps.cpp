// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

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

// On memrefs a kernel reads its ins and writes its destination; on tensors it has no effect.
void kernelEffects(DestinationStyleOpInterface op,
                   SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<BaseMemRefType>(operand.get().getType()))
      continue;
    MemoryEffects::Effect *effect =
        op.isDpsInit(&operand) ? static_cast<MemoryEffects::Effect *>(MemoryEffects::Write::get())
                               : static_cast<MemoryEffects::Effect *>(MemoryEffects::Read::get());
    effects.emplace_back(effect, &operand, SideEffects::DefaultResource::get());
  }
}

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

#define SNUG_KERNEL_EFFECTS(OP)                                                                                        \
  void OP::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {                 \
    kernelEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);                                        \
  }
SNUG_KERNEL_EFFECTS(ContractOp)
SNUG_KERNEL_EFFECTS(SoftmaxOp)
SNUG_KERNEL_EFFECTS(NormOp)
SNUG_KERNEL_EFFECTS(GatherOp)
SNUG_KERNEL_EFFECTS(AttentionOp)
#undef SNUG_KERNEL_EFFECTS

// --- contract -----------------------------------------------------------------------------------------------------

SmallVector<AffineMap> ContractOp::getMaps() { return mapsOf(getIndexingMaps()); }

LogicalResult ContractOp::verify() {
  SmallVector<AffineMap> maps = getMaps();
  if (maps.size() != getNumOperands())
    return emitOpError() << "has " << getNumOperands() << " operands but " << maps.size() << " indexing maps";
  unsigned numDims = getIteratorTypes().size();
  for (auto [index, map, operand] : llvm::enumerate(maps, getOperands())) {
    if (map.getNumDims() != numDims || map.getNumSymbols() != 0 || !map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return emitOpError() << "indexing map " << index << " is no projected permutation of " << numDims << " dims";
    int64_t rank = rankOf(operand) - (index == 1 && getPacked() ? 1 : 0);
    if (map.getNumResults() != rank)
      return emitOpError() << "indexing map " << index << " has " << map.getNumResults() << " results for an operand of rank " << rank;
  }
  int64_t reductions = 0;
  for (auto [dim, type] : llvm::enumerate(getIteratorTypes().getAsValueRange<StringAttr>())) {
    bool inInit = maps.back().isFunctionOfDim(dim);
    if (type != "parallel" && type != "reduction")
      return emitOpError() << "iterator type '" << type << "' is neither parallel nor reduction";
    if ((type == "parallel") != inInit)
      return emitOpError() << "dim " << dim << " is " << type << " but " << (inInit ? "in" : "not in") << " the destination's map";
    reductions += type == "reduction";
  }
  if (reductions != 1)
    return emitOpError() << "has " << reductions << " reduction dims, wants one";
  Block &block = getEpilogue().front();
  if (block.getNumArguments() != 1 + getEpilogueIns().size())
    return emitOpError() << "epilogue block has " << block.getNumArguments() << " arguments, wants the sum and one an epilogue input";
  if (block.getTerminator()->getNumOperands() != 1)
    return emitOpError("epilogue yields one value");
  return success();
}

FailureOr<IndexRule> ContractOp::getIndexRule() {
  IndexRule rule;
  for (StringRef type : getIteratorTypes().getAsValueRange<StringAttr>())
    rule.dims.push_back(type == "parallel" ? IterDim{} : IterDim{IterKind::Reduction, Combiner::Sum});
  rule.operands = getMaps();
  rule.results.assign(1, rule.operands.back());
  if (getPacked()) {
    // Panels cannot be sliced by plain offsets, so the weight is read whole and its own dims are not split.
    AffineMap b = rule.operands[1];
    for (unsigned dim = 0; dim < rule.dims.size(); ++dim)
      if (b.isFunctionOfDim(dim) && !rule.operands[0].isFunctionOfDim(dim))
        rule.dims[dim].kind = IterKind::Whole;
    rule.operands[1] = AffineMap();
  }
  return rule;
}

// --- row kernels --------------------------------------------------------------------------------------------------

FailureOr<IndexRule> SoftmaxOp::getIndexRule() { return rowRule(*this, rankOf(getInput()), {}); }

FailureOr<IndexRule> NormOp::getIndexRule() {
  SmallVector<Value> rowVectors;
  for (Value operand : {getScale(), getShift()})
    if (operand)
      rowVectors.push_back(operand);
  return rowRule(*this, rankOf(getInput()), rowVectors);
}

// --- gather -------------------------------------------------------------------------------------------------------

FailureOr<IndexRule> GatherOp::getIndexRule() {
  MLIRContext *context = getContext();
  int64_t axis = getAxis(), dataRank = rankOf(getData()), indexRank = rankOf(getIndices());
  int64_t rank = dataRank - 1 + indexRank;
  IndexRule rule;
  rule.dims.assign(rank, IterDim{});
  SmallVector<AffineExpr> data, indices;
  for (int64_t dim = 0; dim < rank; ++dim) {
    bool fromIndices = dim >= axis && dim < axis + indexRank;
    (fromIndices ? indices : data).push_back(getAffineDimExpr(dim, context));
  }
  // The gathered dim is read anywhere: with dims before or after it the data is taken whole.
  rule.operands = {AffineMap(), AffineMap::get(rank, 0, indices, context),
                   AffineMap::getMultiDimIdentityMap(rank, context)};
  for (int64_t dim = 0; dim < rank; ++dim)
    if (dim < axis || dim >= axis + indexRank)
      rule.dims[dim].kind = IterKind::Whole;
  rule.results.assign(1, rule.operands.back());
  return rule;
}

// --- attention ----------------------------------------------------------------------------------------------------

SmallVector<AffineMap> AttentionOp::getMaps() {
  SmallVector<AffineMap> maps = mapsOf(getIndexingMaps());
  if (getPast())
    maps.insert(maps.empty() ? maps.end() : maps.end() - 1, AffineMap::get(6, 0, getContext()));
  return maps;
}

LogicalResult AttentionOp::verify() {
  SmallVector<AffineMap> maps = getMaps();
  if (maps.size() != getNumOperands())
    return emitOpError() << "has " << getNumOperands() << " operands but " << maps.size() << " indexing maps";
  for (auto [index, map, operand] : llvm::enumerate(maps, getOperands()))
    if (operand != getPast() && (map.getNumDims() != 6 || !map.isProjectedPermutation(/*allowZeroInResults=*/true) ||
                                 static_cast<int64_t>(map.getNumResults()) != rankOf(operand)))
      return emitOpError() << "indexing map " << index << " does not map (b, h, s, t, d, e) to the operand's dims";
  if (getPast() && !getCausal())
    return emitOpError("has `past` but is not causal");
  return success();
}

FailureOr<IndexRule> AttentionOp::getIndexRule() {
  IndexRule rule;
  rule.dims.assign(6, IterDim{});
  rule.dims[3] = {IterKind::Reduction, Combiner::OnlineSoftmax};
  rule.dims[4] = {IterKind::Whole, Combiner::None};
  rule.dims[5] = {IterKind::Whole, Combiner::None};
  rule.operands = getMaps();
  auto headExtent = [&](Value value, AffineMap map) {
    for (auto [dim, expr] : llvm::enumerate(map.getResults()))
      if (auto d = dyn_cast<AffineDimExpr>(expr); d && d.getPosition() == 1)
        return cast<ShapedType>(value.getType()).getDimSize(dim);
    return int64_t(1);
  };
  // Grouped queries: heads of k and v are not those of q, so heads are not split.
  if (headExtent(getQ(), rule.operands[0]) != headExtent(getK(), rule.operands[1]))
    rule.dims[1].kind = IterKind::Whole;
  rule.results.assign(1, rule.operands.back());
  return rule;
}

void AttentionOp::placeSlice(OpBuilder &builder, unsigned dim, Value offset, Value extent) {
  if (!getCausal() || dim != 2)
    return;
  Location loc = getLoc();
  Value past = getPast();
  SmallVector<AffineMap> maps = getMaps();
  for (unsigned position = 0; !past && position < maps[1].getNumResults(); ++position)
    if (auto keys = dyn_cast<AffineDimExpr>(maps[1].getResult(position)); keys && keys.getPosition() == 3) {
      Value size = getValueOrCreateConstantIndexOp(builder, loc, tensor::getMixedSize(builder, loc, getK(), position));
      past = builder.createOrFold<arith::SubIOp>(loc, size, extent);
    }
  getPastMutable().assign(builder.createOrFold<arith::AddIOp>(loc, past, offset));
}

// --- in place -----------------------------------------------------------------------------------------------------

bool snug::mayOverwrite(Operation *op, OpOperand &operand, OpOperand &init) {
  if (operand.get().getType() != init.get().getType() || &operand == &init)
    return false;
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return linalgOp.getNumLoops() == linalgOp.getNumParallelLoops() &&
           linalgOp.getMatchingIndexingMap(&operand).isIdentity() &&
           linalgOp.getMatchingIndexingMap(&init).isIdentity() && !linalgOp.payloadUsesValueFromOperand(&init);
  // Rows are read in passes and written in the last one, at the index that is read.
  if (isa<SoftmaxOp, nn::NormOp>(op))
    return operand.getOperandNumber() == 0;
  // An epilogue input is read where the finished sum is written.
  if (auto contract = dyn_cast<ContractOp>(op)) {
    SmallVector<AffineMap> maps = contract.getMaps();
    return operand.getOperandNumber() >= 2 && maps[operand.getOperandNumber()] == maps.back();
  }
  return false;
}
