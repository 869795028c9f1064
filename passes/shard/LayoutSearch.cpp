// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutSearch.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "lib/solver/LayoutSolver.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/shard/CutCandidates.h"
#include "passes/shard/FunctionLayouts.h"

using namespace mlir;
using namespace snug;

namespace {
// Seconds for each byte of a matrix that a device holds beyond its share. Not a time: a model is cut so that its weights fit.
constexpr double kReplicatedByte = 1e-6;

bool isTensor(Value value) { return isa<RankedTensorType>(value.getType()); }

// Constants are cut where they are read, for nothing.
bool isConstant(Value value) {
  Operation *op = value.getDefiningOp();
  return op && (isa<nn::WeightOp, tensor::EmptyOp>(op) || op->hasTrait<OpTrait::ConstantLike>());
}

class LayoutSearch {
public:
  LayoutSearch(func::FuncOp function, const Pins &pins, LayoutCosts &costs)
      : function(function), block(function.front()), costs(costs), pins(pins), ends(FunctionLayouts::of(function, costs.mesh)),
        candidates(block, known()) {}

  FailureOr<LayoutSearchResult> run() {
    for (const std::vector<TensorLayout> &layouts : ends.choices)
      choices.push_back(add(std::vector<double>(layouts.size(), 0)));
    for (Operation &op : block.without_terminator())
      if (llvm::any_of(op.getResults(), isTensor) && !isConstant(op.getResult(0)) && failed(addOp(&op)))
        return failure();
    if (failed(checkPinnedWeights()))
      return failure();
    for (auto &[op, node] : nodes)
      for (Value result : op->getResults())
        if (isTensor(result))
          addUses(result, node.number);
    for (BlockArgument argument : block.getArguments())
      if (isTensor(argument))
        addUses(argument, std::nullopt);
    LayoutSolution solution = solveLayouts(problem);
    if (!solution.problem.empty())
      return block.getParentOp()->emitError() << "no way to cut it for the mesh: " << solution.problem;
    for (auto &[op, node] : nodes)
      writeCuts(op, node.states[solution.states[node.number]]);
    SmallVector<unsigned> chosen;
    for (unsigned node : choices)
      chosen.push_back(solution.states[node]);
    ends.write(function, chosen);
    LayoutSearchResult result;
    double beyond = 0;
    for (auto &[op, node] : nodes)
      beyond += replicatedBytes(op, candidates.ruleOf(op), node.states[solution.states[node.number]], &result.replicated);
    result.seconds = solution.cost - kReplicatedByte * beyond;
    result.isOptimal = solution.isOptimal;
    return result;
  }

private:
  struct Node {
    unsigned number = 0;
    std::vector<OpCuts> states;
  };

  unsigned add(std::vector<double> cost) {
    problem.nodes.push_back({std::move(cost)});
    return problem.nodes.size() - 1;
  }

  std::vector<KnownLayout> known() {
    std::vector<KnownLayout> all = ends.known(function), others = pins.known(block, costs.mesh);
    all.insert(all.end(), others.begin(), others.end());
    return all;
  }

  // Whether what the op reads, or is, is in parts as pins say.
  bool keepsPins(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
    if (auto pin = dyn_cast<mesh::PinOp>(op))
      return isPinnedTo(*resultLayout(rule, 0, cuts, costs.mesh), {pin.getDims()[0], pin.getDims()[1]}, costs.mesh);
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      if (auto weight = op->getOperand(i).getDefiningOp<nn::WeightOp>())
        if (auto dims = pins.ofWeight(weight); dims && !isPinnedTo(*operandLayout(rule, i, cuts, costs.mesh), *dims, costs.mesh))
          return false;
    return true;
  }

  // Each reader of a pinned weight has to be one that can take a part.
  LogicalResult checkPinnedWeights() {
    for (auto weight : block.getOps<nn::WeightOp>())
      for (Operation *user : weight->getUsers())
        if (pins.ofWeight(weight) && !nodes.count(user))
          return user->emitError() << "reads '" << nameOf(weight) << "' as a whole, which is pinned to be in parts";
    return success();
  }

