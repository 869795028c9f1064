// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention as exporters write it: a contraction of queries and keys, elementwise ops on the scores (scale, bias,
// masks), softmax, perhaps a guard that turns NaN into 0, and a contraction with the values over the softmax dim. It
// becomes one snug_nn.attention, whose region holds all of the elementwise ops, so no tensor of rows times keys is
// left.
#include "lib/analysis/KernelRule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/fuse/Patterns.h"
#include "passes/fuse/TensorAccess.h"

using namespace mlir;
using namespace snug;

namespace {
// A sum of products over one dim, from a snug_nn.contract or from linalg.
struct Contraction {
  Operation *op;
  Value operands[2], result;
  AffineMap maps[3];
  unsigned reduction;
  Block *epilogue = nullptr; // of a snug_nn.contract

  static std::optional<Contraction> of(Operation *op);
  bool isPlain() const {
    return !epilogue || beforeConversions(epilogue->getTerminator()->getOperand(0)) == epilogue->getArgument(0);
  }
};

std::optional<Contraction> Contraction::of(Operation *op) {
  Contraction c;
  SmallVector<utils::IteratorType> iterators;
  if (auto contract = dyn_cast_or_null<nn::ContractOp>(op); contract && !contract.getPacked()) {
    SmallVector<AffineMap> maps = contract.getMaps();
    c = {op, {contract.getA(), contract.getB()}, op->getResult(0), {maps[0], maps[1], maps.back()},
         0,  &contract.getEpilogue().front()};
    for (StringRef type : contract.getIteratorTypes().getAsValueRange<StringAttr>())
      iterators.push_back(type == "parallel" ? utils::IteratorType::parallel : utils::IteratorType::reduction);
  } else if (auto linalgOp = dyn_cast_or_null<linalg::LinalgOp>(op);
             linalgOp && linalgOp->getNumResults() == 1 && linalg::isaContractionOpInterface(linalgOp)) {
    auto fill = linalgOp.getDpsInits()[0].getDefiningOp<linalg::FillOp>();
    if (!fill || !matchPattern(fill.getInputs()[0], m_AnyZeroFloat()))
      return std::nullopt;
    SmallVector<AffineMap> maps = linalgOp.getIndexingMapsArray();
    c = {op, {op->getOperand(0), op->getOperand(1)}, op->getResult(0), {maps[0], maps[1], maps[2]}, 0};
    iterators = linalgOp.getIteratorTypesArray();
  } else {
    return std::nullopt;
  }
  for (Value value : {c.operands[0], c.operands[1], c.result})
    if (!isa<RankedTensorType>(value.getType()) || !computesInF32(cast<RankedTensorType>(value.getType()).getElementType()))
      return std::nullopt;
  unsigned reductions = 0;
  for (auto [dim, type] : llvm::enumerate(iterators))
    if (type == utils::IteratorType::reduction) {
      ++reductions;
      c.reduction = dim;
    }
  bool inBoth = c.maps[0].isFunctionOfDim(c.reduction) && c.maps[1].isFunctionOfDim(c.reduction);
  return reductions == 1 && inBoth ? std::optional<Contraction>(c) : std::nullopt;
}

struct Softmax {
  Operation *op;
  Value input;
  unsigned axis;
  double scale = 1;

  static std::optional<Softmax> of(Operation *op) {
    if (auto softmax = dyn_cast_or_null<nn::SoftmaxOp>(op))
      return Softmax{op, softmax.getInput(), unsigned(cast<ShapedType>(softmax.getInput().getType()).getRank() - 1),
                     softmax.getScale().convertToDouble()};
    if (auto softmax = dyn_cast_or_null<linalg::SoftmaxOp>(op); softmax && softmax->getNumResults())
      return Softmax{op, softmax.getInput(), unsigned(softmax.getDimension())};
    return std::nullopt;
  }
};

// The weights p, or p with NaN replaced by 0: whether it is the latter; nothing for anything else.
std::optional<bool> zeroesNaN(Value yielded, Value p) {
  yielded = beforeConversions(yielded);
  if (yielded == p)
    return false;
  auto select = yielded.getDefiningOp<arith::SelectOp>();
  auto compare = select ? select.getCondition().getDefiningOp<arith::CmpFOp>() : nullptr;
  auto isP = [&](Value value) { // NaN is NaN in any type
    while (auto extend = value.getDefiningOp<arith::ExtFOp>())
      value = extend.getIn();
    return beforeConversions(value) == p;
  };
  if (!compare || !isP(compare.getLhs()) || !isP(compare.getRhs()))
    return std::nullopt;
  bool ordered = compare.getPredicate() == arith::CmpFPredicate::ORD;
  if (!ordered && compare.getPredicate() != arith::CmpFPredicate::UNO)
    return std::nullopt;
  Value zero = ordered ? select.getFalseValue() : select.getTrueValue();
  Value kept = ordered ? select.getTrueValue() : select.getFalseValue();
  return isP(kept) && matchPattern(zero, m_AnyZeroFloat()) ? std::optional<bool>(true) : std::nullopt;
}

// One contraction with values, matched backwards. The iteration space is that contraction's, and one dim more for the
// head size; roles are found on the way.
class Matcher {
public:
  Matcher(const Contraction &last, unsigned weights) : last(last), weights(weights), b(last.op->getContext()) {
    numDims = last.maps[0].getNumDims();
    key = last.reduction;
    space.extents.assign(numDims + 1, ShapedType::kDynamic);
    for (unsigned i : {0u, 1u})
      space.read(last.operands[i], last.maps[i]);
  }
  nn::AttentionOp match();

private:
  bool matchWeights(std::optional<Softmax> &softmax, Indices &indices);
  SmallVector<Operation *> productsBehind(Value value);
  bool matchScores(const Softmax &softmax, const Indices &indices, Operation *candidate);
  bool assignRoles();
  bool scoresStayInside(Operation *softmax);
  bool leadsTo(Value value, function_ref<bool(Operation *)> wanted);
  nn::AttentionOp build();

