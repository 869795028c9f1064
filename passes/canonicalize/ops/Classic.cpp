// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Classic machine learning: ai.onnx.ml, as far as it works on numbers, and counts of n-grams.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

LogicalResult finish(Lowering &l, FailureOr<LoweredValue> value) {
  if (failed(value))
    return failure();
  l.define(0, *value);
  return success();
}

std::optional<SmallVector<double>> floatsAttr(Lowering &l, StringRef name) {
  if (auto list = dyn_cast_or_null<DenseF32ArrayAttr>(l.attr(name)))
    return SmallVector<double>(list.asArrayRef().begin(), list.asArrayRef().end());
  // An attribute that is a tensor.
  if (auto dense = dyn_cast_or_null<DenseFPElementsAttr>(l.attr(name)))
    return llvm::map_to_vector(dense.getValues<APFloat>(), [](APFloat value) {
      bool lost;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      return value.convertToDouble();
    });
  return std::nullopt;
}

// Numbers as a constant list.
LoweredValue listOf(Lowering &l, ArrayRef<double> values, FloatType type) {
  SmallVector<Attribute> attributes;
  for (double value : values)
    attributes.push_back(l.b.getFloatAttr(type, value));
  auto shape = RankedTensorType::get({static_cast<int64_t>(values.size())}, type);
  return l.dataValue(DenseElementsAttr::get(shape, attributes));
}
LoweredValue listOf(Lowering &l, ArrayRef<int64_t> values) {
  auto shape = RankedTensorType::get({static_cast<int64_t>(values.size())}, l.b.getI64Type());
  return l.dataValue(DenseElementsAttr::get(shape, values));
}

LogicalResult binarizer(Lowering &l) {
  LoweredValue &x = l.input(0);
  Type type = x.elementType;
  double threshold = l.floatAttr("threshold", 0);
  return finish(l, l.elementwise({&x}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.select(c.less(c.number(type, threshold), a[0]), c.number(type, 1), c.number(type, 0));
  }));
}

// Elements of the last dim.
LogicalResult arrayFeatureExtractor(Lowering &l) {
  LoweredValue &x = l.input(0), &indices = l.input(1);
  AffineExpr count = l.constant(1);
  for (AffineExpr extent : indices.shape)
    count = count * extent;
  auto flat = l.reshape(indices, {count});
  if (failed(flat) || x.rank() < 1)
    return failure();
  Extents shape = x.shape;
  shape.back() = count;
  Value init = l.empty(shape, x.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(x), l.tensor(*flat), Value(), init,
                                 l.b.getI64IntegerAttr(x.rank() - 1));
  LoweredValue result = l.tensorValue(op->getResult(0), shape);
  if (x.rank() > 1)
    return finish(l, result);
  return finish(l, l.reshape(result, {l.constant(1), count}));
}

// (x - offset) * scale, each one number or one a column.
LogicalResult scaler(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto offset = floatsAttr(l, "offset"), scale = floatsAttr(l, "scale");
  if (!offset || !scale)
    return l.error() << "offset or scale is missing";
  FloatType f32 = l.b.getF32Type();
  LoweredValue shift = listOf(l, *offset, f32), factor = listOf(l, *scale, f32);
  return finish(l, l.elementwise({&x, &shift, &factor}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.mul(c.sub(c.convert(a[0], f32), a[1]), a[2]);
  }));
}

// Values that stand for missing ones are replaced.
LogicalResult imputer(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto values = floatsAttr(l, "imputed_value_floats");
  if (!values || !isa<FloatType>(x.elementType))
    return l.error() << "only imputed_value_floats for floating-point inputs is supported";
  double missing = l.floatAttr("replaced_value_float", 0);
  Type type = x.elementType;
  LoweredValue fill = listOf(l, *values, cast<FloatType>(type));
  return finish(l, l.elementwise({&x, &fill}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    Value hit = std::isnan(missing) ? c.negate(c.equal(a[0], a[0])) : c.equal(a[0], c.number(type, missing));
    return c.select(hit, a[1], a[0]);
  }));
}