  static StringRef nameOf(nn::WeightOp weight) {
    StringRef name = weight.getData();
    name.consume_front("weight_");
    return name;
  }

  LogicalResult addOp(Operation *op) {
    const ShardRule &rule = candidates.ruleOf(op);
    Node node;
    std::vector<double> cost;
    auto consider = [&](const OpCuts &cuts) {
      for (unsigned i = 0; i < op->getNumOperands(); ++i)
        if (!operandLayout(rule, i, cuts, costs.mesh))
          return;
      for (unsigned i = 0; i < op->getNumResults(); ++i)
        if (!resultLayout(rule, i, cuts, costs.mesh))
          return;
      if (!keepsPins(op, rule, cuts))
        return;
      node.states.push_back(cuts);
      cost.push_back(ownCost(op, rule, cuts));
    };
    SmallVector<std::optional<IterationCut>> choices{std::nullopt};
    for (const IterationCut &cut : candidates.of(op))
      choices.push_back(cut);
    for (const auto &first : choices)
      for (const auto &second : choices)
        if ((!first || costs.mesh[0] > 1) && (!second || costs.mesh[1] > 1))
          consider({first, second});
    if (node.states.empty()) {
      std::string names;
      for (Value operand : op->getOperands())
        if (auto weight = operand.getDefiningOp<nn::WeightOp>(); weight && pins.ofWeight(weight))
          names += (names.empty() ? "'" : ", '") + nameOf(weight).str() + "'";
      return op->emitError() << "cannot be cut so that it reads " << (names.empty() ? "what is pinned" : names)
                             << " in the parts that were asked for on " << costs.mesh[0] << "x" << costs.mesh[1] << " devices";
    }
    node.number = add(std::move(cost));
    nodes[op] = std::move(node);
    return success();
  }

  double ownCost(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
    double share = 1;
    for (int axis = 0; axis < kMeshAxes; ++axis)
      share /= cuts[axis] ? static_cast<double>(costs.mesh[axis]) : 1;
    return costs.computing(op, share) + costs.joiningRows(op, rule, cuts) + kReplicatedByte * replicatedBytes(op, rule, cuts);
  }

  // Of matrices, beyond a device's share.
  double replicatedBytes(Operation *op, const ShardRule &rule, const OpCuts &cuts, llvm::MapVector<StringRef, double> *names = nullptr) {
    double replicated = 0;
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      if (auto weight = op->getOperand(i).getDefiningOp<nn::WeightOp>(); weight && cast<ShapedType>(weight.getType()).getRank() > 1) {
        double share = shareOf(*operandLayout(rule, i, cuts, costs.mesh), costs.mesh);
        double bytes = costs.bytesOf(weight) * (share - 1.0 / static_cast<double>(costs.mesh[0] * costs.mesh[1]));
        replicated += bytes;
        if (names && bytes > 0)
          (*names)[weight.getData()] += bytes;
      }
    return replicated;
  }

