// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: support vector machines. A machine for each pair of classes says which of the two a row is of; the class that
// most of them say is the row's.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// How like each other each row and each of so many support vectors are: (rows, vectors).
FailureOr<LoweredValue> likeness(Lowering &l, LoweredValue &x, int64_t count) {
  enum Kind { Linear, Poly, Rbf, Sigmoid };
  StringRef name = l.stringAttr("kernel_type", "LINEAR");
  auto kind = llvm::StringSwitch<std::optional<Kind>>(name)
                  .Case("LINEAR", Linear).Case("POLY", Poly).Case("RBF", Rbf).Case("SIGMOID", Sigmoid).Default(std::nullopt);
  auto parameters = floatsAttr(l, "kernel_params").value_or(SmallVector<double>{0, 0, 0});
  if (!kind || parameters.size() != 3) {
    l.error() << "kernel_type '" << name << "' with " << parameters.size() << " kernel_params is none that the standard knows";
    return failure();
  }
  double gamma = parameters[0], coef0 = parameters[1], degree = parameters[2];
  auto elements = floatsAttr(l, "support_vectors");
  int64_t size = elements ? elements->size() : 0, columns = size / count;
  if (columns < 1 || size % count || x.rank() != 2 || !l.same(x.shape[1], l.constant(columns))) {
    l.error() << "support_vectors, " << count << " of " << size << " elements in all, do not fit an input of shape " << l.print(x.shape);
    return failure();
  }
  FloatType f32 = l.b.getF32Type();
  LoweredValue vectors = listOf(l, *elements, f32);
  ScalarKernel kernel(l, 2);
  unsigned from = kernel.read(x, {0, any}), vectorAt = kernel.read(vectors, {any});
  unsigned to = kernel.write({x.shape[0], l.constant(count)}, f32, {0, 1});
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Value first = c.mul(c.place(1), c.index(columns));
    Value sum = c.sum(c.index(0), c.index(columns), c.number(f32, 0), [&](Value k, Value total) {
      Value a = c.convert(c.load(from, {i[0], k}), f32), b = c.load(vectorAt, {c.add(first, k)}), difference = c.sub(a, b);
      return c.add(total, *kind == Rbf ? c.mul(difference, difference) : c.mul(a, b));
    });
    Value moved = c.add(c.mul(sum, c.number(f32, gamma)), c.number(f32, coef0));
    Value result = *kind == Linear ? sum
                   : *kind == Poly ? math::PowFOp::create(c.b, c.loc, moved, c.number(f32, degree)).getResult()
                   : *kind == Rbf  ? math::ExpOp::create(c.b, c.loc, c.mul(sum, c.number(f32, -gamma))).getResult()
                                   : math::TanhOp::create(c.b, c.loc, moved).getResult();
    c.store(result, to, i);
  })[0];
}

LogicalResult svmRegressor(Lowering &l) {
  LoweredValue x = l.input(0);
  int64_t supports = l.intAttr("n_supports", 0);
  auto rho = floatsAttr(l, "rho");
  if (supports < 0 || !rho || rho->empty())
    return l.error() << "n_supports is " << supports << ", or rho is missing";
  if (supports) {
    auto like = likeness(l, x, supports);
    if (failed(like))
      return failure();
    x = *like;
  }
  auto scores = linearScores(l, x, 1, {rho->front()});
  if (failed(scores))
    return failure();
  FloatType f32 = l.b.getF32Type();
  if (l.intAttr("one_class", 0))
    scores = l.elementwise({&*scores}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
      ScalarCode c{b, loc};
      return c.select(c.less(c.number(f32, 0), a[0]), c.number(f32, 1), c.number(f32, -1));
    });
  auto result = failed(scores) ? scores : postTransform(l, *scores, 1, l.stringAttr("post_transform", "NONE"));
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// --- classes ------------------------------------------------------------------------------------------------------

// Pairs of classes, in the order (0, 1), (0, 2).. (1, 2)..
struct Pairs {
  int64_t classes, count;
  explicit Pairs(int64_t classes) : classes(classes), count(classes * (classes - 1) / 2) {}
  template <class Body> void each(Body body) const {
    for (int64_t i = 0; i < classes; ++i)
      for (int64_t j = i + 1; j < classes; ++j)
        body(i, j);
  }
  LoweredValue list(Lowering &l) const {
    SmallVector<int64_t> members;
    each([&](int64_t i, int64_t j) { members.append({i, j}); });
    return listOf(l, members);
  }
};