// Rows divided by their largest element, sum of sizes, or length.
LogicalResult normalizer(Lowering &l) {
  LoweredValue &x = l.input(0);
  StringRef norm = l.stringAttr("norm", "MAX");
  FloatType f32 = l.b.getF32Type();
  if (x.rank() < 1 || (norm != "MAX" && norm != "L1" && norm != "L2"))
    return l.error() << "norm '" << norm << "' of an input of shape " << l.print(x.shape) << " is not supported";
  auto real = l.elementwise({&x}, f32, [&](OpBuilder &b, Location loc, ValueRange a) { return ScalarCode{b, loc}.convert(a[0], f32); });
  if (failed(real))
    return failure();
  auto sized = l.elementwise({&*real}, f32, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    return norm == "L2" ? c.mul(a[0], a[0]) : norm == "L1" ? math::AbsFOp::create(b, loc, a[0]).getResult() : a[0];
  });
  if (failed(sized))
    return failure();
  SmallVector<bool> reduced(x.rank(), false);
  reduced.back() = true;
  LoweredValue whole = l.reduce(norm == "MAX" ? Reduction::Max : Reduction::Sum, *sized, reduced);
  Extents kept = x.shape;
  kept.back() = l.constant(1);
  auto spread = l.reshape(whole, kept);
  if (failed(spread))
    return failure();
  return finish(l, l.elementwise({&*real, &*spread}, f32, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Value by = norm == "L2" ? math::SqrtOp::create(b, loc, a[1]).getResult() : a[1], zero = c.number(f32, 0);
    return c.select(c.equal(by, zero), a[0], c.div(a[0], by));
  }));
}

// One output a category.
LogicalResult oneHotEncoder(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto categories = l.intsAttr("cats_int64s");
  if (!categories || !isa<IntegerType, FloatType>(x.elementType))
    return l.error() << "only categories that are integers are supported";
  FloatType f32 = l.b.getF32Type();
  LoweredValue names = listOf(l, *categories);
  Extents wide = x.shape;
  wide.push_back(l.constant(1));
  auto spread = l.reshape(x, wide);
  if (failed(spread))
    return failure();
  return finish(l, l.elementwise({&*spread, &names}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.convert(c.equal(c.convert(a[0], b.getI64Type()), a[1]), f32);
  }));
}

// Scores of (rows, outputs): x * coefficients^T + intercepts.
FailureOr<LoweredValue> linearScores(Lowering &l, LoweredValue &x, int64_t outputs) {
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
  unsigned from = kernel.read(x, {0, any}), factors = kernel.read(weights, {any});
  unsigned shift = hasBias ? kernel.read(bias, {1}) : 0, to = kernel.write({x.shape[0], l.constant(outputs)}, f32, {0, 1});
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Value first = c.mul(c.place(1), c.index(count)), start = hasBias ? c.load(shift, {i[1]}) : c.number(f32, 0);
    Value sum = c.sum(c.index(0), c.index(count), start, [&](Value k, Value total) {
      return c.add(total, c.mul(c.convert(c.load(from, {i[0], k}), f32), c.load(factors, {c.add(first, k)})));
    });
    c.store(sum, to, i);
  })[0];
}

LogicalResult linearRegressor(Lowering &l) {
  LoweredValue &x = l.input(0);
  if (l.stringAttr("post_transform", "NONE") != "NONE")
    return l.error() << "post_transform '" << l.stringAttr("post_transform", "") << "' is not supported";
  return finish(l, linearScores(l, x, l.intAttr("targets", 1)));
}

// --- trees --------------------------------------------------------------------------------------------------------

