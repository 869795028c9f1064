// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops whose elements follow from where they stand: triangles, diagonals, one-hot rows, places of extremes. Positions are
// closed values, so none of them is a tensor.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
// The index along `dim` at each element of `shape`.
LoweredValue positions(Lowering &l, ArrayRef<AffineExpr> shape, int64_t dim) {
  LoweredValue value;
  value.elementType = l.b.getI64Type();
  value.shape = Extents(shape);
  value.closed = {getAffineDimExpr(dim, l.b.getContext())};
  return value;
}

Value equal(OpBuilder &b, Location loc, Value x, Value y) {
  if (isa<FloatType>(x.getType()))
    return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, x, y);
  return b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, x, y);
}

// The value with a dim of 1 at `axis`.
FailureOr<LoweredValue> withAxis(Lowering &l, LoweredValue &value, int64_t axis) {
  Extents shape = value.shape;
  shape.insert(shape.begin() + axis, l.constant(1));
  return l.reshape(value, shape);
}

// Index of the first (or last) extreme along an axis, as i64 with that axis of extent 1. A NaN is one, as in NumPy.
FailureOr<LoweredValue> placeOfExtreme(Lowering &l, LoweredValue &in, int64_t axis, Reduction kind, bool last) {
  SmallVector<bool> reduced(in.rank());
  reduced[axis] = true;
  LoweredValue extreme = l.reduce(kind, in, reduced);
  auto broadcast = withAxis(l, extreme, axis);
  if (failed(broadcast))
    return failure();
  LoweredValue index = positions(l, in.shape, axis);
  auto found = l.elementwise({&in, &*broadcast, &index}, index.elementType, [&](OpBuilder &b, Location loc, ValueRange a) {
    Value hit = equal(b, loc, a[0], a[1]);
    if (isa<FloatType>(a[0].getType()))
      hit = b.createOrFold<arith::OrIOp>(loc, hit,
                                         b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::UNO, a[0], a[0]));
    Value none = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(last ? -1 : INT64_MAX));
    return b.createOrFold<arith::SelectOp>(loc, hit, a[2], none);
  });
  if (failed(found))
    return failure();
  LoweredValue place = l.reduce(last ? Reduction::Max : Reduction::Min, *found, reduced);
  return withAxis(l, place, axis);
}

template <Reduction Kind> LogicalResult argExtreme(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), in.rank());
  if (!axis)
    return failure();
  auto place = placeOfExtreme(l, in, *axis, Kind, l.intAttr("select_last_index", 0));
  if (failed(place) || l.intAttr("keepdims", 1))
    return finish(l, place);
  Extents shape = place->shape;
  shape.erase(shape.begin() + *axis);
  return finish(l, l.reshape(*place, shape));
}

FailureOr<LoweredValue> hardmaxAlong(Lowering &l, LoweredValue &in, int64_t axis) {
  auto place = placeOfExtreme(l, in, axis, Reduction::Max, /*last=*/false);
  if (failed(place))
    return failure();
  LoweredValue index = positions(l, in.shape, axis);
  Type type = in.elementType;
  return l.elementwise({&*place, &index}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    Value one = arith::ConstantOp::create(b, loc, b.getFloatAttr(type, 1));
    Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(type, 0));
    return b.createOrFold<arith::SelectOp>(loc, equal(b, loc, a[0], a[1]), one, zero);
  });
}

LogicalResult hardmax(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  return axis ? finish(l, hardmaxAlong(l, in, *axis)) : failure();
}

// Before opset 13 the dims from the axis on are one row.
LogicalResult hardmaxOfRows(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), in.rank());
  if (!axis)
    return failure();
  Extents rows(in.shape.begin(), in.shape.begin() + *axis);
  AffineExpr length = l.constant(1);
  for (AffineExpr extent : ArrayRef(in.shape).drop_front(*axis))
    length = length * extent;
  rows.push_back(length);
  auto flat = l.reshape(in, rows);
  auto result = succeeded(flat) ? hardmaxAlong(l, *flat, *axis) : flat;
  return finish(l, succeeded(result) ? l.reshape(*result, in.shape) : result);
}