// The first one's score against the second one, of each pair: (rows, pairs). Coefficients are (classes - 1, vectors); those of
// class i against class j, for vectors of i, are in row j - 1, and for vectors of j in row i. Large terms cancel each other:
// they are summed up in float64, as in ONNX Runtime.
LoweredValue pairScores(Lowering &l, LoweredValue &like, Pairs pairs, ArrayRef<int64_t> perClass, ArrayRef<double> coefficients,
                        ArrayRef<double> rho) {
  int64_t vectors = coefficients.size() / (pairs.classes - 1);
  SmallVector<int64_t> starts{0}, table;
  for (int64_t count : perClass)
    starts.push_back(starts.back() + count);
  pairs.each([&](int64_t i, int64_t j) {
    table.append({(j - 1) * vectors, starts[i], starts[i + 1], i * vectors, starts[j], starts[j + 1]});
  });
  FloatType f32 = l.b.getF32Type();
  LoweredValue parts = listOf(l, table), weights = listOf(l, coefficients, f32), shifts = listOf(l, rho, f32);
  ScalarKernel kernel(l, 2);
  unsigned from = kernel.read(like, {0, any}), partAt = kernel.read(parts, {any}), weightAt = kernel.read(weights, {any});
  unsigned shiftAt = kernel.read(shifts, {1}), to = kernel.write({like.shape[0], l.constant(pairs.count)}, f32, {0, 1});
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Value first = c.mul(c.place(1), c.index(6));
    Type f64 = c.b.getF64Type();
    Value score = c.number(f64, 0);
    for (int64_t part : {0, 3}) {
      auto field = [&](int64_t k) { return c.toIndex(c.load(partAt, {c.add(first, c.index(part + k))})); };
      Value row = field(0);
      score = c.sum(field(1), field(2), score, [&](Value k, Value sum) {
        return c.add(sum, c.convert(c.mul(c.load(weightAt, {c.add(row, k)}), c.load(from, {i[0], k})), f64));
      });
    }
    c.store(c.convert(c.add(score, c.convert(c.load(shiftAt, {i[1]}), f64)), f32), to, i);
  })[0];
}

// How many pairs each class wins: (rows, classes).
LoweredValue votesOf(Lowering &l, LoweredValue &scores, Pairs pairs) {
  FloatType f32 = l.b.getF32Type();
  LoweredValue members = pairs.list(l);
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, any}), memberAt = kernel.read(members, {any});
  unsigned to = kernel.write({scores.shape[0], l.constant(pairs.classes)}, f32, {0, any});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    c.loop(c.index(pairs.classes), [&](Value k) { c.store(c.number(f32, 0), to, {row[0], k}); });
    c.loop(c.index(pairs.count), [&](Value pair) {
      Value wins = c.less(c.number(f32, 0), c.load(from, {row[0], pair}));
      Value which = c.select(wins, c.index(0), c.index(1));
      Value winner = c.toIndex(c.load(memberAt, {c.add(c.mul(pair, c.index(2)), which)}));
      c.store(c.add(c.load(to, {row[0], winner}), c.number(f32, 1)), to, {row[0], winner});
    });
  })[0];
}