  const Contraction &last;
  unsigned weights, numDims, key;
  OpBuilder b;
  IterationSpace space;
  std::optional<Contraction> product; // of queries and keys
  Indices productIndices;
  unsigned keySide = 0; // the operand of `product` that holds the keys
  unsigned row = 0, valueSize = 0;
  bool zeroIfMasked = false;
  Region scoreRegion;
  SmallVector<TensorAccess> scoreInputs;
  llvm::SetVector<Operation *> traced;
};
} // namespace

// Whether elementwise ops and views lead from an op that is wanted to the value.
bool Matcher::leadsTo(Value value, function_ref<bool(Operation *)> wanted) {
  SmallVector<Operation *> worklist{value.getDefiningOp()};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    if (!op || !seen.insert(op).second)
      continue;
    if (wanted(op))
      return true;
    auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
    if ((linalgOp && isPointwise(linalgOp)) || isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
      for (Value operand : op->getOperands())
        worklist.push_back(operand.getDefiningOp());
  }
  return false;
}

// From the last contraction's operand back to the softmax.
bool Matcher::matchWeights(std::optional<Softmax> &softmax, Indices &indices) {
  auto isSoftmax = [](Operation *op) { return Softmax::of(op).has_value(); };
  if (!leadsTo(last.operands[weights], isSoftmax))
    return false;
  Region region;
  Block &block = region.emplaceBlock();
  Value p;
  b.setInsertionPointToEnd(&block);
  auto source = [&](const TensorAccess &access) -> FailureOr<Value> {
    std::optional<Softmax> found = Softmax::of(access.tensor.getDefiningOp());
    if (!found)
      return Value();
    if (softmax && (softmax->op != found->op || indices != access.indices))
      return failure();
    softmax = found;
    indices = access.indices;
    if (!p)
      p = block.addArgument(getElementTypeOrSelf(access.tensor.getType()), b.getUnknownLoc());
    return p;
  };
  ScalarProgram program(
      b, space, [](linalg::LinalgOp, ArrayRef<AffineExpr>) { return true; }, source);
  FailureOr<Value> yielded = program.element({last.operands[weights], Indices(last.maps[weights].getResults())});
  if (failed(yielded) || !softmax)
    return false;
  std::optional<bool> zeroes = zeroesNaN(*yielded, p);
  if (!zeroes)
    return false;
  zeroIfMasked = *zeroes;
  traced.insert_range(program.traced);
  return indices[softmax->axis] == b.getAffineDimExpr(key);
}

// A bias may be a product, too: any of these may be that of queries and keys.
SmallVector<Operation *> Matcher::productsBehind(Value value) {
  llvm::SetVector<Operation *> found;
  leadsTo(value, [&](Operation *op) {
    if (Contraction::of(op))
      found.insert(op);
    return false;
  });
  return found.takeVector();
}

