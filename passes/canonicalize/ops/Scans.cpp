// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops whose steps along one dim follow each other: cumulative sums and products, sorts, and recurrences with a state.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
template <bool Product> LogicalResult cumulate(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto given = l.constantInts(l.input(1));
  if (!given || given->size() != 1)
    return l.error() << "an axis that is computed from data is not supported; give it with --value";
  auto axis = l.normalizeAxis((*given)[0], x.rank());
  if (!axis)
    return failure();
  Value input = l.tensor(x), init = l.empty(x.shape, x.elementType);
  auto op = nn::ScanOp::create(l.b, l.loc(), init.getType(), input, init, Product ? nn::ScanKind::Product : nn::ScanKind::Sum, *axis,
                               l.intAttr("exclusive", 0) != 0, l.intAttr("reverse", 0) != 0);
  l.define(0, l.tensorValue(op->getResult(0), x.shape, x.elementType));
  return success();
}

LogicalResult topK(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), x.rank());
  if (!axis)
    return failure();
  std::optional<Extents> k = l.attr("k") ? Extents{l.constant(l.intAttr("k", 0))} : l.ints(l.input(1));
  auto isOne = [&](AffineExpr extent) { return extent == l.constant(1); };
  if (k ? k->size() != 1 : !llvm::all_of(l.input(1).shape, isOne))
    return l.error() << "a k of shape " << l.print(l.input(1).shape) << " is not one number";
  bool isData = !k;
  if (isData) // there are no more than all
    k = Extents{l.dataExtent(l.input(1), x.shape[*axis])};
  AffineExpr count = k->front();
  auto least = l.dims.lowerBound(count), room = l.dims.lowerBound(x.shape[*axis] - count);
  if (!isData && (!least || *least < 0 || !room || *room < 0))
    return l.error() << "k = " << l.dims.print(count) << " elements of " << l.dims.print(x.shape[*axis])
                     << " are not there for all dims";
  Extents shape = x.shape;
  shape[*axis] = count;
  Value values = l.empty(shape, x.elementType), places = l.empty(shape, l.b.getI64Type()), input = l.tensor(x);
  auto op = nn::TopKOp::create(l.b, l.loc(), TypeRange{values.getType(), places.getType()}, input, values, places, *axis,
                               l.intAttr("largest", 1) != 0, isUnsigned(x.elementType));
  l.define(0, l.tensorValue(op->getResult(0), shape, x.elementType));
  l.define(1, l.tensorValue(op->getResult(1), shape, l.b.getI64Type()));
  return success();
}

Value silu(ScalarCode &c, Value x) {
  Value one = c.number(x.getType(), 1), zero = c.number(x.getType(), 0);
  return c.div(x, c.add(one, math::ExpOp::create(c.b, c.loc, c.sub(zero, x))));
}