// Probabilities of the classes, (rows, classes), from those of pairs: Platt's, 1 / (1 + exp(a * score + b)). They are put
// together by the second method of Wu, Lin and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling"
// (2004): with r[i][j] the probability of i where it is i or j, they minimize p' Q p where Q[t][t] is the sum of r[j][t]^2 over
// the others and Q[t][j] is -r[j][t] r[t][j]; one at a time is moved to where p' Q p is least, and all are scaled. Bounds and
// where it stops are LIBSVM's, as ONNX Runtime has them.
LoweredValue probabilities(Lowering &l, LoweredValue &scores, Pairs pairs, ArrayRef<double> a, ArrayRef<double> b) {
  constexpr double least = 1e-7, tolerance = 0.005;
  int64_t classes = pairs.classes, mostRounds = std::max<int64_t>(100, classes);
  FloatType f32 = l.b.getF32Type();
  LoweredValue members = pairs.list(l), factors = listOf(l, a, f32), shifts = listOf(l, b, f32);
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, any}), memberAt = kernel.read(members, {any});
  unsigned factorAt = kernel.read(factors, {any}), shiftAt = kernel.read(shifts, {any});
  AffineExpr rows = scores.shape[0], count = l.constant(classes);
  unsigned p = kernel.write({rows, count}, f32, {0, any}), r = kernel.write({rows, count, count}, f32, {0, any, any});
  unsigned q = kernel.write({rows, count, count}, f32, {0, any, any}), qp = kernel.write({rows, count}, f32, {0, any});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value zero = c.number(f32, 0), one = c.number(f32, 1), all = c.index(classes), none = c.index(0);
    auto number = [&](double value) { return c.number(f32, value); };
    auto get = [&](unsigned list, Value i) { return c.load(list, {row[0], i}); };
    auto set = [&](Value value, unsigned list, Value i) { c.store(value, list, {row[0], i}); };
    auto at = [&](unsigned matrix, Value i, Value j) { return c.load(matrix, {row[0], i, j}); };
    auto put = [&](Value value, unsigned matrix, Value i, Value j) { c.store(value, matrix, {row[0], i, j}); };
    c.loop(all, [&](Value i) { put(zero, r, i, i); });
    c.loop(c.index(pairs.count), [&](Value pair) {
      Value raised = c.add(c.mul(get(from, pair), c.load(factorAt, {pair})), c.load(shiftAt, {pair}));
      Value chance = c.min(c.max(c.sub(one, logistic(c, raised)), number(least)), number(1 - least));
      auto member = [&](int64_t k) { return c.toIndex(c.load(memberAt, {c.add(c.mul(pair, c.index(2)), c.index(k))})); };
      Value i = member(0), j = member(1);
      put(chance, r, i, j);
      put(c.sub(one, chance), r, j, i);
    });
    c.loop(all, [&](Value t) {
      set(number(1.0 / static_cast<double>(classes)), p, t);
      Value squares = c.sum(none, all, zero, [&](Value j, Value sum) {
        Value back = at(r, j, t);
        put(c.sub(zero, c.mul(back, at(r, t, j))), q, t, j);
        return c.add(sum, c.mul(back, back));
      });
      put(squares, q, t, t);
    });
    auto round = [&]() -> Value { // whether another one is needed
      Value whole = c.sum(none, all, zero, [&](Value t, Value sum) {
        Value product = c.sum(none, all, zero, [&](Value j, Value s) { return c.add(s, c.mul(at(q, t, j), get(p, j))); });
        set(product, qp, t);
        return c.add(sum, c.mul(get(p, t), product));
      });
      Value error = c.sum(none, all, zero, [&](Value t, Value most) {
        return c.max(most, math::AbsFOp::create(c.b, c.loc, c.sub(get(qp, t), whole)));
      });
      Value goesOn = c.lessEqual(number(tolerance / static_cast<double>(classes)), error);
      c.ifThen(goesOn, [&] {
        c.sum(none, all, whole, [&](Value t, Value pqp) {
          Value diagonal = at(q, t, t), own = get(qp, t), step = c.div(c.sub(pqp, own), diagonal), scale = c.add(one, step);
          set(c.add(get(p, t), step), p, t);
          Value moved = c.add(pqp, c.mul(step, c.add(c.mul(step, diagonal), c.mul(number(2), own))));
          c.loop(all, [&](Value j) {
            set(c.div(c.add(get(qp, j), c.mul(step, at(q, t, j))), scale), qp, j);
            set(c.div(get(p, j), scale), p, j);
          });
          return c.div(c.div(moved, scale), scale);
        });
      });
      return goesOn;
    };
    c.whileLoop({none, c.constant(c.b.getBoolAttr(true))},
                [&](ValueRange s) { return c.both(s[1], c.less(s[0], c.index(mostRounds))); },
                [&](ValueRange s) -> ScalarCode::Values { return {c.add(s[0], c.index(1)), round()}; });
  })[0];
}

// Two classes with a score each: of the second one, ONNX Runtime takes any score that is high enough.
LoweredValue labelOfTwo(Lowering &l, LoweredValue &scores, ClassLabels &labels, double threshold, bool isReached) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, any}), at = kernel.read(labels.list, {any});
  unsigned to = kernel.write({scores.shape[0]}, labels.list.elementType, {0});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value first = c.load(from, {row[0], c.index(0)}), second = c.load(from, {row[0], c.index(1)});
    Value most = c.max(first, second), limit = c.number(most.getType(), threshold);
    Value isSecond = c.either(c.less(first, second), isReached ? c.lessEqual(limit, most) : c.less(limit, most));
    c.store(c.load(at, {c.select(isSecond, c.index(1), c.index(0))}), to, row);
  })[0];
}

