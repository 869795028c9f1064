// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/Contraction.h"
#include "codegen/cuda/GenericNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

Contraction::Contraction(nn::ContractOp op) : op(op), maps(op.getMaps()) {
  for (unsigned dim = 0; dim < maps[0].getNumDims(); ++dim) {
    bool inA = maps[0].isFunctionOfDim(dim), inB = maps[1].isFunctionOfDim(dim);
    (!maps.back().isFunctionOfDim(dim) ? sums : inA && inB ? batch : inB ? columns : rows).push_back(dim);
  }
  for (unsigned operand = 0; operand < maps.size(); ++operand)
    if (operand != 1 || !op.getPacked())
      logical.push_back(operand);
}

int64_t Contraction::staticExtent(unsigned dim) const {
  ExtentPlace place = extent(dim);
  return cast<MemRefType>(nn::ContractOp(op)->getOperand(place.operand).getType()).getDimSize(place.dim);
}

int64_t Contraction::staticExtent(ArrayRef<unsigned> dims) const {
  int64_t product = 1;
  for (unsigned dim : dims) {
    if (ShapedType::isDynamic(staticExtent(dim)))
      return ShapedType::kDynamic;
    product *= staticExtent(dim);
  }
  return product;
}

ContractionCode::ContractionCode(nn::ContractOp op, CudaKernelBuilder &b)
    : b(b), c(op), op(op), loops(c.maps[0].getNumDims()), sumType(op.getEpilogue().front().getArgument(0).getType()) {}

SmallVector<Value> ContractionCode::sizesOf(ArrayRef<unsigned> dims) {
  return llvm::map_to_vector(dims, [&](unsigned dim) { return b.size(op, c.extent(dim)); });
}

Value ContractionCode::sizeOf(ArrayRef<unsigned> dims) {
  Value total = b.constant(1);
  for (Value size : sizesOf(dims))
    total = b.mul(total, size);
  return total;
}

ResultTile ContractionCode::tileOfBlock(int64_t rows, int64_t columns) {
  ResultTile tile{sizeOf(c.rows), sizeOf(c.columns), sizeOf(c.sums), {}, {}, SmallVector<Value>(loops, b.constant(0))};
  SmallVector<Value> grid = sizesOf(c.batch);
  grid.append({b.ceilDiv(tile.rows, rows), b.ceilDiv(tile.columns, columns)});
  SmallVector<Value> at = b.delinearize(b.block(), grid);
  tile.column = b.mul(at.pop_back_val(), b.constant(columns));
  tile.row = b.mul(at.pop_back_val(), b.constant(rows));
  for (auto [dim, index] : llvm::zip(c.batch, at))
    tile.origin[dim] = index;
  return tile;
}

ContractionCode::Sums ContractionCode::overSlices(const ResultTile &tile, int64_t depth, Sums sums, function_ref<void(Value)> start,
                                                  function_ref<void(Value, Sums &)> multiply) {
  auto startAny = [&](Value first) { b.ifTrue(b.isBelow(first, tile.terms), [&] { start(first); }); };
  startAny(b.constant(0));
  groupCopies(b);
  return b.carry(b.constant(0), tile.terms, depth, sums, [&](Value first, Sums &next) {
    startAny(b.add(first, b.constant(depth)));
    finishCopiesBefore(b);
    multiply(first, next);
    b.barrier(); // before what was read is overwritten
  });
}

SharedTile ContractionCode::stage(SharedTile tile, int64_t depth, Value first) {
  Value turn = b.rem(b.div(first, b.constant(depth)), b.constant(2));
  tile.shift = b.mul(turn, b.constant(tile.rows * tile.pitch));
  return tile;
}

void ContractionCode::place(SmallVector<Value> &indices, ArrayRef<unsigned> dims, Value number) {
  for (auto [dim, index] : llvm::zip(dims, b.delinearize(number, sizesOf(dims))))
    indices[dim] = index;
}

SmallVector<Value> ContractionCode::at(unsigned operand, ArrayRef<Value> indices) {
  SmallVector<Value> at = b.apply(c.maps[operand], indices);
  if (operand != 1 || !op.getPacked())
    return at;
  Value width = b.constant(cast<MemRefType>(op.getB().getType()).getShape().back()); // panels of columns
  return {b.div(at[1], width), at[0], b.rem(at[1], width)};
}