// From the softmax back to the product of queries and keys.
bool Matcher::matchScores(const Softmax &softmax, const Indices &indices, Operation *candidate) {
  Block &block = scoreRegion.emplaceBlock();
  Value qk = block.addArgument(b.getF32Type(), b.getUnknownLoc());
  b.setInsertionPointToEnd(&block);
  auto isProduct = [&](Operation *op) { return op == candidate; };
  ScalarProgram *self = nullptr;
  auto source = [&](const TensorAccess &access) -> FailureOr<Value> {
    if (access.tensor.getDefiningOp() != candidate || !llvm::is_contained(access.indices, b.getAffineDimExpr(key)))
      return Value();
    std::optional<Contraction> found = Contraction::of(candidate);
    if (product && (product->op != found->op || productIndices != access.indices))
      return failure();
    product = found;
    productIndices = access.indices;
    if (!found->epilogue)
      return qk;
    // The epilogue's inputs are read where the result is.
    SmallVector<AffineExpr> dims(found->maps[2].getNumDims(), b.getAffineConstantExpr(0));
    for (auto [expr, index] : llvm::zip(found->maps[2].getResults(), access.indices))
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        dims[dim.getPosition()] = index;
    auto contract = cast<nn::ContractOp>(found->op);
    IRMapping mapping;
    mapping.map(found->epilogue->getArgument(0), qk);
    SmallVector<AffineMap> maps = contract.getMaps();
    for (auto [position, input] : llvm::enumerate(contract.getEpilogueIns())) {
      TensorAccess read{input, {}};
      for (AffineExpr expr : maps[2 + position].getResults())
        read.indices.push_back(expr.replaceDims(dims));
      FailureOr<Value> scalar = self->element(read);
      if (failed(scalar))
        return failure();
      mapping.map(found->epilogue->getArgument(1 + position), *scalar);
    }
    return self->cloneBody(*found->epilogue, mapping);
  };
  auto computes = [&](linalg::LinalgOp op, ArrayRef<AffineExpr>) { return leadsTo(op->getResult(0), isProduct); };
  ScalarProgram program(b, space, computes, source);
  self = &program;
  FailureOr<Value> score = program.element({softmax.input, indices});
  if (failed(score) || !product || !computesInF32((*score).getType()))
    return false;
  score = extendToCompute(b, b.getUnknownLoc(), *score);
  if (softmax.scale != 1) {
    Value scale = arith::ConstantOp::create(b, b.getUnknownLoc(), b.getF32FloatAttr(softmax.scale));
    score = arith::MulFOp::create(b, b.getUnknownLoc(), *score, scale).getResult();
  }
  nn::YieldOp::create(b, b.getUnknownLoc(), *score);
  scoreInputs = program.inputs;
  traced.insert_range(program.traced);
  return true;
}

// Which operand has the keys, and which dims are rows and value size.
bool Matcher::assignRoles() {
  auto indexOf = [&](unsigned dim) -> AffineExpr {
    for (auto [expr, index] : llvm::zip(product->maps[2].getResults(), productIndices))
      if (expr == b.getAffineDimExpr(dim))
        return index;
    return {};
  };
  AffineExpr keyExpr = b.getAffineDimExpr(key);
  std::optional<unsigned> keyDim;
  for (unsigned dim = 0; dim < product->maps[2].getNumDims(); ++dim)
    if (indexOf(dim) == keyExpr)
      keyDim = dim;
  if (!keyDim || product->maps[0].isFunctionOfDim(*keyDim) == product->maps[1].isFunctionOfDim(*keyDim))
    return false;
  keySide = product->maps[1].isFunctionOfDim(*keyDim) ? 1 : 0;
  // Rows: the longest dim that queries have and keys have not.
  std::optional<unsigned> rows;
  for (unsigned dim = 0; dim < product->maps[2].getNumDims(); ++dim) {
    auto index = dyn_cast_or_null<AffineDimExpr>(indexOf(dim));
    if (!index || product->maps[keySide].isFunctionOfDim(dim) || !product->maps[1 - keySide].isFunctionOfDim(dim))
      continue;
    auto length = [&](unsigned d) { return ShapedType::isDynamic(space.extents[d]) ? INT64_MAX : space.extents[d]; };
    if (!rows || length(index.getPosition()) >= length(*rows))
      rows = index.getPosition();
  }
  if (!rows || !last.maps[2].isFunctionOfDim(*rows))
    return false;
  row = *rows;
  std::optional<unsigned> size;
  for (unsigned dim = 0; dim < numDims; ++dim)
    if (dim != key && !last.maps[weights].isFunctionOfDim(dim)) {
      if (size || !last.maps[1 - weights].isFunctionOfDim(dim))
        return false;
      size = dim;
    }
  if (!size || last.maps[1 - weights].isFunctionOfDim(row))
    return false;
  valueSize = *size;
  return true;
}

// Nobody else reads the scores or the weights.
bool Matcher::scoresStayInside(Operation *softmax) {
  SmallVector<Operation *> worklist{product->op};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!worklist.empty())
    for (Operation *user : worklist.pop_back_val()->getUsers()) {
      if (user == last.op || !seen.insert(user).second)
        continue;
      if (user != softmax && !traced.contains(user))
        return false;
      worklist.push_back(user);
    }
  return true;
}