// A score for each class, computed as a linear model does.
LogicalResult linearMachine(Lowering &l, ClassLabels &labels, StringRef kind, ArrayRef<double> coefficients, double rho) {
  auto scores = linearScores(l, l.input(0), labels.count, SmallVector<double>(labels.count, rho));
  if (failed(scores))
    return failure();
  bool isPositive = llvm::all_of(coefficients, [](double x) { return x >= 0; });
  l.define(0, labels.count == 2 ? labelOfTwo(l, *scores, labels, isPositive ? 0.5 : 0, isPositive) : labelsOf(l, *scores, labels));
  // A single score stays what it is, but for PROBIT.
  auto result = postTransform(l, *scores, labels.count, labels.count == 1 && kind != "PROBIT" ? "NONE" : kind);
  if (failed(result))
    return failure();
  l.define(1, *result);
  return success();
}

LogicalResult svmClassifier(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef kind = l.stringAttr("post_transform", "NONE");
  auto labels = classLabels(l, "classlabels_ints", "classlabels_strings");
  if (!labels)
    return failure();
  auto listed = [&](StringRef name) { return floatsAttr(l, name).value_or(SmallVector<double>()); };
  SmallVector<double> coefficients = listed("coefficients"), rho = listed("rho"), a = listed("prob_a"), b = listed("prob_b");
  SmallVector<int64_t> perClass = l.intsAttr("vectors_per_class").value_or(SmallVector<int64_t>());
  int64_t vectors = 0;
  for (int64_t count : perClass) {
    vectors = count < 0 || count > INT32_MAX ? INT64_MAX : vectors + count;
    if (vectors > INT32_MAX)
      return l.error() << "vectors_per_class has " << count;
  }
  Pairs pairs(labels->count);
  size_t machines = vectors ? pairs.count : 1;
  if (rho.size() < machines || a.size() != b.size() || (!a.empty() && a.size() < machines))
    return l.error() << labels->count << " classes need " << machines << " numbers in rho, and as many or none in prob_a and prob_b, "
                     << "which have " << rho.size() << ", " << a.size() << " and " << b.size();
  if (!vectors)
    return linearMachine(l, *labels, kind, coefficients, rho.front());
  if (labels->count < 2 || static_cast<int64_t>(perClass.size()) != labels->count ||
      static_cast<int64_t>(coefficients.size()) != (labels->count - 1) * vectors)
    return l.error() << coefficients.size() << " coefficients of " << vectors << " support vectors of " << perClass.size()
                     << " classes do not fit each other or " << labels->count << " labels";
  auto like = likeness(l, x, vectors);
  if (failed(like))
    return failure();
  LoweredValue scores = pairScores(l, *like, pairs, perClass, coefficients, ArrayRef(rho).take_front(machines));
  LoweredValue votes = votesOf(l, scores, pairs);
  l.define(0, labelsOf(l, votes, *labels));
  int64_t columns = pairs.count;
  if (!a.empty()) {
    scores = probabilities(l, scores, pairs, ArrayRef(a).take_front(machines), ArrayRef(b).take_front(machines));
    columns = labels->count;
  } else if (labels->count == 2) { // two scores of the one machine, of which the second one is against the second class
    if (kind == "PROBIT")
      return l.error() << "post_transform PROBIT of two classes is supported with prob_a and prob_b only: scores are no probabilities";
    bool isSoftmax = kind == "SOFTMAX" || kind == "SOFTMAX_ZERO";
    scores = withSecondClass(l, scores, /*isProbability=*/isSoftmax);
    columns = 2;
    if (isSoftmax)
      kind = "NONE"; // as ONNX Runtime has it
  }
  auto result = postTransform(l, scores, columns, kind);
  if (failed(result))
    return failure();
  l.define(1, *result);
  return success();
}
} // namespace

void snug::addSupportVectorOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("SVMClassifier", 1, svmClassifier, domain);
  t.add("SVMRegressor", 1, svmRegressor, domain);
}
