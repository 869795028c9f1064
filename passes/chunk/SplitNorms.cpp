// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A normalization of rows that are several dims of a tensor (groups of channels over an image) needs all of them before
// it gives any, so that no loop over these dims goes through it. Said as sums and what is computed of each element with
// them, the sums can be made by one loop and applied by the next.
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/chunk/ChunkProgram.h"

using namespace mlir;
using namespace snug;

namespace {
class NormSplitter {
public:
  explicit NormSplitter(nn::NormOp op) : op(op), b(op), loc(op.getLoc()) {}

  bool run() {
    if (op.getScale() || op.getShift() || !op->getNumResults() || !findRows())
      return false;
    Value rows = split(source);
    auto type = cast<RankedTensorType>(rows.getType());
    AffineMap all = b.getMultiDimIdentityMap(type.getRank());
    AffineMap stat = AffineMap::get(type.getRank(), 0, all.getResults().take_front(numOuter), b.getContext());
    element = computeType(cast<FloatType>(type.getElementType()));
    Value count = arith::SIToFPOp::create(b, loc, element, arith::IndexCastOp::create(b, loc, b.getI64Type(), length()));
    Value epsilon = arith::ConstantOp::create(b, loc, b.getFloatAttr(element, op.getEpsilon().convertToDouble()));
    bool centers = op.getKind() == nn::NormKind::Layer;
    Value mean = centers ? sum(rows, {}, all, stat, [&](OpBuilder &o, Location l, ValueRange x) { return extendToCompute(o, l, x[0]); }) : Value();
    if (centers)
      mean = each(mean, [&](OpBuilder &o, Location l, Value x) { return arith::DivFOp::create(o, l, x, count); });
    auto centered = [&](OpBuilder &o, Location l, ValueRange x) -> Value {
      Value value = extendToCompute(o, l, x[0]);
      return centers ? arith::SubFOp::create(o, l, value, x[1]).getResult() : value;
    };
    Value scale = sum(rows, mean, all, stat, [&](OpBuilder &o, Location l, ValueRange x) -> Value {
      Value difference = centered(o, l, x);
      return arith::MulFOp::create(o, l, difference, difference);
    });
    scale = each(scale, [&](OpBuilder &o, Location l, Value x) -> Value {
      Value variance = arith::AddFOp::create(o, l, arith::DivFOp::create(o, l, x, count), epsilon);
      Value one = arith::ConstantOp::create(o, l, o.getFloatAttr(element, 1));
      return arith::DivFOp::create(o, l, one, math::SqrtOp::create(o, l, variance));
    });
    // In place where the op was.
    Type stored = getElementTypeOrSelf(op.getInit());
    Value init = op.getInit() == op.getInput() ? rows : emptyLike(rows, stored);
    SmallVector<Value> inputs{rows};
    SmallVector<AffineMap> maps{all};
    for (Value value : {mean, scale})
      if (value) {
        inputs.push_back(value);
        maps.push_back(stat);
      }
    maps.push_back(all);
    SmallVector<utils::IteratorType> parallel(type.getRank(), utils::IteratorType::parallel);
    auto applied = linalg::GenericOp::create(
        b, loc, init.getType(), inputs, init, maps, parallel, [&](OpBuilder &o, Location l, ValueRange x) {
          Value result = arith::MulFOp::create(o, l, centered(o, l, x), x[inputs.size() - 1]);
          linalg::YieldOp::create(o, l, roundToStore(o, l, result, stored));
        });
    op->getResult(0).replaceAllUsesWith(viewed(merged(applied.getResult(0))));
    op.erase();
    return true;
  }

private:
  // The tensor of which the rows are a view, and the dims that they do not take in: some as a whole, of one the outer
  // part.
  bool findRows() {
    source = op.getInput();
    while (isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(source.getDefiningOp())) {
      views.push_back(source.getDefiningOp());
      source = source.getDefiningOp()->getOperand(0);
    }
    auto from = cast<RankedTensorType>(source.getType()), to = cast<RankedTensorType>(op.getInput().getType());
    if (views.empty() || !isa<FloatType>(to.getElementType()))
      return false;
    int64_t count = 1;
    for (int64_t extent : to.getShape().drop_back()) {
      if (ShapedType::isDynamic(extent))
        return false;
      count *= extent;
    }
    for (int64_t dim = 0; dim < from.getRank(); ++dim) {
      int64_t extent = from.getDimSize(dim);
      if (ShapedType::isDynamic(extent))
        return false;
      if (count % extent != 0 || count == 1) {
        splitDim = dim;
        outer = count;
        numOuter = dim + (outer > 1);
        return extent % count == 0 && from.getRank() - dim > 1;
      }
      count /= extent;
    }
    return false;
  }

  Value split(Value value) {
    if (outer == 1)
      return value;
    auto type = cast<RankedTensorType>(value.getType());
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, loc, value);
    SmallVector<int64_t> shape(type.getShape());
    int64_t inner = shape[splitDim] / outer;
    shape[splitDim] = outer;
    sizes[splitDim] = b.getIndexAttr(outer);
    shape.insert(shape.begin() + splitDim + 1, inner);
    sizes.insert(sizes.begin() + splitDim + 1, b.getIndexAttr(inner));
    return tensor::ExpandShapeOp::create(b, loc, type.clone(shape), value, reassociation(type.getRank()), sizes);
  }

  Value merged(Value value) {
    auto type = cast<RankedTensorType>(source.getType()).clone(getElementTypeOrSelf(value));
    return outer == 1 ? value : tensor::CollapseShapeOp::create(b, loc, type, value, reassociation(type.getRank()));
  }