LogicalResult treeEnsemble(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto type = dyn_cast<FloatType>(x.elementType);
  auto features = l.intsAttr("nodes_featureids"), trueIds = l.intsAttr("nodes_truenodeids");
  auto falseIds = l.intsAttr("nodes_falsenodeids"), trueLeafs = l.intsAttr("nodes_trueleafs");
  auto falseLeafs = l.intsAttr("nodes_falseleafs"), targets = l.intsAttr("leaf_targetids"), roots = l.intsAttr("tree_roots");
  auto tracks = l.intsAttr("nodes_missing_value_tracks_true");
  auto splits = floatsAttr(l, "nodes_splits"), weights = floatsAttr(l, "leaf_weights"), members = floatsAttr(l, "membership_values");
  SmallVector<int64_t> modes;
  if (auto dense = dyn_cast_or_null<DenseIntElementsAttr>(l.attr("nodes_modes")))
    for (const APInt &mode : dense.getValues<APInt>())
      modes.push_back(mode.getZExtValue());
  size_t count = features ? features->size() : 0, leafs = targets ? targets->size() : 0;
  int64_t outputs = l.intAttr("n_targets", 0), aggregate = l.intAttr("aggregate_function", 1);
  auto fits = [&](auto &list, size_t size) { return list && list->size() == size; };
  if (!type || x.rank() != 2 || !count || !leafs || !roots || roots->empty() || !fits(trueIds, count) || !fits(falseIds, count) ||
      !fits(trueLeafs, count) || !fits(falseLeafs, count) || !fits(splits, count) || !fits(weights, leafs) ||
      modes.size() != count || (tracks && tracks->size() != count) || outputs < 1 || aggregate < 0 || aggregate > 3)
    return l.error() << "the trees' attributes do not fit together, or an input of shape " << l.print(x.shape);
  if (l.intAttr("post_transform", 0) != 0)
    return l.error() << "post_transform " << l.intAttr("post_transform", 0) << " is not supported";
  // A walk must end and stay inside: a child is a leaf, or a node that no walk has come by.
  for (int64_t target : *targets)
    if (target < 0 || target >= outputs)
      return l.error() << "leaf_targetids has " << target << ", which is none of " << outputs << " targets";
  SmallVector<char> seen(count, 0);
  SmallVector<int64_t> work(*roots), ranges(2 * count, 0);
  while (!work.empty()) {
    int64_t node = work.pop_back_val();
    if (node < 0 || node >= static_cast<int64_t>(count) || seen[node]++)
      return l.error() << "node " << node << " does not exist, or is reached twice";
    for (auto [ids, leaf] : {std::pair(&*trueIds, &*trueLeafs), std::pair(&*falseIds, &*falseLeafs)}) {
      if (!(*leaf)[node])
        work.push_back((*ids)[node]);
      else if ((*ids)[node] < 0 || (*ids)[node] >= static_cast<int64_t>(leafs))
        return l.error() << "leaf " << (*ids)[node] << " does not exist";
    }
  }
  // Sets of members end with no number each, in the order of the nodes.
  constexpr int64_t isMember = 6;
  size_t next = 0;
  bool hasSets = false;
  for (size_t node = 0; node < count; ++node) {
    if (modes[node] > isMember)
      return l.error() << "mode " << modes[node] << " is none that the standard knows";
    if (modes[node] != isMember)
      continue;
    hasSets = true;
    ranges[2 * node] = next;
    while (members && next < members->size() && !std::isnan((*members)[next]))
      ++next;
    if (!members || next >= members->size())
      return l.error() << "membership_values has no set for node " << node;
    ranges[2 * node + 1] = next++;
  }
  SmallVector<int64_t> table; // a node: feature, mode, missing goes to true, two children (leaves as -1 - id), range of members
  for (size_t node = 0; node < count; ++node) {
    auto child = [&](auto &ids, auto &isLeaf) { return (*isLeaf)[node] ? -1 - (*ids)[node] : (*ids)[node]; };
    table.append({(*features)[node], modes[node], tracks ? (*tracks)[node] : 0, child(trueIds, trueLeafs),
                  child(falseIds, falseLeafs), ranges[2 * node], ranges[2 * node + 1]});
  }
  constexpr int64_t columns = 7;
  LoweredValue nodes = listOf(l, table), limits = listOf(l, *splits, type), starts = listOf(l, *roots);
  LoweredValue leafTargets = listOf(l, *targets), leafWeights = listOf(l, *weights, type);
  LoweredValue sets = listOf(l, hasSets ? *members : SmallVector<double>{0}, type);
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(x, {0, any}), nodeAt = kernel.read(nodes, {any}), limitAt = kernel.read(limits, {any});
  unsigned rootAt = kernel.read(starts, {any}), targetAt = kernel.read(leafTargets, {any});
  unsigned weightAt = kernel.read(leafWeights, {any}), setAt = kernel.read(sets, {any});
  unsigned to = kernel.write({x.shape[0], l.constant(outputs)}, type, {0, any});
  Type real = computeType(type), i64 = l.b.getI64Type();
  bool least = aggregate == 2, most = aggregate == 3;
  double trees = static_cast<double>(roots->size());
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    APFloat largest = APFloat::getLargest(cast<FloatType>(real).getFloatSemantics());
    Value start = c.number(real, 0);
    if (least || most)
      start = c.constant(c.b.getFloatAttr(real, most ? -largest : largest));
    c.loop(c.index(outputs), [&](Value k) { c.store(start, to, {i[0], k}); });
    Value zero = c.number(i64, 0), minus = c.number(i64, -1);
    c.loop(c.index(roots->size()), [&](Value tree) {
      ScalarCode::Values end = c.whileLoop(
          {c.load(rootAt, {tree})}, [&](ValueRange at) { return c.lessEqual(zero, at[0]); },
          [&](ValueRange at) -> ScalarCode::Values {
            Value node = c.toIndex(at[0]), row = c.mul(node, c.index(columns));
            auto field = [&](int64_t k) { return c.load(nodeAt, {c.add(row, c.index(k))}); };
            auto element = c.load(from, {i[0], c.clamp(c.toIndex(field(0)), c.extent(from, 1))});
            Value limit = c.load(limitAt, {node}), mode = field(1), same = c.equal(element, limit);
            Value below = c.less(element, limit), above = c.less(limit, element);
            auto is = [&](int64_t k) { return c.equal(mode, c.number(i64, static_cast<double>(k))); };
            Value found = c.sum(c.toIndex(field(5)), c.toIndex(field(6)), c.constant(c.b.getBoolAttr(false)),
                                [&](Value k, Value hit) { return c.either(hit, c.equal(element, c.load(setAt, {k}))); });
            Value holds = c.both(is(isMember), found);
            Value tests[] = {c.either(below, same), below, c.either(above, same), above, same, c.negate(same)};
            for (auto [k, test] : llvm::enumerate(tests))
              holds = c.either(holds, c.both(is(k), test));
            Value missing = c.negate(c.equal(element, element));
            holds = c.either(holds, c.both(missing, c.negate(c.equal(field(2), zero))));
            return {c.select(holds, field(3), field(4))};
          });
      Value leaf = c.toIndex(c.sub(minus, end[0])), target = c.toIndex(c.load(targetAt, {leaf}));
      Value weight = c.load(weightAt, {leaf}), old = c.load(to, {i[0], target}), value;
      if (least || most)
        value = least ? c.min(old, weight) : c.max(old, weight);
      else
        value = c.add(old, aggregate == 0 ? c.div(weight, c.number(real, trees)) : weight);
      c.store(value, to, {i[0], target});
    });
  })[0]);
  return success();
}
// --- n-grams ------------------------------------------------------------------------------------------------------

