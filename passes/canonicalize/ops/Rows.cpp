// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that look at whole rows or planes: softmax and the normalizations.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Rows.h"

using namespace mlir;
using namespace snug;

FailureOr<LoweredValue> snug::softmaxAlong(Lowering &l, LoweredValue &in, int64_t axis) {
  // The kernel works on the last dim: other axes go there and back.
  SmallVector<int64_t> permutation;
  for (int64_t dim = 0; dim < in.rank(); ++dim)
    permutation.push_back(dim == in.rank() - 1 ? axis : dim == axis ? in.rank() - 1 : dim);
  bool last = axis == in.rank() - 1;
  auto rows = last ? FailureOr<LoweredValue>(in) : l.transpose(in, permutation);
  if (failed(rows))
    return failure();
  Value init = l.empty(rows->shape, rows->elementType);
  auto op = nn::SoftmaxOp::create(l.b, l.loc(), init.getType(), l.tensor(*rows), init, l.b.getF32FloatAttr(1));
  LoweredValue result = l.tensorValue(op->getResult(0), rows->shape);
  return last ? FailureOr<LoweredValue>(result) : l.transpose(result, permutation);
}

namespace {
LogicalResult define(Lowering &l, FailureOr<LoweredValue> value) {
  if (failed(value))
    return failure();
  l.define(0, *value);
  return success();
}

LogicalResult softmax(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  return axis ? define(l, softmaxAlong(l, in, *axis)) : failure();
}

// The shape with the dims from `axis` on as one.
Extents rowsFrom(Lowering &l, const LoweredValue &in, int64_t axis) {
  Extents rows(in.shape.begin(), in.shape.begin() + axis);
  AffineExpr length = l.constant(1);
  for (AffineExpr extent : ArrayRef(in.shape).drop_front(axis))
    length = length * extent;
  rows.push_back(length);
  return rows;
}

// Before opset 13 the dims from the axis on are one row.
LogicalResult softmaxOfRows(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), in.rank());
  if (!axis)
    return failure();
  Extents rows = rowsFrom(l, in, *axis);
  auto flat = l.reshape(in, rows);
  if (failed(flat))
    return failure();
  Value init = l.empty(rows, in.elementType);
  auto op = nn::SoftmaxOp::create(l.b, l.loc(), init.getType(), l.tensor(*flat), init, l.b.getF32FloatAttr(1));
  LoweredValue result = l.tensorValue(op->getResult(0), rows);
  auto back = l.reshape(result, in.shape);
  if (failed(back))
    return failure();
  l.define(0, *back);
  return success();
}

// Mean and 1 / deviation of each row, as the first and second output behind the norm's own.
LogicalResult moments(Lowering &l, const LoweredValue &in, LoweredValue &rows, double epsilon) {
  auto isUsed = [&](unsigned result) {
    return result < l.node()->getNumResults() && !l.node()->getResult(result).use_empty();
  };
  if (!isUsed(1) && !isUsed(2))
    return success();
  Type type = rows.elementType, real = computeType(cast<FloatType>(type));
  Extents kept = rows.shape, outer = in.shape;
  kept.back() = l.constant(1);
  for (size_t dim = kept.size() - 1; dim < outer.size(); ++dim)
    outer[dim] = l.constant(1);
  SmallVector<bool> reduced(rows.rank(), false);
  reduced.back() = true;
  auto mean = [&](LoweredValue &value) -> FailureOr<LoweredValue> {
    LoweredValue sum = l.reduce(Reduction::Sum, value, reduced);
    auto divided = l.elementwise({&sum}, real, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      Value n = arith::SIToFPOp::create(b, loc, real, l.scalarOf(b, loc, rows.shape.back(), b.getI64Type()));
      return b.createOrFold<arith::DivFOp>(loc, x[0], n);
    });
    return succeeded(divided) ? l.reshape(*divided, kept) : divided;
  };
  auto wide = l.elementwise({&rows}, real, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return extendToCompute(b, loc, x[0]);
  });
  auto middle = succeeded(wide) ? mean(*wide) : wide;
  if (failed(middle))
    return failure();
  auto squares = l.elementwise({&*wide, &*middle}, real, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value difference = b.createOrFold<arith::SubFOp>(loc, x[0], x[1]);
    return b.createOrFold<arith::MulFOp>(loc, difference, difference);
  });
  auto variance = succeeded(squares) ? mean(*squares) : squares;
  if (failed(variance))
    return failure();
  auto inverse = l.elementwise({&*variance}, real, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value e = arith::ConstantOp::create(b, loc, b.getFloatAttr(real, epsilon));
    Value root = b.createOrFold<math::SqrtOp>(loc, b.createOrFold<arith::AddFOp>(loc, x[0], e));
    return b.createOrFold<arith::DivFOp>(loc, arith::ConstantOp::create(b, loc, b.getFloatAttr(real, 1)), root);
  });
  // They are of the type that the norm computes in, or of the input's where that is said.
  Type stored = l.intAttr("stash_type", 1) == 1 ? Type(real) : type;
  FailureOr<LoweredValue> values[] = {middle, inverse};
  for (auto [index, value] : llvm::enumerate(values)) {
    auto shaped = succeeded(value) ? l.reshape(*value, outer) : value;
    auto rounded = succeeded(shaped) && stored != real
                       ? l.elementwise({&*shaped}, stored, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
                           return roundToStore(b, loc, x[0], stored);
                         })
                       : shaped;
    if (failed(rounded))
      return failure();
    l.define(1 + index, *rounded);
  }
  return success();
}