  SmallVector<ReassociationIndices> reassociation(int64_t rank) const {
    SmallVector<ReassociationIndices> groups;
    for (int64_t dim = 0, place = 0; dim < rank; ++dim) {
      groups.push_back({place++});
      if (dim == splitDim)
        groups.back().push_back(place++);
    }
    return groups;
  }

  // The same views of another tensor.
  Value viewed(Value value) {
    for (Operation *view : llvm::reverse(views)) {
      IRMapping mapping;
      mapping.map(view->getOperand(0), value);
      Operation *copy = b.clone(*view, mapping);
      copy->getResult(0).setType(cast<RankedTensorType>(copy->getResult(0).getType()).clone(getElementTypeOrSelf(value)));
      value = copy->getResult(0);
    }
    return value;
  }

  Value length() {
    int64_t last = cast<RankedTensorType>(op.getInput().getType()).getRank() - 1;
    return getValueOrCreateConstantIndexOp(b, loc, tensor::getMixedSize(b, loc, op.getInput(), last));
  }

  Value emptyLike(Value value, Type type) {
    return tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, value), type);
  }

  // The sum of body(x, mean) over each row.
  Value sum(Value rows, Value mean, AffineMap all, AffineMap stat,
            function_ref<Value(OpBuilder &, Location, ValueRange)> body) {
    auto shape = cast<RankedTensorType>(rows.getType()).getShape().take_front(numOuter);
    Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(element, 0));
    Value empty = tensor::EmptyOp::create(b, loc, shape, element);
    Value init = linalg::FillOp::create(b, loc, zero, empty).getResult(0);
    SmallVector<Value> inputs{rows};
    SmallVector<AffineMap> maps{all};
    if (mean) {
      inputs.push_back(mean);
      maps.push_back(stat);
    }
    maps.push_back(stat);
    SmallVector<utils::IteratorType> kinds(all.getNumDims(), utils::IteratorType::reduction);
    std::fill_n(kinds.begin(), numOuter, utils::IteratorType::parallel);
    return linalg::GenericOp::create(b, loc, init.getType(), inputs, init, maps, kinds,
                                     [&](OpBuilder &o, Location l, ValueRange x) {
                                       auto reassociate = arith::FastMathFlagsAttr::get(o.getContext(),
                                                                                        arith::FastMathFlags::reassoc);
                                       Value total = arith::AddFOp::create(o, l, body(o, l, x), x.back(), reassociate);
                                       linalg::YieldOp::create(o, l, total);
                                     })
        .getResult(0);
  }

  Value each(Value value, function_ref<Value(OpBuilder &, Location, Value)> body) {
    AffineMap all = b.getMultiDimIdentityMap(numOuter);
    SmallVector<utils::IteratorType> parallel(numOuter, utils::IteratorType::parallel);
    return linalg::GenericOp::create(b, loc, value.getType(), value, emptyLike(value, element), ArrayRef<AffineMap>{all, all},
                                     parallel, [&](OpBuilder &o, Location l, ValueRange x) {
                                       linalg::YieldOp::create(o, l, body(o, l, x[0]));
                                     })
        .getResult(0);
  }

  nn::NormOp op;
  OpBuilder b;
  Location loc;
  Type element;
  Value source;
  SmallVector<Operation *> views; // from the op back to the source
  int64_t splitDim = 0, outer = 1;
  unsigned numOuter = 0;
};
} // namespace

bool snug::splitNorm(nn::NormOp op) { return NormSplitter(op).run(); }

// The reductions that the parts are of, in place of both.
static bool mergeParts(nn::PartialReduceOp partial) {
  SmallVector<linalg::GenericOp> totals;
  SmallVector<Value> inits;
  for (Value result : partial->getResults()) {
    auto total = result.hasOneUse() ? dyn_cast<linalg::GenericOp>(*result.user_begin()) : linalg::GenericOp();
    if (!total || total.getNumDpsInputs() != 1 || total.getNumReductionLoops() != 1 || total->getBlock() != partial->getBlock())
      return false;
    totals.push_back(total);
    inits.push_back(total.getDpsInitOperand(0)->get());
  }
  OpBuilder b(totals.back());
  for (linalg::GenericOp total : totals)
    if (b.getInsertionPoint()->isBeforeInBlock(total))
      b.setInsertionPoint(total);
  unsigned loops = partial.partDim();
  SmallVector<AffineMap> maps;
  for (auto [operand, map] : llvm::enumerate(partial.getIndexingMapsArray()))
    maps.push_back(AffineMap::get(loops, 0, map.getResults().drop_front(operand < partial.getInputs().size() ? 0 : 1), b.getContext()));
  SmallVector<utils::IteratorType> kinds = partial.getIteratorTypesArray();
  kinds.pop_back();
  auto whole = linalg::GenericOp::create(b, partial.getLoc(), ValueRange(inits).getTypes(), partial.getInputs(), inits, maps, kinds);
  whole.getRegion().takeBody(partial.getRegion());
  for (auto [total, result] : llvm::zip(totals, whole.getResults())) {
    total.getResult(0).replaceAllUsesWith(result);
    total.erase();
  }
  partial.erase();
  return true;
}

bool snug::mergeParts(func::FuncOp function) {
  bool changed = false;
  for (nn::PartialReduceOp op : llvm::to_vector(function.front().getOps<nn::PartialReduceOp>()))
    changed |= ::mergeParts(op);
  if (changed)
    function->setAttr(kReassociates, UnitAttr::get(function.getContext()));
  return changed;
}

bool snug::splitNorms(func::FuncOp function) {
  bool changed = false;
  for (nn::NormOp op : llvm::to_vector(function.front().getOps<nn::NormOp>()))
    changed |= NormSplitter(op).run();
  if (changed)
    function->setAttr(kReassociates, UnitAttr::get(function.getContext()));
  return changed;
}