  // An edge from a value to each of its readers. Where there are several, what they read is brought to one layout first,
  // once for all that want that one: a node of its own.
  void addUses(Value value, std::optional<unsigned> producer) {
    SmallVector<OpOperand *> uses;
    llvm::SmallSetVector<unsigned, 2> returned; // choices of the results that it is
    for (OpOperand &use : value.getUses()) {
      Operation *user = block.findAncestorOpInBlock(*use.getOwner());
      if (user == block.getTerminator())
        returned.insert(ends.results[use.getOperandNumber()]);
      else if (user && user == use.getOwner() && nodes.count(user) && !isConstant(value))
        uses.push_back(&use);
      else if (user && user != use.getOwner())
        returned.insert(0); // an op with a body reads it as a whole
    }
    std::vector<TensorLayout> given{TensorLayout()};
    if (auto argument = dyn_cast<BlockArgument>(value))
      given = ends.choices[ends.arguments[argument.getArgNumber()]];
    if (producer) {
      auto result = cast<OpResult>(value);
      const Node &node = nodes.find(result.getOwner())->second;
      given.clear();
      for (const OpCuts &cuts : node.states)
        given.push_back(*resultLayout(candidates.ruleOf(result.getOwner()), result.getResultNumber(), cuts, costs.mesh));
    }
    std::vector<std::vector<TensorLayout>> wanted;
    for (OpOperand *use : uses) {
      wanted.emplace_back();
      for (const OpCuts &cuts : nodes.find(use->getOwner())->second.states)
        wanted.back().push_back(
            *operandLayout(candidates.ruleOf(use->getOwner()), use->getOperandNumber(), cuts, costs.mesh));
    }
    double bytes = costs.bytesOf(value);
    unsigned from = 0;
    if (producer)
      from = *producer;
    else // what is whole is no choice, and so no node that all of them share
      from = given.size() > 1 ? choices[ends.arguments[cast<BlockArgument>(value).getArgNumber()]] : add({0});
    if (uses.size() + returned.size() > 1) {
      std::vector<TensorLayout> all;
      auto note = [&](const std::vector<TensorLayout> &layouts) {
        for (const TensorLayout &layout : layouts)
          if (!llvm::is_contained(all, layout))
            all.push_back(layout);
      };
      note(given);
      for (const std::vector<TensorLayout> &layouts : wanted)
        note(layouts);
      if (!llvm::is_contained(all, TensorLayout()))
        all.push_back(TensorLayout());
      unsigned copy = add(std::vector<double>(all.size(), 0));
      addEdge(from, given, copy, all, bytes);
      from = copy;
      given = all;
    }
    for (auto [use, layouts] : llvm::zip_equal(uses, wanted))
      addEdge(from, given, nodes.find(use->getOwner())->second.number, layouts, bytes);
    for (unsigned choice : returned) {
      const std::vector<TensorLayout> &layouts = ends.choices[choice];
      if (layouts.size() > 1)
        addEdge(from, given, choices[choice], layouts, bytes);
      else
        for (auto [state, layout] : llvm::enumerate(given))
          problem.nodes[from].cost[state] += costs.resharding(bytes, layout, layouts.front());
    }
  }

  void addEdge(unsigned from, const std::vector<TensorLayout> &given, unsigned to, const std::vector<TensorLayout> &wanted,
               double bytes) {
    std::vector<double> cost;
    for (const TensorLayout &a : given)
      for (const TensorLayout &b : wanted)
        cost.push_back(canBecome(a, b) ? costs.resharding(bytes, a, b) : std::numeric_limits<double>::infinity());
    problem.edges.push_back({from, to, std::move(cost)});
  }

  // Summands are made by ops only.
  static bool canBecome(const TensorLayout &a, const TensorLayout &b) {
    for (int axis = 0; axis < kMeshAxes; ++axis)
      if (b[axis].kind == AxisLayout::Partial && a[axis].kind != AxisLayout::Partial)
        return false;
    return true;
  }

  func::FuncOp function;
  Block &block;
  LayoutCosts &costs;
  const Pins &pins;
  FunctionLayouts ends;
  CutCandidates candidates;
  SmallVector<unsigned> choices; // the node of each of `ends`
  LayoutProblem problem;
  llvm::MapVector<Operation *, Node> nodes;
};
} // namespace

FailureOr<LayoutSearchResult> snug::searchLayouts(ModuleOp module, LayoutCosts &costs) {
  LayoutSearchResult all;
  Builder b(module.getContext());
  module->setAttr(kMesh, b.getDenseI64ArrayAttr(costs.mesh));
  if (std::string problem = pinProblem(module, costs.mesh); !problem.empty())
    return module.emitError() << problem;
  Pins pins(module);
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isDeclaration())
      continue;
    if (!function.getBody().hasOneBlock()) {
      function.emitRemark() << "has control flow between blocks: it is not cut, but done by each device";
      continue;
    }
    auto found = LayoutSearch(function, pins, costs).run();
    if (failed(found))
      return failure();
    all.seconds += found->seconds;
    all.isOptimal &= found->isOptimal;
    for (auto [weight, bytes] : found->replicated)
      all.replicated[weight] += bytes;
  }
  return all;
}