// Elements on one side of a diagonal; zero elsewhere.
LogicalResult trilu(Lowering &l) {
  LoweredValue &in = l.input(0);
  if (in.rank() < 2) {
    l.error() << "wanted is a tensor of rank 2 or more, not of shape " << l.print(in.shape);
    return failure();
  }
  bool upper = l.intAttr("upper", 1);
  LoweredValue row = positions(l, in.shape, in.rank() - 2), column = positions(l, in.shape, in.rank() - 1);
  LoweredValue k = l.hasInput(1) ? l.input(1) : l.splatValue(l.b.getI64IntegerAttr(0), {});
  if (k.rank() == 1 && k.shape[0] == l.constant(1)) {
    auto scalar = l.reshape(k, {});
    if (failed(scalar))
      return failure();
    k = *scalar;
  }
  return finish(l, l.elementwise({&in, &row, &column, &k}, in.elementType, [&](OpBuilder &b, Location loc, ValueRange a) {
    Value diagonal = b.createOrFold<arith::AddIOp>(loc, a[1], a[3]);
    Value inside = b.createOrFold<arith::CmpIOp>(loc, upper ? arith::CmpIPredicate::sge : arith::CmpIPredicate::sle, a[2],
                                                 diagonal);
    return b.createOrFold<arith::SelectOp>(loc, inside, a[0], number(b, loc, in.elementType, 0));
  }));
}

LogicalResult eyeLike(Lowering &l) {
  LoweredValue &in = l.input(0);
  if (in.rank() != 2) {
    l.error() << "wanted is a tensor of rank 2, not of shape " << l.print(in.shape);
    return failure();
  }
  Type type = in.elementType;
  if (l.attr("dtype") && !(type = l.dataType(l.intAttr("dtype", 0)))) {
    l.error() << "element type " << l.intAttr("dtype", 0) << " is not supported";
    return failure();
  }
  LoweredValue row = positions(l, in.shape, 0), column = positions(l, in.shape, 1);
  int64_t k = l.intAttr("k", 0);
  return finish(l, l.elementwise({&row, &column}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    Value shift = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(k));
    Value on = equal(b, loc, a[1], b.createOrFold<arith::AddIOp>(loc, a[0], shift));
    return b.createOrFold<arith::SelectOp>(loc, on, number(b, loc, type, 1), number(b, loc, type, 0));
  }));
}

// Where a few indices and the values are known, the result is: exporters choose repeats and shapes in this way.
std::optional<LoweredValue> knownOneHot(Lowering &l, LoweredValue &indices, AffineExpr depth, LoweredValue &values, int64_t axis) {
  constexpr int64_t kMostElements = 64;
  auto chosen = indices.rank() <= 1 ? l.constantInts(indices) : std::nullopt;
  auto offOn = values.rank() == 1 ? l.list(values) : std::nullopt;
  auto extent = dyn_cast<AffineConstantExpr>(depth);
  int64_t count = chosen ? chosen->size() : 0, room = extent ? extent.getValue() : 0;
  if (!chosen || !offOn || offOn->size() != 2 || !extent || room < 0 || room > kMostElements || count * room > kMostElements)
    return std::nullopt;
  SmallVector<int64_t> shape = {room};
  if (indices.rank())
    shape.insert(shape.begin() + (1 - axis), count);
  Extents elements;
  for (int64_t at = 0; at < count * room; ++at) {
    int64_t which = axis == 0 ? at % count : at / room, place = axis == 0 ? at / count : at % room, index = (*chosen)[which];
    elements.push_back((*offOn)[(index < 0 ? index + room : index) == place]);
  }
  return l.tableValue(values.elementType, elements, shape);
}