// The trailing dims [axis..) as one row.
LogicalResult norm(Lowering &l, nn::NormKind kind) {
  LoweredValue in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  if (!axis)
    return failure();
  Extents rows = rowsFrom(l, in, *axis);
  auto x = l.reshape(in, rows);
  if (failed(x))
    return failure();
  auto vector = [&](unsigned index) -> FailureOr<Value> {
    if (!l.hasInput(index))
      return Value();
    auto flat = l.reshape(l.input(index), {rows.back()});
    if (failed(flat))
      return failure();
    return l.tensor(*flat);
  };
  auto scale = vector(1), shift = kind == nn::NormKind::Layer ? vector(2) : FailureOr<Value>(Value());
  if (failed(scale) || failed(shift))
    return failure();
  Value init = l.empty(rows, in.elementType);
  auto op = nn::NormOp::create(l.b, l.loc(), init.getType(), l.tensor(*x), *scale, *shift, init, nn::NormKindAttr::get(l.b.getContext(), kind),
                               l.b.getF32FloatAttr(l.floatAttr("epsilon", 1e-5)));
  if (kind == nn::NormKind::Layer && failed(moments(l, in, *x, l.floatAttr("epsilon", 1e-5))))
    return failure();
  LoweredValue result = l.tensorValue(op->getResult(0), rows);
  return define(l, l.reshape(result, in.shape));
}
LogicalResult layerNorm(Lowering &l) { return norm(l, nn::NormKind::Layer); }
LogicalResult rmsNorm(Lowering &l) { return norm(l, nn::NormKind::Rms); }

LogicalResult logSoftmax(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), in.rank());
  return axis ? define(l, logSoftmaxAlong(l, in, *axis)) : failure();
}

// Before opset 13 the dims from the axis on are one row.
LogicalResult logSoftmaxOfRows(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), in.rank());
  auto flat = axis ? l.reshape(in, rowsFrom(l, in, *axis)) : FailureOr<LoweredValue>(failure());
  auto rows = succeeded(flat) ? logSoftmaxAlong(l, *flat, *axis) : flat;
  return define(l, succeeded(rows) ? l.reshape(*rows, in.shape) : rows);
}

bool isAll(const LoweredValue &value, double number) {
  auto splat = dyn_cast_or_null<FloatAttr>(value.splat);
  return splat && splat.getValueAsDouble() == number;
}

// x * factor[c] + shift[c] over (n, c, ...).
FailureOr<LoweredValue> perChannel(Lowering &l, LoweredValue &x, LoweredValue &factor, LoweredValue &shift) {
  if (isAll(factor, 1) && isAll(shift, 0)) // as exporters write group normalization
    return x;
  Extents shape(x.rank() - 1, l.constant(1));
  shape[0] = x.shape[1];
  auto a = l.reshape(factor, shape), c = l.reshape(shift, shape);
  if (failed(a) || failed(c))
    return failure();
  return l.elementwise({&x, &*a, &*c}, x.elementType, [](OpBuilder &b, Location loc, ValueRange v) -> Value {
    return b.createOrFold<arith::AddFOp>(loc, b.createOrFold<arith::MulFOp>(loc, v[0], v[1]), v[2]);
  });
}

