// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MatMul and Gemm: snug_nn.contract over packed weights or over two activations.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
// Columns of a packed weight's panels; the CPU's register tile is this wide. The module's snug.panel_columns may be 0: none are
// packed.
constexpr int64_t kPanelWidth = 32;

bool packsWeights(Block *block) {
  auto columns = block->getParentOp()->getParentOfType<ModuleOp>()->getAttrOfType<IntegerAttr>("snug.panel_columns");
  return !columns || columns.getInt() != 0;
}

// Two-operand op with an empty epilogue; later stages fill it.
Value contractOp(Lowering &l, Value a, Value b, Value init, ArrayRef<AffineMap> maps, ArrayRef<StringRef> iterators,
                 bool packed) {
  OpBuilder &builder = l.b;
  auto op = nn::ContractOp::create(builder, l.loc(), init.getType(), a, b, ValueRange(), init,
                                   builder.getAffineMapArrayAttr(maps), builder.getStrArrayAttr(iterators),
                                   packed ? builder.getUnitAttr() : UnitAttr());
  Block &block = op.getEpilogue().emplaceBlock();
  auto element = cast<FloatType>(cast<ShapedType>(init.getType()).getElementType());
  block.addArgument(computeType(element), l.loc());
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(&block);
  nn::YieldOp::create(builder, l.loc(), roundToStore(builder, l.loc(), block.getArgument(0), element));
  return op->getResult(0);
}

// The same as plain loops: element types that the kernel has not, and products where one side has no dim of its own, so
// that every element of the other is read once anyway.
Value loops(Lowering &l, Value a, Value b, ArrayRef<AffineExpr> shape, Type type, ArrayRef<AffineMap> maps,
            ArrayRef<utils::IteratorType> iterators) {
  OpBuilder &builder = l.b;
  Value zero = arith::ConstantOp::create(builder, l.loc(), builder.getZeroAttr(storedAs(type)));
  Value init = linalg::FillOp::create(builder, l.loc(), zero, l.empty(shape, type)).getResult(0);
  auto op = linalg::GenericOp::create(
      builder, l.loc(), init.getType(), ValueRange{a, b}, init, maps, iterators,
      [&](OpBuilder &body, Location loc, ValueRange x) {
        if (isa<FloatType>(type)) {
          auto reassociate = arith::FastMathFlagsAttr::get(body.getContext(), arith::FastMathFlags::reassoc);
          Value product = arith::MulFOp::create(body, loc, x[0], x[1]);
          linalg::YieldOp::create(body, loc, arith::AddFOp::create(body, loc, product, x[2], reassociate).getResult());
        } else {
          Value product = arith::MulIOp::create(body, loc, x[0], x[1]);
          linalg::YieldOp::create(body, loc, arith::AddIOp::create(body, loc, product, x[2]).getResult());
        }
      });
  return op.getResult(0);
}
} // namespace

FailureOr<LoweredValue> Lowering::contract(LoweredValue &left, LoweredValue &right, ArrayRef<AffineMap> maps,
                                           ArrayRef<AffineExpr> shape) {
  MLIRContext *context = b.getContext();
  if (left.elementType != right.elementType || left.elementType.isInteger(1)) {
    error() << "operands of element types " << nameOf(left.elementType) << " and " << nameOf(right.elementType)
            << " are not supported";
    return failure();
  }
  unsigned numDims = maps[0].getNumDims();
  SmallVector<StringRef> iterators;
  SmallVector<utils::IteratorType> kinds;
  bool ownRows = false, ownColumns = false;
  for (unsigned dim = 0; dim < numDims; ++dim) {
    bool parallel = maps[2].isFunctionOfDim(dim);
    iterators.push_back(parallel ? "parallel" : "reduction");
    kinds.push_back(parallel ? utils::IteratorType::parallel : utils::IteratorType::reduction);
    bool inLeft = maps[0].isFunctionOfDim(dim), inRight = maps[1].isFunctionOfDim(dim);
    ownRows |= inLeft && !inRight && parallel;
    ownColumns |= inRight && !inLeft && parallel;
  }
  Value leftTensor = tensor(left), rightTensor = tensor(right);
  if (!computesInF32(left.elementType) || !ownRows || !ownColumns)
    return tensorValue(loops(*this, leftTensor, rightTensor, shape, left.elementType, maps, kinds), Extents(shape),
                       left.elementType);
  bool packed = false;
  // A weight of (k, n) that no batch dim indexes.
  auto isOwn = [&](AffineExpr expr, unsigned position) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    return dim && (position == 0 ? kinds[dim.getPosition()] == utils::IteratorType::reduction
                                 : !maps[0].isFunctionOfDim(dim.getPosition()));
  };
  if (auto weight = rightTensor.getDefiningOp<nn::WeightOp>();
      weight && packsWeights(b.getInsertionBlock()) && right.rank() == 2 && isOwn(maps[1].getResult(0), 0) && isOwn(maps[1].getResult(1), 1)) {
    auto type = cast<RankedTensorType>(weight.getType());
    int64_t panels = llvm::divideCeil(type.getDimSize(1), kPanelWidth);
    rightTensor = withRecipeStep(weight, nn::RecipePackAttr::get(context, kPanelWidth),
                                 {panels, type.getDimSize(0), kPanelWidth});
    packed = true;
  }
  Value init = empty(shape, left.elementType);
  return tensorValue(contractOp(*this, leftTensor, rightTensor, init, maps, iterators, packed), Extents(shape));
}