Value ContractionCode::toSum(Value value) {
  if (getElementTypeOrSelf(value) == sumType)
    return value;
  auto vector = dyn_cast<VectorType>(value.getType());
  return arith::ExtFOp::create(b, vector ? Type(vector.clone(sumType)) : sumType, value);
}

bool ContractionCode::areNeighbours(unsigned operand, int64_t lanes) {
  AffineMap map = c.maps[operand];
  unsigned column = c.columns.back();
  return map.getNumResults() && map.getResults().back() == b.getAffineDimExpr(column) &&
         llvm::none_of(map.getResults().drop_back(), [&](AffineExpr expr) { return expr.isFunctionOfDim(column); }) &&
         b.lanesOf(op->getOperand(operand), lanes) == lanes;
}

void ContractionCode::finish(ArrayRef<Value> indices, Value sum, int64_t lanes) {
  Block &epilogue = op.getEpilogue().front();
  IRMapping mapping;
  mapping.map(epilogue.getArgument(0), sum);
  for (auto [number, operand] : llvm::enumerate(op.getEpilogueIns())) {
    Value value = operand;
    if (isa<MemRefType>(operand.getType())) {
      SmallVector<Value> place = b.apply(c.maps[2 + number], indices);
      bool differs = lanes > 1 && c.maps[2 + number].isFunctionOfDim(c.columns.back());
      value = differs ? b.loadLanes(lanes, operand, place) : b.load(operand, place);
    }
    mapping.map(epilogue.getArgument(number + 1), value);
  }
  for (Operation &inner : epilogue.without_terminator())
    cloneOnLanes(inner, lanes, mapping, b);
  Value result = mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0));
  SmallVector<Value> place = b.apply(c.maps.back(), indices);
  if (lanes == 1)
    return b.store(result, op.getInit(), place);
  b.storeLanes(b.onLanes(result, lanes), op.getInit(), place);
}

void ContractionCode::finishRow(ArrayRef<Value> origin, Value row, Value column, ArrayRef<Value> sums) {
  int64_t lanes = sums.size(), inner = c.columns.empty() ? 1 : c.staticExtent(c.columns.back());
  bool atOnce = !ShapedType::isDynamic(inner) && inner % lanes == 0 && areNeighbours(op->getNumOperands() - 1, lanes);
  for (auto [number, operand] : llvm::enumerate(op.getEpilogueIns()))
    if (atOnce && isa<MemRefType>(operand.getType()) && c.maps[2 + number].isFunctionOfDim(c.columns.back()))
      atOnce = areNeighbours(2 + number, lanes);
  Value numRows = sizeOf(c.rows), numColumns = sizeOf(c.columns);
  b.ifTrue(b.isBelow(row, numRows), [&] {
    SmallVector<Value> indices(origin);
    place(indices, c.rows, row);
    for (int64_t j = 0; j < lanes; j += atOnce ? lanes : 1) {
      Value n = b.add(column, b.constant(j));
      b.ifTrue(b.isBelow(n, numColumns), [&] {
        place(indices, c.columns, n);
        if (!atOnce)
          return finish(indices, sums[j]);
        auto all = VectorType::get({lanes}, sumType);
        finish(indices, vector::FromElementsOp::create(b, all, sums).getResult(), lanes);
      });
    }
  });
}

bool codegen::isForTensorCores(Contraction &c) {
  Type a = c.elementType(0);
  bool isFor = a.isF16() || a.isBF16() || (a.isF32() && multipliesInTf32(c.op));
  return isFor && a == c.elementType(1) && c.op.getEpilogue().front().getArgument(0).getType().isF32();
}

bool codegen::isContiguousInSums(Contraction &c, unsigned operand) {
  int64_t offset;
  SmallVector<int64_t> strides;
  std::optional<unsigned> position = positionOf(c.maps[operand], c.sums.back());
  if (operand == 1 && c.op.getPacked())
    return false;
  return position && succeeded(cast<MemRefType>(c.op->getOperand(operand).getType()).getStridesAndOffset(strides, offset)) && strides[*position] == 1;
}