// A depthwise convolution over what came before, the last of it handed on.
LogicalResult causalConvolution(Lowering &l) {
  LoweredValue x = l.input(0), w = l.input(1);
  StringRef activation = l.stringAttr("activation", "none");
  bool hasBias = l.hasInput(2), hasPast = l.hasInput(3), activates = activation != "none";
  auto type = dyn_cast<FloatType>(x.elementType);
  if (x.rank() != 3 || w.rank() != 3 || !type || w.elementType != type || !l.same(x.shape[1], w.shape[0]))
    return l.error() << "a weight of shape " << l.print(w.shape) << " does not fit an input of shape " << l.print(x.shape);
  if (activates && activation != "silu" && activation != "swish")
    return l.error() << "activation '" << activation << "' is none that the standard knows";
  AffineExpr taps = w.shape[2];
  // Element `at` of the past and the input, one after the other.
  auto element = [&](ScalarCode &c, ScalarKernel &kernel, unsigned input, unsigned past, ValueRange row, Value at) {
    Value before = c.sub(l.materialize(taps), c.index(1));
    return c.ifElse(
        c.less(at, before),
        [&]() -> ScalarCode::Values {
          return {hasPast ? c.load(past, {row[0], row[1], at}) : c.number(kernel.computedType(input), 0)};
        },
        [&]() -> ScalarCode::Values { return {c.load(input, {row[0], row[1], c.sub(at, before)})}; })[0];
  };
  constexpr int any = ScalarKernel::Any;
  ScalarKernel kernel(l, 3);
  unsigned input = kernel.read(x, {0, 1, any}), weight = kernel.read(w, {1, any, any}), bias = 0, past = 0;
  if (hasBias)
    bias = kernel.read(l.input(2), {1});
  if (hasPast)
    past = kernel.read(l.input(3), {0, 1, any});
  unsigned to = kernel.write(x.shape, type, {0, 1, 2});
  Type real = kernel.computedType(to);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Value first = c.place(2), start = hasBias ? c.load(bias, {i[1]}) : c.number(real, 0);
    Value sum = c.sum(c.index(0), c.extent(weight, 2), start, [&](Value tap, Value total) {
      Value factor = c.load(weight, {i[1], c.index(0), tap});
      return c.add(total, c.mul(factor, element(c, kernel, input, past, i, c.add(first, tap))));
    });
    if (activates) // of the convolution as it would be stored
      sum = silu(c, real == type ? sum : c.convert(c.convert(sum, type), real));
    c.store(sum, to, i);
  })[0]);
  ScalarKernel tail(l, 3);
  input = tail.read(x, {0, 1, any});
  if (hasPast)
    past = tail.read(l.input(3), {0, 1, any});
  to = tail.write({x.shape[0], x.shape[1], taps - 1}, type, {0, 1, 2});
  l.define(1, tail.build([&](ScalarCode &c, ValueRange i) {
    c.store(element(c, tail, input, past, i, c.add(c.place(2), c.extent(input, 2))), to, i);
  })[0]);
  return success();
}