// Mean and variance of each channel over all other dims.
FailureOr<std::pair<LoweredValue, LoweredValue>> channelMoments(Lowering &l, LoweredValue &x) {
  auto real = dyn_cast<FloatType>(x.elementType);
  SmallVector<bool> reduced(x.rank(), true);
  reduced[1] = false;
  Extents spread(x.rank(), l.constant(1));
  spread[1] = x.shape[1];
  AffineExpr count = l.constant(1);
  for (auto [dim, extent] : llvm::enumerate(x.shape))
    count = dim == 1 ? count : count * extent;
  auto mean = [&](LoweredValue &value) {
    LoweredValue sum = l.reduce(Reduction::Sum, value, reduced);
    return l.elementwise({&sum}, real, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      Value n = arith::SIToFPOp::create(b, loc, real, l.scalarOf(b, loc, count, b.getI64Type()));
      return b.createOrFold<arith::DivFOp>(loc, a[0], n);
    });
  };
  auto middle = mean(x);
  auto wide = succeeded(middle) ? l.reshape(*middle, spread) : middle;
  if (failed(wide))
    return failure();
  auto squares = l.elementwise({&x, &*wide}, real, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
    Value difference = b.createOrFold<arith::SubFOp>(loc, a[0], a[1]);
    return b.createOrFold<arith::MulFOp>(loc, difference, difference);
  });
  auto variance = succeeded(squares) ? mean(*squares) : squares;
  if (failed(variance))
    return failure();
  return std::pair(*middle, *variance);
}

LogicalResult batchNorm(Lowering &l) {
  LoweredValue x = l.input(0), scale = l.input(1), shift = l.input(2), mean = l.input(3), variance = l.input(4);
  int64_t opset = l.node().getOpset();
  bool trains = opset >= 14 ? l.intAttr("training_mode", 0) : opset < 7 && !l.intAttr("is_test", 0);
  if (x.rank() < 2 || !isa<FloatType>(x.elementType) || !l.intAttr("spatial", 1)) {
    l.error() << "an input of shape " << l.print(x.shape) << " and type " << x.elementType
              << " or statistics that are not of channels are not supported";
    return failure();
  }
  if (trains) {
    auto own = channelMoments(l, x);
    if (failed(own))
      return failure();
    double momentum = l.floatAttr("momentum", 0.9);
    for (auto [index, old, fresh] : {std::tuple(1u, &mean, &own->first), std::tuple(2u, &variance, &own->second)}) {
      auto next = l.elementwise({old, fresh}, old->elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
        auto share = [&](Value value, double factor) {
          return b.createOrFold<arith::MulFOp>(loc, value, arith::ConstantOp::create(b, loc, b.getFloatAttr(a[0].getType(), factor)));
        };
        return b.createOrFold<arith::AddFOp>(loc, share(a[0], momentum), share(a[1], 1 - momentum));
      });
      if (failed(next))
        return failure();
      l.define(index, *next);
    }
    mean = own->first;
    variance = own->second;
  }
  double epsilon = l.floatAttr("epsilon", 1e-5);
  auto factor = l.elementwise({&scale, &variance}, scale.elementType, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Value e = arith::ConstantOp::create(b, loc, b.getFloatAttr(v[1].getType(), epsilon));
    Value deviation = b.createOrFold<math::SqrtOp>(loc, b.createOrFold<arith::AddFOp>(loc, v[1], e));
    return b.createOrFold<arith::DivFOp>(loc, v[0], deviation);
  });
  if (failed(factor))
    return failure();
  auto offset = l.elementwise({&shift, &mean, &*factor}, shift.elementType, [](OpBuilder &b, Location loc, ValueRange v) -> Value {
    return b.createOrFold<arith::SubFOp>(loc, v[0], b.createOrFold<arith::MulFOp>(loc, v[1], v[2]));
  });
  auto result = succeeded(offset) ? perChannel(l, x, *factor, *offset) : offset;
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// Channels in groups, each normalized over all it has; `groups` of 0 is one for every channel.
LogicalResult planesNorm(Lowering &l, int64_t groups, bool scalesGroups) {
  LoweredValue &x = l.input(0), scale = l.input(1), shift = l.input(2);
  auto perGroup = x.rank() < 3 || groups < 0 ? std::nullopt
                  : groups                    ? l.quotient(x.shape[1], l.constant(groups))
                                              : std::optional<AffineExpr>(l.constant(1));
  if (!perGroup || !isa<FloatType>(x.elementType)) {
    l.error() << "an input of shape " << l.print(x.shape) << " is not supported; channels must fill the " << groups
              << " groups for all dims (--dim NAME=MIN..MAX:STEP)";
    return failure();
  }
  AffineExpr length = *perGroup;
  for (AffineExpr extent : ArrayRef(x.shape).drop_front(2))
    length = length * extent;
  Extents rows = {x.shape[0], groups ? l.constant(groups) : x.shape[1], length};
  auto flat = l.reshape(x, rows);
  if (failed(flat))
    return failure();
  Value init = l.empty(rows, x.elementType);
  auto op = nn::NormOp::create(l.b, l.loc(), init.getType(), l.tensor(*flat), Value(), Value(), init,
                               nn::NormKindAttr::get(l.b.getContext(), nn::NormKind::Layer),
                               l.b.getF32FloatAttr(l.floatAttr("epsilon", 1e-5)));
  LoweredValue normal = l.tensorValue(op->getResult(0), rows);
  if (scalesGroups) {
    auto scaled = perChannel(l, normal, scale, shift);
    if (failed(scaled))
      return failure();
    normal = *scaled;
  }
  auto back = l.reshape(normal, x.shape);
  auto result = succeeded(back) && !scalesGroups ? perChannel(l, *back, scale, shift) : back;
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
LogicalResult instanceNorm(Lowering &l) { return planesNorm(l, 0, false); }
LogicalResult groupNorm18(Lowering &l) { return planesNorm(l, l.intAttr("num_groups", -1), true); }
LogicalResult groupNorm(Lowering &l) { return planesNorm(l, l.intAttr("num_groups", -1), false); }
} // namespace

