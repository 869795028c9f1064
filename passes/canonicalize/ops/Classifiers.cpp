// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: linear models, and what classifiers make of scores.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/Strings.h"

using namespace mlir;
using namespace snug;

// --- scores -------------------------------------------------------------------------------------------------------

FailureOr<LoweredValue> snug::linearScores(Lowering &l, LoweredValue &x, int64_t outputs, ArrayRef<double> intercepts) {
  auto coefficients = floatsAttr(l, "coefficients");
  auto features = x.rank() == 2 ? x.shape[1] : AffineExpr();
  int64_t count = coefficients && outputs > 0 ? static_cast<int64_t>(coefficients->size()) / outputs : 0;
  if (!features || count < 1 || static_cast<int64_t>(coefficients->size()) % outputs || !l.same(features, l.constant(count)) ||
      (!intercepts.empty() && static_cast<int64_t>(intercepts.size()) != outputs)) {
    l.error() << "coefficients or intercepts do not fit an input of shape " << l.print(x.shape);
    return failure();
  }
  FloatType f32 = l.b.getF32Type();
  LoweredValue weights = listOf(l, *coefficients, f32), bias = listOf(l, intercepts, f32);
  bool hasBias = !intercepts.empty();
  ScalarKernel kernel(l, 2);
  unsigned from = kernel.read(x, {0, ScalarKernel::Any}), factors = kernel.read(weights, {ScalarKernel::Any});
  unsigned shift = hasBias ? kernel.read(bias, {1}) : 0, to = kernel.write({x.shape[0], l.constant(outputs)}, f32, {0, 1});
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Value first = c.mul(c.place(1), c.index(count)), start = hasBias ? c.load(shift, {i[1]}) : c.number(f32, 0);
    Value sum = c.sum(c.index(0), c.index(count), start, [&](Value k, Value total) {
      return c.add(total, c.mul(c.convert(c.load(from, {i[0], k}), f32), c.load(factors, {c.add(first, k)})));
    });
    c.store(sum, to, i);
  })[0];
}

namespace {
constexpr int kAny = ScalarKernel::Any;

Value exponential(ScalarCode &c, Value x) { return math::ExpOp::create(c.b, c.loc, x); }
Value negative(ScalarCode &c, Value x) { return c.sub(c.number(x.getType(), 0), x); }

} // namespace

Value snug::logistic(ScalarCode &c, Value x) {
  Value one = c.number(x.getType(), 1), isBelow = c.less(x, c.number(x.getType(), 0));
  Value small = exponential(c, c.select(isBelow, x, negative(c, x))), upper = c.div(one, c.add(one, small));
  return c.select(isBelow, c.sub(one, upper), upper);
}

namespace {
// The normal distribution's quantile, by Winitzki's approximation of the inverse error function, as ONNX has it.
Value probit(ScalarCode &c, Value x) {
  Type type = x.getType();
  auto number = [&](double value) { return c.number(type, value); };
  Value place = c.sub(c.mul(x, number(2)), number(1)), isBelow = c.less(place, number(0));
  Value rest = c.mul(c.sub(number(1), place), c.add(number(1), place)), log = math::LogOp::create(c.b, c.loc, rest);
  constexpr double a = 0.147, pi = 3.14159265358979323846;
  Value half = c.add(number(2 / (pi * a)), c.mul(number(0.5), log));
  Value root = math::SqrtOp::create(c.b, c.loc, c.sub(c.mul(half, half), c.mul(number(1 / a), log)));
  Value size = math::SqrtOp::create(c.b, c.loc, c.sub(root, half));
  Value inverse = c.select(c.equal(rest, number(0)), number(0), c.select(isBelow, negative(c, size), size));
  return c.mul(number(1.41421356), inverse);
}
} // namespace

FailureOr<LoweredValue> snug::postTransform(Lowering &l, LoweredValue scores, int64_t columns, StringRef kind) {
  if (kind == "NONE")
    return scores;
  bool isSoftmax = kind == "SOFTMAX", keepsZero = kind == "SOFTMAX_ZERO";
  if (kind != "LOGISTIC" && kind != "PROBIT" && !isSoftmax && !keepsZero) {
    l.error() << "post_transform '" << kind << "' is none that the standard knows";
    return failure();
  }
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, kAny}), to = kernel.write(scores.shape, scores.elementType, {0, kAny});
  Type type = kernel.computedType(from);
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    auto at = [&](Value k) { return SmallVector<Value>{row[0], k}; };
    Value count = c.index(columns);
    if (!isSoftmax && !keepsZero)
      return c.loop(count, [&](Value k) {
        Value score = c.load(from, at(k));
        c.store(kind == "LOGISTIC" ? logistic(c, score) : probit(c, score), to, at(k));
      });
    Value largest = c.sum(c.index(1), count, c.load(from, at(c.index(0))),
                          [&](Value k, Value most) { return c.max(most, c.load(from, at(k))); });
    Value total = c.sum(c.index(0), count, c.number(type, 0), [&](Value k, Value sum) {
      Value score = c.load(from, at(k)), power = exponential(c, c.sub(score, largest));
      if (keepsZero) {
        constexpr double nearly = 0.0000001;
        Value isZero = c.both(c.lessEqual(score, c.number(type, nearly)), c.lessEqual(c.number(type, -nearly), score));
        power = c.select(isZero, c.mul(score, exponential(c, negative(c, largest))), power);
      }
      c.store(power, to, at(k));
      return c.add(sum, power);
    });
    c.loop(count, [&](Value k) {
      Value part = c.div(c.load(to, at(k)), total);
      if (keepsZero)
        part = c.select(c.equal(total, c.number(type, 0)), c.number(type, 0.5), part);
      c.store(part, to, at(k));
    });
  })[0];
}