// Attention without softmax: a state (key size x value size) a head that each row adds to and reads. Columns of the
// state are apart from each other.
LogicalResult linearAttention(Lowering &l) {
  LoweredValue q = l.input(0), k = l.input(1), v = l.input(2);
  int64_t queryHeads = l.intAttr("q_num_heads", 0), heads = l.intAttr("kv_num_heads", 0);
  StringRef rule = l.stringAttr("update_rule", "gated_delta");
  bool decays = rule == "gated" || rule == "gated_delta", corrects = rule == "delta" || rule == "gated_delta";
  if ((!decays && !corrects && rule != "linear") || decays != l.hasInput(4) || corrects != l.hasInput(5))
    return l.error() << "update_rule '" << rule << "' with these inputs is none that the standard knows";
  if (!computesInF32(q.elementType) || queryHeads < 1 || heads < 1 || queryHeads % heads != 0 || q.rank() != 3 ||
      k.rank() != 3 || v.rank() != 3 || !l.same(q.shape[1], k.shape[1]) || !l.same(q.shape[1], v.shape[1]) ||
      !l.same(q.shape[0], k.shape[0]) || !l.same(q.shape[0], v.shape[0]))
    return l.error() << "Q, K and V of shapes " << l.print(q.shape) << ", " << l.print(k.shape) << ", " << l.print(v.shape)
                     << " and type " << q.elementType << " do not give " << queryHeads << " and " << heads << " heads";
  auto type = cast<FloatType>(q.elementType);
  int64_t group = queryHeads / heads;
  AffineExpr batch = q.shape[0], length = q.shape[1], h = l.constant(heads), g = l.constant(group);
  AffineExpr d = q.shape[2].floorDiv(queryHeads), m = v.shape[2].floorDiv(heads);
  double scale = l.floatAttr("scale", 0);
  auto q5 = l.reshape(q, {batch, length, h, g, d}), k4 = l.reshape(k, {batch, length, h, d});
  auto v4 = l.reshape(v, {batch, length, h, m});
  if (failed(q5) || failed(k4) || failed(v4))
    return failure();
  constexpr int any = ScalarKernel::Any;
  ScalarKernel kernel(l, 3); // batch, head, column
  unsigned query = kernel.read(*q5, {0, any, 1, any, any}), key = kernel.read(*k4, {0, any, 1, any});
  unsigned value = kernel.read(*v4, {0, any, 1, 2}), past = 0, decay = 0, beta = 0;
  bool hasPast = l.hasInput(3), decaysByRow = false, sharesBeta = false;
  if (hasPast)
    past = kernel.read(l.input(3), {0, 1, any, 2});
  if (decays) {
    AffineExpr extent = l.input(4).shape.back();
    auto least = l.dims.lowerBound(extent - h);
    decaysByRow = extent != h && ((least && *least > 0) || l.same(extent, h * d));
    auto shaped = decaysByRow ? l.reshape(l.input(4), {batch, length, h, d}) : FailureOr<LoweredValue>(l.input(4));
    if (failed(shaped))
      return failure();
    decay = kernel.read(*shaped, decaysByRow ? ArrayRef<int>{0, any, 1, any} : ArrayRef<int>{0, any, 1});
  }
  if (corrects) {
    sharesBeta = l.input(5).shape.back() == l.constant(1) && heads != 1;
    beta = kernel.read(l.input(5), sharesBeta ? ArrayRef<int>{0, any, any} : ArrayRef<int>{0, any, 1});
  }
  Type f32 = l.b.getF32Type(), stateType = hasPast ? l.input(3).elementType : Type(type);
  unsigned to = kernel.write({batch, length, h, g, m}, type, {0, any, 1, any, 2});
  unsigned state = kernel.write({batch, h, d, m}, f32, {0, 1, any, 2});
  std::vector<LoweredValue> results = kernel.build([&](ScalarCode &c, ValueRange i) {
    Value factor = c.number(f32, scale);
    if (scale == 0)
      factor = c.div(c.number(f32, 1), math::SqrtOp::create(c.b, c.loc, c.convert(c.extent(state, 2), f32)));
    Value b = i[0], head = i[1], column = i[2], zero = c.index(0), rows = c.extent(state, 2), none = c.number(f32, 0);
    auto stateAt = [&](Value row) { return SmallVector<Value>{b, head, row, column}; };
    c.loop(rows, [&](Value row) {
      c.store(hasPast ? c.convert(c.load(past, stateAt(row)), f32) : none, state, stateAt(row));
    });
    c.loop(c.extent(to, 1), [&](Value t) {
      auto keyAt = [&](Value row) { return c.load(key, {b, t, head, row}); };
      if (decays)
        c.loop(rows, [&](Value row) {
          SmallVector<Value> place{b, t, head};
          if (decaysByRow)
            place.push_back(row);
          Value share = math::ExpOp::create(c.b, c.loc, c.load(decay, place));
          c.store(c.mul(c.load(state, stateAt(row)), share), state, stateAt(row));
        });
      Value fresh = c.load(value, {b, t, head, column});
      if (corrects) {
        Value found = c.sum(zero, rows, none, [&](Value row, Value total) {
          return c.add(total, c.mul(c.load(state, stateAt(row)), keyAt(row)));
        });
        Value share = c.load(beta, {b, t, sharesBeta ? zero : head});
        fresh = c.mul(share, c.sub(fresh, found));
      }
      c.loop(rows, [&](Value row) {
        c.store(c.add(c.load(state, stateAt(row)), c.mul(keyAt(row), fresh)), state, stateAt(row));
      });
      c.loop(c.extent(to, 3), [&](Value member) {
        Value read = c.sum(zero, rows, none, [&](Value row, Value total) {
          Value element = c.load(query, {b, t, head, member, row});
          return c.add(total, c.mul(element, c.load(state, stateAt(row))));
        });
        c.store(c.mul(read, factor), to, {b, t, head, member, column});
      });
    });
  });
  auto y = l.reshape(results[0], {batch, length, m * queryHeads});
  if (failed(y))
    return failure();
  l.define(0, *y);
  if (stateType == f32) {
    l.define(1, results[1]);
    return success();
  }
  auto present = l.elementwise({&results[1]}, stateType, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.convert(a[0], stateType);
  });
  if (failed(present))
    return failure();
  l.define(1, *present);
  return success();
}
} // namespace

void snug::addScanOps(LoweringTable &t) {
  t.add("CumSum", 11, cumulate<false>);
  t.add("CumProd", 26, cumulate<true>);
  t.add("TopK", 1, topK);
  t.add("CausalConvWithState", 27, causalConvolution);
  t.add("LinearAttention", 27, linearAttention);
}