// log(softmax x) as x - max - log(sum(exp(x - max))): the exponentials would round to 0 far below the maximum.
FailureOr<LoweredValue> snug::logSoftmaxAlong(Lowering &l, LoweredValue &in, int64_t axis) {
  if (!isa<FloatType>(in.elementType)) {
    l.error() << "only floating-point inputs are supported";
    return failure();
  }
  SmallVector<bool> reduced(in.rank(), false);
  reduced[axis] = true;
  Extents kept = in.shape;
  kept[axis] = l.constant(1);
  auto over = [&](Reduction kind, LoweredValue &value) {
    LoweredValue result = l.reduce(kind, value, reduced);
    return l.reshape(result, kept);
  };
  auto most = over(Reduction::Max, in);
  if (failed(most))
    return failure();
  auto difference = l.elementwise({&in, &*most}, in.elementType, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<arith::SubFOp>(loc, x[0], x[1]);
  });
  if (failed(difference))
    return failure();
  auto power = l.elementwise({&*difference}, in.elementType, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<math::ExpOp>(loc, x[0]);
  });
  auto sum = succeeded(power) ? over(Reduction::Sum, *power) : power;
  if (failed(sum))
    return failure();
  return l.elementwise({&*difference, &*sum}, in.elementType, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<arith::SubFOp>(loc, x[0], b.createOrFold<math::LogOp>(loc, x[1]));
  });
}

void snug::addRowOps(LoweringTable &t) {
  t.add("Softmax", 1, softmaxOfRows);
  t.add("Softmax", 13, softmax);
  t.add("LayerNormalization", 17, layerNorm);
  t.add("RMSNormalization", 23, rmsNorm);
  t.add("LogSoftmax", 1, logSoftmaxOfRows);
  t.add("LogSoftmax", 13, logSoftmax);
  t.add("BatchNormalization", 9, batchNorm);
  t.add("InstanceNormalization", 6, instanceNorm);
  t.add("GroupNormalization", 18, groupNorm18);
  t.add("GroupNormalization", 21, groupNorm);
}
