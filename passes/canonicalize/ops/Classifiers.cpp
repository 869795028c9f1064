// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: linear models and support vector machines, and what classifiers make of scores.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "passes/canonicalize/ops/Strings.h"

using namespace mlir;
using namespace snug;

// --- scores -------------------------------------------------------------------------------------------------------

// Scores of (rows, outputs): x * coefficients^T + intercepts.
FailureOr<LoweredValue> snug::linearScores(Lowering &l, LoweredValue &x, int64_t outputs) {
  auto coefficients = floatsAttr(l, "coefficients"), intercepts = floatsAttr(l, "intercepts");
  auto features = x.rank() == 2 ? x.shape[1] : AffineExpr();
  int64_t count = coefficients && outputs > 0 ? static_cast<int64_t>(coefficients->size()) / outputs : 0;
  if (!features || count < 1 || !l.same(features, l.constant(count)) ||
      (intercepts && !intercepts->empty() && static_cast<int64_t>(intercepts->size()) != outputs)) {
    l.error() << "coefficients or intercepts do not fit an input of shape " << l.print(x.shape);
    return failure();
  }
  FloatType f32 = l.b.getF32Type();
  LoweredValue weights = listOf(l, *coefficients, f32), bias = listOf(l, intercepts.value_or(SmallVector<double>()), f32);
  bool hasBias = intercepts && !intercepts->empty();
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

Value logistic(ScalarCode &c, Value x) {
  Value one = c.number(x.getType(), 1), isBelow = c.less(x, c.number(x.getType(), 0));
  Value small = exponential(c, c.select(isBelow, x, negative(c, x))), upper = c.div(one, c.add(one, small));
  return c.select(isBelow, c.sub(one, upper), upper);
}

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
LogicalResult linearRegressor(Lowering &l) {
  LoweredValue &x = l.input(0);
  int64_t targets = l.intAttr("targets", 1);
  auto scores = linearScores(l, x, targets);
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
  auto scores = linearScores(l, x, columns);
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

// --- support vector machines --------------------------------------------------------------------------------------

// How like each other a row and a vector are.
struct Kernel {
  enum Kind { Linear, Poly, Rbf, Sigmoid } kind;
  double gamma = 0, coef0 = 0, degree = 0;

  static std::optional<Kernel> of(Lowering &l, bool isLinear) {
    StringRef name = isLinear ? "LINEAR" : l.stringAttr("kernel_type", "LINEAR");
    auto kind = llvm::StringSwitch<std::optional<Kind>>(name)
                    .Case("LINEAR", Linear).Case("POLY", Poly).Case("RBF", Rbf).Case("SIGMOID", Sigmoid).Default(std::nullopt);
    auto parameters = floatsAttr(l, "kernel_params").value_or(SmallVector<double>{0, 0, 0});
    if (!kind || parameters.size() != 3) {
      l.error() << "kernel_type '" << name << "' with " << parameters.size() << " kernel_params is none that the standard knows";
      return std::nullopt;
    }
    return Kernel{*kind, parameters[0], parameters[1], parameters[2]};
  }

  Value operator()(ScalarCode &c, int64_t features, function_ref<Value(Value)> x, function_ref<Value(Value)> y) const {
    Type type = c.b.getF32Type();
    Value sum = c.sum(c.index(0), c.index(features), c.number(type, 0), [&](Value k, Value total) {
      Value a = x(k), b = y(k), difference = c.sub(a, b);
      return c.add(total, kind == Rbf ? c.mul(difference, difference) : c.mul(a, b));
    });
    Value moved = c.add(c.mul(sum, c.number(type, gamma)), c.number(type, coef0));
    switch (kind) {
    case Linear:
      return sum;
    case Poly:
      return math::PowFOp::create(c.b, c.loc, moved, c.number(type, degree));
    case Rbf:
      return exponential(c, c.mul(sum, c.number(type, -gamma)));
    default:
      return math::TanhOp::create(c.b, c.loc, moved);
    }
  }
};

LogicalResult svmRegressor(Lowering &l) {
  LoweredValue &x = l.input(0);
  int64_t supports = l.intAttr("n_supports", 0);
  auto coefficients = floatsAttr(l, "coefficients"), vectors = floatsAttr(l, "support_vectors"), rho = floatsAttr(l, "rho");
  auto kernel = Kernel::of(l, supports == 0);
  if (!kernel)
    return failure();
  auto features = x.rank() == 2 ? dyn_cast<AffineConstantExpr>(x.shape[1]) : AffineConstantExpr();
  int64_t columns = features ? features.getValue() : 0;
  int64_t factors = supports ? supports : columns;
  if (columns < 1 || supports < 0 || !rho || rho->empty() || !coefficients ||
      static_cast<int64_t>(coefficients->size()) != factors ||
      (supports && (!vectors || vectors->size() / supports != static_cast<size_t>(columns) || vectors->size() % supports)))
    return l.error() << "coefficients, support_vectors or rho do not fit an input of shape " << l.print(x.shape);
  FloatType f32 = l.b.getF32Type();
  LoweredValue weights = listOf(l, *coefficients, f32), rows = listOf(l, supports ? *vectors : *coefficients, f32);
  bool oneClass = l.intAttr("one_class", 0);
  ScalarKernel code(l, 1);
  unsigned from = code.read(x, {0, kAny}), weightAt = code.read(weights, {kAny}), vectorAt = code.read(rows, {kAny});
  unsigned to = code.write({x.shape[0], l.constant(1)}, f32, {0, kAny});
  LoweredValue scores = code.build([&](ScalarCode &c, ValueRange i) {
    auto element = [&](Value k) { return c.convert(c.load(from, {i[0], k}), f32); };
    auto like = [&](Value vector) {
      return (*kernel)(c, columns, element, [&](Value k) {
        return c.load(vectorAt, {c.add(c.mul(vector, c.index(columns)), k)});
      });
    };
    Value sum = c.sum(c.index(0), c.index(supports), c.number(f32, 0), [&](Value j, Value total) {
      return c.add(total, c.mul(c.load(weightAt, {j}), like(j)));
    });
    if (!supports)
      sum = like(c.index(0));
    sum = c.add(sum, c.number(f32, (*rho)[0]));
    if (oneClass)
      sum = c.select(c.less(c.number(f32, 0), sum), c.number(f32, 1), c.number(f32, -1));
    c.store(sum, to, {i[0], c.index(0)});
  })[0];
  auto result = postTransform(l, scores, 1, l.stringAttr("post_transform", "NONE"));
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addClassifierOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("LinearClassifier", 1, linearClassifier, domain);
  t.add("LinearRegressor", 1, linearRegressor, domain);
  t.add("SVMRegressor", 1, svmRegressor, domain);
}