nn::AttentionOp Matcher::build() {
  // (batch..., s, t, d, e)
  SmallVector<unsigned> order;
  for (unsigned dim = 0; dim < numDims; ++dim)
    if (dim != row && dim != key && dim != valueSize)
      order.push_back(dim);
  unsigned numBatch = order.size();
  order.append({row, key, numDims, valueSize});
  SmallVector<AffineExpr> renumbered(numDims + 1);
  for (auto [place, dim] : llvm::enumerate(order))
    renumbered[dim] = b.getAffineDimExpr(place);
  auto mapOf = [&](ArrayRef<AffineExpr> indices) {
    SmallVector<AffineExpr> results;
    for (AffineExpr expr : indices)
      results.push_back(expr.replaceDims(renumbered));
    return AffineMap::get(order.size(), 0, results, b.getContext());
  };
  SmallVector<AffineExpr> productDims(product->maps[2].getNumDims(), b.getAffineConstantExpr(0));
  for (auto [expr, index] : llvm::zip(product->maps[2].getResults(), productIndices))
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      productDims[dim.getPosition()] = index;
  productDims[product->reduction] = b.getAffineDimExpr(numDims);
  auto productMap = [&](unsigned side) {
    SmallVector<AffineExpr> indices;
    for (AffineExpr expr : product->maps[side].getResults())
      indices.push_back(expr.replaceDims(productDims));
    return mapOf(indices);
  };
  SmallVector<AffineMap> maps = {productMap(1 - keySide), productMap(keySide),
                                 mapOf(last.maps[1 - weights].getResults())};
  SmallVector<Value> inputs;
  for (const TensorAccess &input : scoreInputs) {
    inputs.push_back(input.tensor);
    maps.push_back(mapOf(input.indices));
  }
  maps.push_back(mapOf(last.maps[2].getResults()));
  for (AffineMap map : maps)
    if (!nn::AttentionOp::isSupportedAccess(map.getResults(), numBatch))
      return nullptr;
  auto role = [&](unsigned operand, unsigned dim) { return maps[operand].isFunctionOfDim(numBatch + dim); };
  if (role(0, 1) || !role(0, 0) || role(1, 0) || !role(1, 1) || role(2, 0) || !role(0, 2) || !role(1, 2))
    return nullptr;
  IterationSpace finalSpace;
  finalSpace.extents.assign(order.size(), ShapedType::kDynamic);
  finalSpace.read(product->operands[keySide], maps[1]);
  finalSpace.read(last.operands[1 - weights], maps[2]);
  if (!streamsAttention(finalSpace.extents[numBatch + 2], finalSpace.extents[numBatch + 3]))
    return nullptr;

  b.setInsertionPoint(last.op);
  Value init = cast<DestinationStyleOpInterface>(last.op).getDpsInits()[0];
  if (auto fill = init.getDefiningOp<linalg::FillOp>())
    init = fill.getOutputs()[0];
  Location loc = b.getFusedLoc({product->op->getLoc(), last.op->getLoc()});
  auto op = nn::AttentionOp::create(b, loc, last.result.getType(), product->operands[1 - keySide],
                                    product->operands[keySide], last.operands[1 - weights], inputs, Value(), Value(), init,
                                    b.getAffineMapArrayAttr(maps), zeroIfMasked ? b.getUnitAttr() : UnitAttr());
  op.getScore().takeBody(scoreRegion);
  for (auto index : op.getScore().front().getOps<nn::IndexOp>())
    index.setDim(cast<AffineDimExpr>(renumbered[index.getDim()]).getPosition());
  last.op->replaceAllUsesWith(op);
  return op;
}

nn::AttentionOp Matcher::match() {
  std::optional<Softmax> softmax;
  Indices indices;
  if (!last.isPlain() || !matchWeights(softmax, indices))
    return nullptr;
  llvm::SetVector<Operation *> ofWeights = traced;
  for (Operation *candidate : productsBehind(softmax->input)) {
    scoreRegion.getBlocks().clear();
    product.reset();
    traced = ofWeights;
    if (matchScores(*softmax, indices, candidate) && assignRoles() && scoresStayInside(softmax->op))
      if (nn::AttentionOp op = build())
        return op;
  }
  return nullptr;
}

void snug::fuseAttention(func::FuncOp function) {
  SmallVector<Operation *> candidates;
  function.walk([&](Operation *op) {
    if (isa<nn::AttentionOp>(op) || Contraction::of(op))
      candidates.push_back(op);
  });
  for (Operation *op : candidates) {
    auto attention = dyn_cast<nn::AttentionOp>(op);
    if (std::optional<Contraction> last = attention ? std::nullopt : Contraction::of(op))
      for (unsigned weights : {0u, 1u})
        if (!attention)
          attention = Matcher(*last, weights).match();
    if (attention)
      absorbOperands(attention);
  }
  // What the attentions took in: left standing it would count as another reader.
  for (Block &block : function)
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op))
        op.erase();
}