// indices[i..] -> result[i.., depth] with values[1] where the last index is the one named, values[0] elsewhere.
LogicalResult oneHot(Lowering &l) {
  LoweredValue &indices = l.input(0), &values = l.input(2);
  auto depth = l.ints(l.input(1));
  if (auto floats = depth ? std::nullopt : l.constantFloats(l.input(1)); floats && floats->size() == 1)
    depth = Extents{l.constant(static_cast<int64_t>((*floats)[0]))};
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), indices.rank() + 1);
  if (!axis)
    return failure();
  if (!depth || depth->size() != 1) {
    l.error() << "a depth that is computed from data is not supported; give it with --value";
    return failure();
  }
  if (auto known = knownOneHot(l, indices, (*depth)[0], values, *axis)) {
    l.define(0, *known);
    return success();
  }
  auto spread = withAxis(l, indices, *axis);
  if (failed(spread))
    return failure();
  Extents shape = spread->shape;
  shape[*axis] = (*depth)[0];
  std::vector<LoweredValue> offOn;
  for (int64_t i : {0, 1}) {
    LoweredValue one = l.slice(values, {l.constant(i)}, {l.constant(1)}, {1});
    auto scalar = l.reshape(one, {});
    if (failed(scalar))
      return failure();
    offOn.push_back(*scalar);
  }
  LoweredValue index = positions(l, shape, *axis);
  AffineExpr extent = (*depth)[0];
  return finish(l, l.elementwise({&*spread, &index, &offOn[0], &offOn[1]}, values.elementType,
                                 [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    Value at = convert(b, loc, a[0], indices.elementType, b.getI64Type());
    Value fromEnd = b.createOrFold<arith::AddIOp>(loc, at, l.scalarOf(b, loc, extent, b.getI64Type()));
    Value hit = b.createOrFold<arith::OrIOp>(loc, equal(b, loc, at, a[1]), equal(b, loc, fromEnd, a[1]));
    return b.createOrFold<arith::SelectOp>(loc, hit, a[3], a[2]);
  }));
}

// Blocks of an image against channels: a transposition between two reshapes.
template <bool ToSpace> LogicalResult blocks(Lowering &l) {
  LoweredValue &in = l.input(0);
  int64_t size = l.intAttr("blocksize", 0);
  if (in.rank() != 4 || size < 1) {
    l.error() << "wanted are an image of rank 4 and a blocksize above 0, not shape " << l.print(in.shape) << " and " << size;
    return failure();
  }
  bool columnFirst = l.stringAttr("mode", "DCR") == "CRD"; // channels outside of the places in a block
  AffineExpr n = in.shape[0], c = in.shape[1], h = in.shape[2], w = in.shape[3], block = l.constant(size);
  auto over = [&](AffineExpr extent, int64_t by) { return l.quotient(extent, l.constant(by)).value_or(AffineExpr()); };
  AffineExpr divided = ToSpace ? over(c, size * size) : c, rows = ToSpace ? h : over(h, size), columns = ToSpace ? w : over(w, size);
  if (!divided || !rows || !columns) {
    l.error() << "shape " << l.print(in.shape) << " does not divide into blocks of " << size
              << "; give a dim in steps of that, as --dim NAME=MIN..MAX:STEP";
    return failure();
  }
  Extents wide, result;
  SmallVector<int64_t> permutation;
  if (ToSpace) {
    wide = columnFirst ? Extents{n, divided, block, block, h, w} : Extents{n, block, block, divided, h, w};
    permutation = columnFirst ? SmallVector<int64_t>{0, 1, 4, 2, 5, 3} : SmallVector<int64_t>{0, 3, 4, 1, 5, 2};
    result = {n, divided, h * size, w * size};
  } else {
    wide = {n, c, rows, block, columns, block};
    permutation = columnFirst ? SmallVector<int64_t>{0, 1, 3, 5, 2, 4} : SmallVector<int64_t>{0, 3, 5, 1, 2, 4};
    result = {n, c * size * size, rows, columns};
  }
  auto split = l.reshape(in, wide);
  if (failed(split))
    return failure();
  auto moved = l.transpose(*split, permutation);
  return finish(l, failed(moved) ? FailureOr<LoweredValue>(failure()) : l.reshape(*moved, result));
}
} // namespace

void snug::addPositionOps(LoweringTable &t) {
  t.add("ArgMax", 1, argExtreme<Reduction::Max>);
  t.add("ArgMin", 1, argExtreme<Reduction::Min>);
  t.add("Hardmax", 1, hardmaxOfRows);
  t.add("Hardmax", 13, hardmax);
  t.add("Trilu", 14, trilu);
  t.add("EyeLike", 9, eyeLike);
  t.add("OneHot", 9, oneHot);
  t.add("DepthToSpace", 1, blocks<true>, types::Any);
  t.add("SpaceToDepth", 1, blocks<false>, types::Any);
}
