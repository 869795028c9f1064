// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in front of a snug_nn.attention joins it: copies, transposes, broadcasts and scales of its operands, and
// elementwise ops that make the inputs of its region.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Patterns.h"
#include "passes/fuse/TensorAccess.h"

using namespace mlir;
using namespace snug;

namespace {
IterationSpace spaceOf(nn::AttentionOp op) {
  SmallVector<AffineMap> maps = op.getMaps();
  IterationSpace space;
  space.extents.assign(maps[0].getNumDims(), ShapedType::kDynamic);
  for (auto [operand, map] : llvm::zip(op->getOperands(), maps))
    space.read(operand, map);
  return space;
}

// Whether elements come from their place alone, by elementwise ops.
bool readsNoTensor(Value value) {
  Operation *producer = value.getDefiningOp();
  if (auto op = dyn_cast_or_null<linalg::LinalgOp>(producer); op && isPointwise(op))
    return llvm::all_of(op.getDpsInputs(),
                        [](Value input) { return !isa<ShapedType>(input.getType()) || readsNoTensor(input); });
  return isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(producer) &&
         readsNoTensor(producer->getOperand(0));
}

// A tensor of rows times keys is what streaming is to avoid; one that is smaller costs less to read than to compute
// again for each score. What depends on no tensor is always computed.
bool isWorthComputing(nn::AttentionOp attention, const IterationSpace &space, linalg::LinalgOp op,
                      ArrayRef<AffineExpr> indices) {
  auto uses = [](ArrayRef<AffineExpr> read, unsigned dim) {
    return llvm::any_of(read, [&](AffineExpr expr) { return expr.isFunctionOfDim(dim); });
  };
  unsigned row = attention.rowDim(), key = attention.keyDim();
  if (readsNoTensor(op->getResult(0)))
    return true;
  if (!uses(indices, row) || !uses(indices, key))
    return false;
  // Reading across the keys costs a cache line a score: a transposed copy is better.
  for (OpOperand *operand : op.getDpsInputOperands()) {
    TensorAccess read = readOf(op, *operand, indices);
    if (uses(read.indices, row) && uses(read.indices, key) && !read.indices.back().isFunctionOfDim(key))
      return false;
  }
  bool cheap = llvm::all_of(op.getBlock()->getOperations(), [](Operation &inner) {
    return !isa<math::MathDialect>(inner.getDialect()) && !isa<arith::DivFOp, arith::RemFOp>(inner);
  });
  for (unsigned dim = 0; !cheap && dim < row; ++dim)
    if (space.extents[dim] != 1 && !uses(indices, dim))
      return false; // would be computed again for each of these
  return true;
}
} // namespace

// Copies, transposes, broadcasts and scales in front of the operands, and what makes the score inputs, join the op.
void snug::absorbOperands(nn::AttentionOp op) {
  OpBuilder b(op);
  IterationSpace space = spaceOf(op);
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned numBatch = op.getNumBatchDims();
  auto accepts = [&](ArrayRef<AffineExpr> indices) { return nn::AttentionOp::isSupportedAccess(indices, numBatch); };
  // Rows, keys and sizes keep their dims, by which the op tells its operands apart; behind a view of an extent of 1 or a
  // broadcast there is none. Neighbours in memory that differ in a batch dim would be read at a stride everywhere: there
  // a copy is worth its while.
  auto acceptsOperand = [&](AffineMap map, ArrayRef<AffineExpr> indices) {
    if (!accepts(indices))
      return false;
    for (unsigned dim = numBatch; dim < map.getNumDims(); ++dim)
      if (map.isFunctionOfDim(dim) && llvm::none_of(indices, [&](AffineExpr e) { return e.isFunctionOfDim(dim); }))
        return false;
    for (AffineExpr index : llvm::reverse(indices)) {
      auto dim = dyn_cast<AffineDimExpr>(index);
      if (dim ? space.extents[dim.getPosition()] != 1 : !isa<AffineConstantExpr>(index))
        return dim && dim.getPosition() >= numBatch;
    }
    return true;
  };
  SmallVector<std::pair<Value, bool>> factors;
  SmallVector<TensorAccess> operands;
  for (unsigned i : {0u, 1u, 2u})
    operands.push_back(throughCopies(
        {op->getOperand(i), Indices(maps[i].getResults())}, space,
        [&](ArrayRef<AffineExpr> indices) { return acceptsOperand(maps[i], indices); }, i < 2 ? &factors : nullptr));

  Region region;
  Block &block = region.emplaceBlock(), &old = op.getScore().front();
  Value score = block.addArgument(old.getArgument(0).getType(), old.getArgument(0).getLoc());
  OpBuilder inner(b.getContext()); // a block of no op does not know its context
  inner.setInsertionPointToEnd(&block);
  for (auto [factor, divides] : factors) {
    Operation *constant = factor.getDefiningOp();
    if (constant && constant->hasTrait<OpTrait::ConstantLike>())
      factor = inner.clone(*constant)->getResult(0);
    score = divides ? arith::DivFOp::create(inner, op.getLoc(), score, factor).getResult()
                    : arith::MulFOp::create(inner, op.getLoc(), score, factor).getResult();
  }
  auto computes = [&](linalg::LinalgOp producer, ArrayRef<AffineExpr> indices) {
    return isWorthComputing(op, space, producer, indices);
  };
  auto none = [](const TensorAccess &) -> FailureOr<Value> { return Value(); };
  ScalarProgram program(inner, space, computes, none);
  IRMapping mapping;
  mapping.map(old.getArgument(0), score);
  for (auto [position, input] : llvm::enumerate(op.getScoreIns())) {
    FailureOr<Value> scalar = program.element({input, Indices(maps[3 + position].getResults())});
    if (failed(scalar))
      return;
    mapping.map(old.getArgument(1 + position), *scalar);
  }
  if (!llvm::all_of(program.inputs, [&](const TensorAccess &input) { return accepts(input.indices); }))
    return;
  nn::YieldOp::create(inner, op.getLoc(), program.cloneBody(old, mapping));

  SmallVector<AffineMap> newMaps;
  SmallVector<Value> inputs;
  auto addMap = [&](const TensorAccess &access) {
    newMaps.push_back(AffineMap::get(maps[0].getNumDims(), 0, access.indices, b.getContext()));
  };
  for (const TensorAccess &access : operands)
    addMap(access);
  for (const TensorAccess &access : program.inputs) {
    addMap(access);
    inputs.push_back(access.tensor);
  }
  newMaps.append(maps.end() - op.getDpsInitsMutable().size(), maps.end());
  auto result = nn::AttentionOp::create(b, op.getLoc(), op->getResultTypes(), operands[0].tensor, operands[1].tensor,
                                        operands[2].tensor, inputs, op.getMax(), op.getTotal(), op.getInit(), b.getAffineMapArrayAttr(newMaps),
                                        op.getZeroIfMaskedAttr());
  result.getScore().takeBody(region);
  op->replaceAllUsesWith(result);
  op->erase();
}