FailureOr<LoweredValue> Lowering::matmul(LoweredValue &left, LoweredValue &right) {
  MLIRContext *context = b.getContext();
  if (left.rank() == 0 || right.rank() == 0)
    return isRefused ? LogicalResult(failure()) : LogicalResult(error() << "takes no scalars");
  if (left.rank() < 2 || right.rank() < 2) {
    // Vectors: a leading row or trailing column of extent 1, dropped again.
    Extents leftShape = left.shape, rightShape = right.shape;
    if (left.rank() == 1)
      leftShape.insert(leftShape.begin(), constant(1));
    if (right.rank() == 1)
      rightShape.push_back(constant(1));
    auto x = reshape(left, leftShape), y = reshape(right, rightShape);
    if (failed(x) || failed(y))
      return failure();
    auto product = matmul(*x, *y);
    if (failed(product))
      return failure();
    Extents shape = product->shape;
    if (right.rank() == 1)
      shape.pop_back();
    if (left.rank() == 1)
      shape.erase(shape.end() - (right.rank() == 1 ? 1 : 2));
    return reshape(*product, shape);
  }
  AffineExpr k = left.shape.back();
  if (!same(k, right.shape[right.rank() - 2])) {
    error() << "inner extents of shapes " << print(left.shape) << " and " << print(right.shape) << " differ";
    return failure();
  }
  ArrayRef<AffineExpr> leftBatch = ArrayRef(left.shape).drop_back(2), rightBatch = ArrayRef(right.shape).drop_back(2);
  auto batch = broadcast(leftBatch, rightBatch);
  if (!batch)
    return failure();
  int64_t numBatch = batch->size(), rank = numBatch + 2;
  // Iteration dims: batch.., m, n, k.
  auto dim = [&](int64_t d) { return getAffineDimExpr(d, context); };
  auto operandMap = [&](ArrayRef<AffineExpr> own, AffineExpr row, AffineExpr column) {
    SmallVector<AffineExpr> exprs;
    int64_t shift = numBatch - own.size();
    for (auto [index, extent] : llvm::enumerate(own))
      exprs.push_back(extent == constant(1) && (*batch)[shift + index] != constant(1) ? constant(0) : dim(shift + index));
    exprs.push_back(row);
    exprs.push_back(column);
    return AffineMap::get(rank + 1, 0, exprs, context);
  };
  SmallVector<AffineMap> maps = {operandMap(leftBatch, dim(rank - 2), dim(rank)),
                                 operandMap(rightBatch, dim(rank), dim(rank - 1)),
                                 AffineMap::getMultiDimIdentityMap(rank + 1, context).getMajorSubMap(rank)};
  Extents shape = *batch;
  shape.push_back(left.shape[left.rank() - 2]);
  shape.push_back(right.shape.back());
  return contract(left, right, maps, shape);
}

namespace {
LogicalResult matmulOp(Lowering &l) {
  auto result = l.matmul(l.input(0), l.input(1));
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

LogicalResult gemm(Lowering &l) {
  auto matrix = [&](unsigned index, StringRef transposed) -> FailureOr<LoweredValue> {
    if (l.input(index).rank() != 2) {
      l.error() << "input " << index << " of shape " << l.print(l.input(index).shape) << " is no matrix";
      return failure();
    }
    return l.intAttr(transposed, 0) ? l.transpose(l.input(index), {1, 0}) : FailureOr<LoweredValue>(l.input(index));
  };
  auto left = matrix(0, "transA"), right = matrix(1, "transB");
  if (failed(left) || failed(right))
    return failure();
  // Exporters flatten leading dims before a Gemm and restore them after: work on the value before, so that what follows
  // (bias, activation, residual) has the same dims and can join the kernel.
  std::optional<Extents> flat;
  if (auto collapse = left->tensor ? left->tensor.getDefiningOp<tensor::CollapseShapeOp>() : nullptr;
      collapse && collapse.getReassociationIndices()[0].size() > 1) {
    if (auto before = l.shapeOf(collapse.getSrc())) {
      flat = left->shape;
      LoweredValue source = l.tensorValue(collapse.getSrc(), *before);
      Extents rows(ArrayRef(*before).take_front(collapse.getReassociationIndices()[0].size()));
      rows.push_back(left->shape.back());
      left = l.reshape(source, rows);
      if (failed(left))
        return failure();
    }
  }
  auto result = l.matmul(*left, *right);
  if (failed(result))
    return failure();
  auto scaled = [&](LoweredValue &value, double factor) -> FailureOr<LoweredValue> {
    if (factor == 1)
      return value;
    return l.elementwise({&value}, value.elementType, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      Type type = value.elementType, real = isa<FloatType>(type) ? type : b.getF64Type();
      Value product = b.createOrFold<arith::MulFOp>(loc, convert(b, loc, x[0], type, real), number(b, loc, real, factor));
      return convert(b, loc, product, real, type);
    });
  };
  result = scaled(*result, l.floatAttr("alpha", 1));
  if (succeeded(result) && l.hasInput(2) && l.floatAttr("beta", 1) != 0) {
    if (flat && l.input(2).rank() > 1) {
      // A bias with rows of its own speaks of the flat rows.
      result = l.reshape(*result, {(*flat)[0], result->shape.back()});
      flat.reset();
    }
    auto bias = succeeded(result) ? scaled(l.input(2), l.floatAttr("beta", 1)) : FailureOr<LoweredValue>(failure());
    if (failed(bias))
      return failure();
    result = l.elementwise({&*result, &*bias}, result->elementType, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
      if (isa<IntegerType>(x[0].getType()))
        return b.createOrFold<arith::AddIOp>(loc, x[0], x[1]);
      return b.createOrFold<arith::AddFOp>(loc, x[0], x[1]);
    });
  }
  if (succeeded(result) && flat)
    result = l.reshape(*result, {(*flat)[0], result->shape.back()});
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addContractionOps(LoweringTable &t) {
  t.add("MatMul", 1, matmulOp);
  t.add("Gemm", 7, gemm, types::Numbers);
}
