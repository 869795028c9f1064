// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ai.onnx.ml: ensembles of decision trees, in the form of opset 5 and in the older ones.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Classic.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>
#include <map>

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;
enum Mode { Leq, Lt, Gte, Gt, Eq, Neq, Member };
enum Aggregate { Average, Sum, Min, Max };

// Trees whose walks end and stay inside, once check() has seen to it. A node or leaf is named by its number: -1 - N is leaf
// N, which adds `leafs[N]` to `leafs[N + 1]` of the entries to their targets.
struct Trees {
  struct Node {
    int64_t feature, mode, missingIsTrue, whenTrue, whenFalse;
    int64_t firstMember = 0, endOfMembers = 0;
  };
  SmallVector<Node> nodes;
  SmallVector<double> splits;            // of each node
  SmallVector<int64_t> roots, leafs{0}, entryTargets;
  SmallVector<double> entryWeights, members, base; // base: of each target, or none
  int64_t targets = 0, aggregate = Sum;

  int64_t numLeafs() const { return leafs.size() - 1; }

  LogicalResult check(Lowering &l) const {
    for (int64_t target : entryTargets)
      if (target < 0 || target >= targets)
        return l.error() << "a leaf is of target " << target << ", which is none of " << targets;
    // A child is a leaf, or a node that no walk has come by.
    SmallVector<char> seen(nodes.size(), 0);
    SmallVector<int64_t> work(roots);
    while (!work.empty()) {
      int64_t node = work.pop_back_val();
      if (node < 0 && -1 - node >= numLeafs())
        return l.error() << "leaf " << -1 - node << " does not exist";
      if (node < 0)
        continue;
      if (node >= static_cast<int64_t>(nodes.size()) || seen[node]++)
        return l.error() << "node " << node << (node < static_cast<int64_t>(nodes.size()) ? " is reached twice" : " does not exist");
      if (nodes[node].mode < Leq || nodes[node].mode > Member)
        return l.error() << "mode " << nodes[node].mode << " is none that the standard knows";
      work.append({nodes[node].whenTrue, nodes[node].whenFalse});
    }
    return success();
  }

  LogicalResult checkBase(Lowering &l) const {
    if (!base.empty() && static_cast<int64_t>(base.size()) != targets)
      return l.error() << base.size() << " base_values for " << targets << " targets";
    return success();
  }

  // (rows, targets)
  LoweredValue run(Lowering &l, LoweredValue &x, FloatType type) const;
};