// How often each n-gram of a pool stands in a row of numbers, where its members may be up to some places apart.
LogicalResult countGrams(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto pool = l.intsAttr("pool_int64s"), counts = l.intsAttr("ngram_counts"), places = l.intsAttr("ngram_indexes");
  auto weights = floatsAttr(l, "weights");
  int64_t shortest = l.intAttr("min_gram_length", 1), longest = l.intAttr("max_gram_length", 1), skips = l.intAttr("max_skip_count", 0);
  StringRef mode = l.stringAttr("mode", "TF");
  if (!pool || !counts || !places || places->empty() || !isa<IntegerType>(x.elementType) || x.rank() < 1 || x.rank() > 2 ||
      shortest < 1 || longest < shortest || skips < 0 || (mode != "TF" && mode != "IDF" && mode != "TFIDF"))
    return l.error() << "a pool of integers for an input of rank 1 or 2 is supported, not this one of shape " << l.print(x.shape)
                     << " and type " << x.elementType;
  int64_t outputs = 0;
  for (int64_t place : *places) {
    if (place < 0)
      return l.error() << "ngram_indexes has " << place;
    outputs = std::max(outputs, place + 1);
  }
  // First member, length and output of each n-gram.
  SmallVector<int64_t> table;
  size_t number = 0, size = 1;
  for (size_t i = 0; i < counts->size(); ++i, ++size) {
    int64_t begin = (*counts)[i], end = i + 1 < counts->size() ? (*counts)[i + 1] : static_cast<int64_t>(pool->size());
    if (begin < 0 || end < begin || end > static_cast<int64_t>(pool->size()))
      return l.error() << "ngram_counts do not fit a pool of " << pool->size() << " members";
    for (int64_t at = begin; at + static_cast<int64_t>(size) <= end; at += size, ++number) {
      if (number >= places->size())
        return l.error() << "ngram_indexes has fewer elements than there are n-grams";
      if (static_cast<int64_t>(size) >= shortest && static_cast<int64_t>(size) <= longest)
        table.append({at, static_cast<int64_t>(size), (*places)[number]});
    }
  }
  if (weights && static_cast<int64_t>(weights->size()) < outputs)
    return l.error() << weights->size() << " weights for " << outputs << " outputs";
  int64_t grams = table.size() / 3;
  if (!grams)
    table.append({0, 1, 0});
  LoweredValue members = listOf(l, *pool), entries = listOf(l, table);
  FloatType f32 = l.b.getF32Type();
  LoweredValue factors = listOf(l, weights ? *weights : SmallVector<double>(outputs, 1), f32);
  bool hasRows = x.rank() == 2;
  ScalarKernel kernel(l, hasRows ? 1 : 0);
  SmallVector<int> dims = hasRows ? SmallVector<int>{0, any} : SmallVector<int>{any};
  Extents shape = hasRows ? Extents{x.shape[0], l.constant(outputs)} : Extents{l.constant(outputs)};
  unsigned from = kernel.read(x, dims), poolAt = kernel.read(members, {any}), entryAt = kernel.read(entries, {any});
  unsigned factorAt = kernel.read(factors, {any}), to = kernel.write(shape, f32, dims);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type i64 = c.b.getI64Type();
    Value zero = c.number(f32, 0), one = c.number(f32, 1), length = c.extent(from, hasRows ? 1 : 0);
    auto at = [&](Value place) {
      SmallVector<Value> full(i);
      full.push_back(place);
      return full;
    };
    c.loop(c.index(outputs), [&](Value k) { c.store(zero, to, at(k)); });
    c.loop(c.index(grams), [&](Value gram) {
      auto field = [&](int64_t k) { return c.toIndex(c.load(entryAt, {c.add(c.mul(gram, c.index(3)), c.index(k))})); };
      Value first = field(0), members = field(1), place = field(2);
      Value single = c.equal(members, c.index(1)), distances = c.select(single, c.index(1), c.index(skips + 1));
      Value count = c.sum(c.index(0), distances, zero, [&](Value less, Value outer) {
        Value step = c.add(less, c.index(1)), reach = c.mul(step, c.sub(members, c.index(1)));
        return c.sum(c.index(0), c.max(c.sub(length, reach), c.index(0)), outer, [&](Value start, Value total) {
          Value same = c.sum(c.index(0), members, c.constant(c.b.getBoolAttr(true)), [&](Value k, Value so) {
            Value element = c.convert(c.load(from, at(c.add(start, c.mul(k, step)))), i64);
            return c.both(so, c.equal(element, c.load(poolAt, {c.add(first, k)})));
          });
          return c.select(same, c.add(total, one), total);
        });
      });
      c.store(c.add(c.load(to, at(place)), count), to, at(place));
    });
    if (mode == "TF")
      return;
    c.loop(c.index(outputs), [&](Value k) {
      Value count = c.load(to, at(k)), factor = c.load(factorAt, {k});
      c.store(mode == "IDF" ? c.select(c.less(zero, count), factor, zero) : c.mul(factor, count), to, at(k));
    });
  })[0]);
  return success();
}
} // namespace

void snug::addClassicOps(LoweringTable &t) {
  t.add("TfIdfVectorizer", 9, countGrams);
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("ArrayFeatureExtractor", 1, arrayFeatureExtractor, domain);
  t.add("Binarizer", 1, binarizer, domain);
  t.add("Imputer", 1, imputer, domain);
  t.add("LinearRegressor", 1, linearRegressor, domain);
  t.add("Normalizer", 1, normalizer, domain);
  t.add("OneHotEncoder", 1, oneHotEncoder, domain);
  t.add("Scaler", 1, scaler, domain);
  t.add("TreeEnsemble", 5, treeEnsemble, domain);
}