LoweredValue snug::withSecondClass(Lowering &l, LoweredValue &scores, bool isProbability) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, kAny});
  unsigned to = kernel.write({scores.shape[0], l.constant(2)}, scores.elementType, {0, kAny});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value score = c.load(from, {row[0], c.index(0)});
    Value other = isProbability ? c.sub(c.number(score.getType(), 1), score) : negative(c, score);
    c.store(other, to, {row[0], c.index(0)});
    c.store(score, to, {row[0], c.index(1)});
  })[0];
}

std::optional<ClassLabels> snug::classLabels(Lowering &l, StringRef ints, StringRef strings) {
  if (auto numbers = l.intsAttr(ints); numbers && !numbers->empty())
    return ClassLabels{listOf(l, *numbers), static_cast<int64_t>(numbers->size())};
  auto names = stringsAttr(l, strings);
  if (names && !names->empty())
    return ClassLabels{stringsValue(l, *names, {static_cast<int64_t>(names->size())}), static_cast<int64_t>(names->size())};
  l.error() << "has neither " << ints << " nor " << strings;
  return std::nullopt;
}

LoweredValue snug::labelsOf(Lowering &l, LoweredValue &scores, ClassLabels &labels) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, kAny}), at = kernel.read(labels.list, {kAny});
  unsigned to = kernel.write({scores.shape[0]}, labels.list.elementType, {0});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value best = c.loop(c.index(1), c.extent(from, 1), ValueRange{c.index(0)}, [&](Value k, ValueRange so) -> ScalarCode::Values {
      Value isBetter = c.less(c.load(from, {row[0], so[0]}), c.load(from, {row[0], k}));
      return {c.select(isBetter, k, so[0])};
    })[0];
    c.store(c.load(at, {c.clamp(best, c.extent(at, 0))}), to, row);
  })[0];
}

// --- linear models ------------------------------------------------------------------------------------------------

namespace {
SmallVector<double> interceptsOf(Lowering &l) { return floatsAttr(l, "intercepts").value_or(SmallVector<double>()); }

LogicalResult linearRegressor(Lowering &l) {
  LoweredValue &x = l.input(0);
  int64_t targets = l.intAttr("targets", 1);
  auto scores = linearScores(l, x, targets, interceptsOf(l));
  auto result = failed(scores) ? scores : postTransform(l, *scores, targets, l.stringAttr("post_transform", "NONE"));
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// The only class's label where its score is high enough, else 0 or the empty string.
LoweredValue labelOfOne(Lowering &l, LoweredValue &scores, ClassLabels &labels, double threshold) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, kAny}), at = kernel.read(labels.list, {kAny});
  unsigned to = kernel.write({scores.shape[0]}, labels.list.elementType, {0});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value score = c.load(from, {row[0], c.index(0)}), label = c.load(at, {c.index(0)});
    Value isHigh = c.lessEqual(c.number(score.getType(), threshold), score);
    c.store(c.select(isHigh, label, c.number(label.getType(), 0)), to, row);
  })[0];
}

LogicalResult linearClassifier(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef kind = l.stringAttr("post_transform", "NONE");
  auto labels = classLabels(l, "classlabels_ints", "classlabels_strings");
  auto coefficients = floatsAttr(l, "coefficients");
  if (!labels)
    return failure();
  auto features = x.rank() == 2 ? dyn_cast<AffineConstantExpr>(x.shape[1]) : AffineConstantExpr();
  int64_t columns = features && features.getValue() > 0 && coefficients ? coefficients->size() / features.getValue() : 0;
  if (columns < 1 || (columns > 1 && columns != labels->count))
    return l.error() << "coefficients do not fit an input of shape " << l.print(x.shape) << " and " << labels->count << " classes";
  auto scores = linearScores(l, x, columns, interceptsOf(l));
  if (failed(scores))
    return failure();
  if (columns == 1 && labels->count == 2) {
    scores = withSecondClass(l, *scores, /*isProbability=*/false);
    columns = 2;
  }
  auto result = postTransform(l, *scores, columns, kind);
  if (failed(result))
    return failure();
  l.define(0, columns > 1 ? labelsOf(l, *result, *labels) : labelOfOne(l, *result, *labels, kind == "NONE" ? 0 : 0.5));
  l.define(1, *result);
  return success();
}
} // namespace

void snug::addClassifierOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("LinearClassifier", 1, linearClassifier, domain);
  t.add("LinearRegressor", 1, linearRegressor, domain);
}