LoweredValue Trees::run(Lowering &l, LoweredValue &x, FloatType type) const {
  SmallVector<int64_t> table;
  for (const Node &node : nodes)
    table.append({node.feature, node.mode, node.missingIsTrue, node.whenTrue, node.whenFalse, node.firstMember, node.endOfMembers});
  constexpr int64_t columns = 7;
  auto orNothing = [](auto list) { // an empty constant has no place
    if (list.empty())
      list.push_back(0);
    return list;
  };
  LoweredValue nodeList = listOf(l, orNothing(table)), limits = listOf(l, orNothing(splits), type), starts = listOf(l, roots);
  LoweredValue leafList = listOf(l, leafs), targetList = listOf(l, orNothing(entryTargets));
  LoweredValue weightList = listOf(l, orNothing(entryWeights), type), sets = listOf(l, orNothing(members), type);
  LoweredValue bases = listOf(l, orNothing(base), type);
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(x, {0, any}), nodeAt = kernel.read(nodeList, {any}), limitAt = kernel.read(limits, {any});
  unsigned rootAt = kernel.read(starts, {any}), leafAt = kernel.read(leafList, {any}), targetAt = kernel.read(targetList, {any});
  unsigned weightAt = kernel.read(weightList, {any}), setAt = kernel.read(sets, {any}), baseAt = kernel.read(bases, {any});
  unsigned to = kernel.write({x.shape[0], l.constant(targets)}, type, {0, any});
  Type real = computeType(type), i64 = l.b.getI64Type();
  bool least = aggregate == Min, most = aggregate == Max;
  double trees = static_cast<double>(roots.size());
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    APFloat largest = APFloat::getLargest(cast<FloatType>(real).getFloatSemantics());
    Value start = c.number(real, 0);
    if (least || most)
      start = c.constant(c.b.getFloatAttr(real, most ? -largest : largest));
    c.loop(c.index(targets), [&](Value k) { c.store(start, to, {i[0], k}); });
    Value zero = c.number(i64, 0), minus = c.number(i64, -1);
    c.loop(c.index(roots.size()), [&](Value tree) {
      ScalarCode::Values end = c.whileLoop(
          {c.load(rootAt, {tree})}, [&](ValueRange at) { return c.lessEqual(zero, at[0]); },
          [&](ValueRange at) -> ScalarCode::Values {
            Value node = c.toIndex(at[0]), row = c.mul(node, c.index(columns));
            auto field = [&](int64_t k) { return c.load(nodeAt, {c.add(row, c.index(k))}); };
            Value element = c.convert(c.load(from, {i[0], c.clamp(c.toIndex(field(0)), c.extent(from, 1))}), real);
            Value limit = c.load(limitAt, {node}), mode = field(1), same = c.equal(element, limit);
            Value below = c.less(element, limit), above = c.less(limit, element);
            auto is = [&](int64_t k) { return c.equal(mode, c.number(i64, static_cast<double>(k))); };
            Value found = c.sum(c.toIndex(field(5)), c.toIndex(field(6)), c.constant(c.b.getBoolAttr(false)),
                                [&](Value k, Value hit) { return c.either(hit, c.equal(element, c.load(setAt, {k}))); });
            Value holds = c.both(is(Member), found);
            Value tests[] = {c.either(below, same), below, c.either(above, same), above, same, c.negate(same)};
            for (auto [k, test] : llvm::enumerate(tests))
              holds = c.either(holds, c.both(is(k), test));
            Value missing = c.negate(c.equal(element, element));
            holds = c.either(holds, c.both(missing, c.negate(c.equal(field(2), zero))));
            return {c.select(holds, field(3), field(4))};
          });
      Value leaf = c.toIndex(c.sub(minus, end[0]));
      Value first = c.toIndex(c.load(leafAt, {leaf})), last = c.toIndex(c.load(leafAt, {c.add(leaf, c.index(1))}));
      c.loop(first, last, [&](Value entry) {
        Value target = c.toIndex(c.load(targetAt, {entry})), weight = c.load(weightAt, {entry});
        Value old = c.load(to, {i[0], target});
        Value value = least  ? c.min(old, weight)
                      : most ? c.max(old, weight)
                             : c.add(old, aggregate == Average ? c.div(weight, c.number(real, trees)) : weight);
        c.store(value, to, {i[0], target});
      });
    });
    if (!base.empty())
      c.loop(c.index(targets), [&](Value k) { c.store(c.add(c.load(to, {i[0], k}), c.load(baseAt, {k})), to, {i[0], k}); });
  })[0];
}

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
  Trees trees;
  trees.targets = l.intAttr("n_targets", 0);
  trees.aggregate = l.intAttr("aggregate_function", Sum);
  auto fits = [&](auto &list, size_t size) { return list && list->size() == size; };
  if (!type || x.rank() != 2 || !count || !leafs || !roots || roots->empty() || !fits(trueIds, count) || !fits(falseIds, count) ||
      !fits(trueLeafs, count) || !fits(falseLeafs, count) || !fits(splits, count) || !fits(weights, leafs) ||
      modes.size() != count || (tracks && tracks->size() != count) || trees.targets < 1 || trees.aggregate < 0 ||
      trees.aggregate > Max)
    return l.error() << "the trees' attributes do not fit together, or an input of shape " << l.print(x.shape);
  static constexpr StringLiteral kinds[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  int64_t transform = l.intAttr("post_transform", 0);
  if (transform < 0 || transform >= static_cast<int64_t>(std::size(kinds)))
    return l.error() << "post_transform " << transform << " is none that the standard knows";
  // Sets of members end with no number each, in the order of the nodes.
  size_t next = 0;
  for (size_t node = 0; node < count; ++node) {
    auto child = [&](auto &ids, auto &isLeaf) { return (*isLeaf)[node] ? -1 - (*ids)[node] : (*ids)[node]; };
    trees.nodes.push_back({(*features)[node], modes[node], tracks ? (*tracks)[node] : 0, child(trueIds, trueLeafs),
                           child(falseIds, falseLeafs)});
    for (auto [ids, isLeaf] : {std::pair(&*trueIds, &*trueLeafs), std::pair(&*falseIds, &*falseLeafs)})
      if ((*isLeaf)[node] && ((*ids)[node] < 0 || (*ids)[node] >= static_cast<int64_t>(leafs)))
        return l.error() << "leaf " << (*ids)[node] << " does not exist";
    if (modes[node] != Member)
      continue;
    trees.nodes.back().firstMember = next;
    while (members && next < members->size() && !std::isnan((*members)[next]))
      ++next;
    if (!members || next >= members->size())
      return l.error() << "membership_values has no set for node " << node;
    trees.nodes.back().endOfMembers = next++;
  }
  trees.splits = *splits;
  trees.roots = *roots;
  trees.entryTargets = *targets;
  trees.entryWeights = *weights;
  for (size_t leaf = 1; leaf <= leafs; ++leaf)
    trees.leafs.push_back(leaf);
  if (members)
    trees.members = *members;
  if (failed(trees.check(l)))
    return failure();
  auto result = postTransform(l, trees.run(l, x, type), trees.targets, kinds[transform]);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// --- the older form -----------------------------------------------------------------------------------------------

std::optional<SmallVector<double>> listOrTensor(Lowering &l, const Twine &name) {
  auto list = floatsAttr(l, name.str());
  return list && !list->empty() ? list : floatsAttr(l, (name + "_as_tensor").str());
}

// Nodes are named by a tree and a number; `entries` is the prefix of the attributes that say what leafs add ("target_").
std::optional<Trees> olderTrees(Lowering &l, StringRef entries, int64_t targets) {
  auto treeIds = l.intsAttr("nodes_treeids"), nodeIds = l.intsAttr("nodes_nodeids"), features = l.intsAttr("nodes_featureids");
  auto trueIds = l.intsAttr("nodes_truenodeids"), falseIds = l.intsAttr("nodes_falsenodeids");
  auto tracks = l.intsAttr("nodes_missing_value_tracks_true");
  auto modes = stringsAttr(l, "nodes_modes");
  auto values = listOrTensor(l, "nodes_values");
  auto entryTrees = l.intsAttr((entries + "treeids").str()), entryNodes = l.intsAttr((entries + "nodeids").str());
  auto entryIds = l.intsAttr((entries + "ids").str());
  auto weights = listOrTensor(l, entries + "weights"), base = listOrTensor(l, "base_values");
  size_t count = treeIds ? treeIds->size() : 0, adds = entryTrees ? entryTrees->size() : 0;
  auto fits = [](auto &list, size_t size) { return list && list->size() == size; };
  if (!count || !adds || !fits(nodeIds, count) || !fits(features, count) || !fits(trueIds, count) || !fits(falseIds, count) ||
      !fits(modes, count) || !fits(values, count) || (tracks && !tracks->empty() && tracks->size() != count) ||
      !fits(entryNodes, adds) || !fits(entryIds, adds) || !fits(weights, adds) || targets < 1 ||
      (base && base->size() > 1 && base->size() != static_cast<size_t>(targets))) {
    l.error() << "the trees' attributes do not fit together";
    return std::nullopt;
  }
  Trees trees;
  trees.targets = targets;
  // Where a node is: its place among the nodes, or -1 - that of its leaf. (A file's numbers may be any, even those that a
  // DenseMap keeps to itself.)
  using Name = std::pair<int64_t, int64_t>;
  std::map<Name, int64_t> places;
  SmallVector<size_t> inner;
  llvm::MapVector<Name, SmallVector<size_t>, std::map<Name, unsigned>> added; // by leaf
  llvm::MapVector<int64_t, int64_t, std::map<int64_t, unsigned>> firstOf; // tree -> its first node
  for (size_t i = 0; i < count; ++i) {
    std::pair name((*treeIds)[i], (*nodeIds)[i]);
    bool isLeaf = (*modes)[i] == "LEAF";
    int64_t place = isLeaf ? -1 - static_cast<int64_t>(added.size()) : static_cast<int64_t>(inner.size());
    if (!places.try_emplace(name, place).second) {
      l.error() << "node " << name.second << " of tree " << name.first << " is there twice";
      return std::nullopt;
    }
    firstOf.try_emplace(name.first, place);
    if (isLeaf)
      added[name];
    else
      inner.push_back(i);
  }
  for (size_t i = 0; i < adds; ++i) {
    auto leaf = added.find(std::pair((*entryTrees)[i], (*entryNodes)[i]));
    if (leaf == added.end()) {
      l.error() << entries << "nodeids names node " << (*entryNodes)[i] << " of tree " << (*entryTrees)[i] << ", which is no leaf";
      return std::nullopt;
    }
    leaf->second.push_back(i);
  }
  for (auto &[leaf, list] : added) {
    for (size_t entry : list) {
      trees.entryTargets.push_back((*entryIds)[entry]);
      trees.entryWeights.push_back((*weights)[entry]);
    }
    trees.leafs.push_back(trees.entryTargets.size());
  }
  static constexpr StringLiteral names[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"};
  for (size_t i : inner) {
    auto mode = llvm::find(names, (*modes)[i]);
    auto whenTrue = places.find(std::pair((*treeIds)[i], (*trueIds)[i])), whenFalse = places.find(std::pair((*treeIds)[i], (*falseIds)[i]));
    if (mode == std::end(names) || whenTrue == places.end() || whenFalse == places.end()) {
      l.error() << "node " << (*nodeIds)[i] << " of tree " << (*treeIds)[i] << " has mode '" << (*modes)[i]
                << "' or a child that does not exist";
      return std::nullopt;
    }
    trees.nodes.push_back({(*features)[i], mode - std::begin(names), tracks && !tracks->empty() ? (*tracks)[i] : 0,
                           whenTrue->second, whenFalse->second});
    trees.splits.push_back((*values)[i]);
  }
  for (auto [tree, first] : firstOf)
    trees.roots.push_back(first);
  if (base)
    trees.base = *base;
  if (failed(trees.check(l)))
    return std::nullopt;
  return trees;
}

// They compute in doubles where the input has such, else in floats.
FloatType computedIn(Lowering &l, LoweredValue &x) {
  return x.elementType.isF64() ? cast<FloatType>(x.elementType) : FloatType(l.b.getF32Type());
}

LogicalResult treeRegressor(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto trees = olderTrees(l, "target_", l.intAttr("n_targets", 0));
  static constexpr StringLiteral names[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  auto aggregate = llvm::find(names, l.stringAttr("aggregate_function", "SUM"));
  if (!trees || failed(trees->checkBase(l)))
    return failure();
  if (x.rank() != 2 || aggregate == std::end(names))
    return l.error() << "aggregate_function '" << l.stringAttr("aggregate_function", "") << "' of an input of shape "
                     << l.print(x.shape) << " is not supported";
  trees->aggregate = aggregate - std::begin(names);
  LoweredValue sums = trees->run(l, x, computedIn(l, x));
  auto result = postTransform(l, sums, trees->targets, l.stringAttr("post_transform", "NONE"));
  if (failed(result))
    return failure();
  FloatType f32 = l.b.getF32Type(); // whatever the input has
  if (result->elementType != f32)
    result = l.elementwise({&*result}, f32, [&](OpBuilder &b, Location loc, ValueRange a) {
      return ScalarCode{b, loc}.convert(a[0], f32);
    });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// The second of two labels where the score in a column is above a limit.
LoweredValue labelAbove(Lowering &l, LoweredValue &scores, int64_t column, double limit, ClassLabels &labels) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(scores, {0, any}), at = kernel.read(labels.list, {any});
  unsigned to = kernel.write({scores.shape[0]}, labels.list.elementType, {0});
  return kernel.build([&](ScalarCode &c, ValueRange row) {
    Value score = c.load(from, {row[0], c.index(column)});
    Value which = c.select(c.less(c.number(score.getType(), limit), score), c.index(1), c.index(0));
    c.store(c.load(at, {which}), to, row);
  })[0];
}

// Two classes, and all leafs are of the same one. The standard says nothing of it; this is what ONNX Runtime does: the second
// class it is from a limit on that goes by the weights, and a score of the first class is that of the second one.
LogicalResult oneScore(Lowering &l, Trees &trees, ClassLabels &labels, StringRef kind) {
  bool isPositive = llvm::all_of(trees.entryWeights, [](double weight) { return weight >= 0; });
  bool isOfFirst = trees.entryTargets.front() == 0;
  if (trees.base.size() > (isOfFirst ? 1 : 0) || (isOfFirst && kind == "PROBIT"))
    return l.error() << "all leafs are of class " << trees.entryTargets.front() << " of two: " << trees.base.size()
                     << " base_values with post_transform " << kind << " are not supported";
  if (isOfFirst)
    trees.targets = 1;
  LoweredValue scores = trees.run(l, l.input(0), l.b.getF32Type());
  l.define(0, labelAbove(l, scores, isOfFirst ? 0 : 1, isPositive ? 0.5 : 0, labels));
  if (isOfFirst) {
    scores = withSecondClass(l, scores, /*isProbability=*/isPositive && kind != "LOGISTIC");
    kind = kind == "LOGISTIC" ? kind : "NONE";
  }
  return finish(l, postTransform(l, scores, 2, kind), 1);
}

LogicalResult treeClassifier(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto labels = classLabels(l, "classlabels_int64s", "classlabels_strings");
  auto trees = labels ? olderTrees(l, "class_", labels->count) : std::nullopt;
  if (!trees)
    return failure();
  if (x.rank() != 2)
    return l.error() << "an input of shape " << l.print(x.shape) << " is not supported";
  if (labels->count < 2)
    return l.error() << "a classifier with a single label is not supported";
  StringRef kind = l.stringAttr("post_transform", "NONE");
  if (labels->count == 2 && llvm::all_equal(trees->entryTargets))
    return oneScore(l, *trees, *labels, kind);
  if (failed(trees->checkBase(l)))
    return failure();
  auto result = postTransform(l, trees->run(l, x, l.b.getF32Type()), labels->count, kind);
  if (failed(result))
    return failure();
  l.define(0, labelsOf(l, *result, *labels));
  l.define(1, *result);
  return success();
}
} // namespace

void snug::addTreeOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.ml";
  t.add("TreeEnsemble", 5, treeEnsemble, domain);
  t.add("TreeEnsembleClassifier", 1, treeClassifier, domain);
  t.add("TreeEnsembleRegressor", 1, treeRegressor, domain);
}
