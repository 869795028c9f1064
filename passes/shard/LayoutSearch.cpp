// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutSearch.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "lib/solver/LayoutSolver.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Diagnostics.h"
#include "passes/shard/CutCandidates.h"
#include "passes/shard/FunctionLayouts.h"
#include "passes/shard/LinearLayers.h"
#include "passes/shard/OpenExtents.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace snug;

namespace {
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
        candidates(block, known()), layers(block, candidates) {}

  // States the problem. Failure with an error where a pin cannot be kept.
  LogicalResult build() {
    for (const std::vector<TensorLayout> &layouts : ends.choices)
      choices.push_back(add(std::vector<double>(layouts.size(), 0)));
    for (auto [i, choice] : llvm::enumerate(ends.arguments)) // caches are cut where nothing speaks against it
      if (choice) {
        LayoutCosts::Sizes sizes = costs.sizesOf(block.getArgument(i));
        for (auto [state, layout] : llvm::enumerate(ends.choices[choice]))
          problem.nodes[choices[choice]].cost[state] +=
              costs.seconds([&, kept = layout](size_t phase) { return costs.holding(sizes[phase], kept); });
      }
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
    return success();
  }

  size_t numLayers() const { return layers.size(); }

  /// The best of the family. Layers that nothing is of the family of go without it, and are counted in `outside`.
  LayoutSolution solve(MeshFamily family, size_t &outside) {
    std::vector<LayoutProblem::Node> all = problem.nodes;
    outside += restrictTo(family);
    LayoutSolution solution = solveLayouts(problem);
    problem.nodes = std::move(all);
    return solution;
  }

  // By phase.
  std::vector<StatedTraffic> trafficOf(const LayoutSolution &solution) {
    std::vector<StatedTraffic> all(costs.numPhases());
    for (size_t phase = 0; phase < all.size(); ++phase) {
      for (auto &[op, node] : nodes)
        all[phase] += costs.doing(phase, op, candidates.ruleOf(op), node.states[solution.states[node.number]]);
      // What several readers want of one tensor is made once.
      llvm::DenseSet<unsigned> isShared;
      for (const Shared &one : shared)
        isShared.insert(one.node);
      llvm::DenseMap<unsigned, SmallVector<TensorLayout>> made;
      for (const Way &way : ways) {
        const TensorLayout &to = way.wanted.size() == 1 ? way.wanted.front() : way.wanted[solution.states[way.to]];
        if (isShared.contains(way.from) && llvm::is_contained(made[way.from], to))
          continue;
        made[way.from].push_back(to);
        all[phase] += costs.resharding(way.sizes[phase], way.given[solution.states[way.from]], to);
      }
    }
    return all;
  }

  void write(const LayoutSolution &solution, LayoutSearchResult &result) {
    result.seconds += solution.cost;
    result.isOptimal &= solution.isOptimal;
    for (auto &[op, node] : nodes) {
      unsigned state = solution.states[node.number];
      writeCuts(op, node.states[state]);
      replicatedBytes(op, candidates.ruleOf(op), node.states[state], &result.replicated);
      result.seconds -= costs.replicating(node.avoidable[state]);
    }
    SmallVector<unsigned> chosen;
    for (unsigned node : choices)
      chosen.push_back(solution.states[node]);
    ends.write(function, chosen);
    writeShared(solution);
  }

private:
  void writeShared(const LayoutSolution &solution) {
    MLIRContext *context = function.getContext();
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      function.removeArgAttr(i, kShared);
    for (auto &[op, node] : nodes)
      op->removeAttr(kShared);
    llvm::MapVector<Operation *, SmallVector<Attribute>> results;
    for (const Shared &one : shared) {
      Attribute layout = sharedAttribute(context, one.layouts[solution.states[one.node]]);
      if (auto argument = dyn_cast<BlockArgument>(one.value)) {
        function.setArgAttr(argument.getArgNumber(), kShared, layout);
        continue;
      }
      auto result = cast<OpResult>(one.value);
      SmallVector<Attribute> &all = results[result.getOwner()];
      all.resize(result.getOwner()->getNumResults(), UnitAttr::get(context));
      all[result.getResultNumber()] = layout;
    }
    for (auto &[op, layouts] : results)
      op->setAttr(kShared, ArrayAttr::get(context, layouts));
  }

  struct Shared {
    Value value;
    unsigned node = 0;
    std::vector<TensorLayout> layouts;
  };
  struct Node {
    unsigned number = 0;
    std::vector<OpCuts> states;
    std::vector<double> avoidable; // bytes that the device holds beyond the least of any state
  };

  // What brings a tensor from a node to another one, or to the one layout that is wanted.
  struct Way {
    unsigned from = 0, to = 0;
    std::vector<TensorLayout> given, wanted; // by state
    LayoutCosts::Sizes sizes;
  };

  // Allows layers only what is of the family, and returns how many have nothing that is.
  size_t restrictTo(MeshFamily family) {
    size_t outside = 0;
    for (auto &[op, node] : nodes) {
      if (!layers.contains(op))
        continue;
      std::vector<double> &cost = problem.nodes[node.number].cost, kept = cost;
      bool isAny = false;
      for (auto [state, cuts] : llvm::enumerate(node.states))
        if (layers.isOf(family, op, cuts, costs.mesh))
          isAny = true;
        else
          kept[state] = std::numeric_limits<double>::infinity();
      if (isAny)
        cost = std::move(kept);
      outside += !isAny;
    }
    return outside;
  }

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
      for (const std::optional<IterationCut> &cut : cuts)
        if (cut && (cut->isRing ? costs.rules.ring == RingAttention::Off : costs.rules.ring == RingAttention::On && rule.keysOfRing(*cut)))
          return;
      for (unsigned i = 0; i < op->getNumOperands(); ++i)
        if (!operandLayout(rule, i, cuts, costs.mesh))
          return;
      for (unsigned i = 0; i < op->getNumResults(); ++i)
        if (!resultLayout(rule, i, cuts, costs.mesh))
          return;
      if (!keepsPins(op, rule, cuts))
        return;
      node.states.push_back(cuts);
      node.avoidable.push_back(replicatedBytes(op, rule, cuts));
      cost.push_back(costs.seconds([&](size_t phase) { return costs.doing(phase, op, rule, cuts); }));
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
    double least = *llvm::min_element(node.avoidable);
    for (auto [seconds, bytes] : llvm::zip_equal(cost, node.avoidable))
      seconds += costs.replicating(bytes -= least);
    node.number = add(std::move(cost));
    nodes[op] = std::move(node);
    return success();
  }

  // Of matrices, beyond a device's share.
  double replicatedBytes(Operation *op, const ShardRule &rule, const OpCuts &cuts, llvm::MapVector<StringRef, double> *names = nullptr) {
    double replicated = 0;
    auto note = [&](Value operand, double share) {
      auto weight = operand.getDefiningOp<nn::WeightOp>();
      if (!weight || cast<ShapedType>(weight.getType()).getRank() < 2)
        return;
      double bytes = costs.sizeOf(0, weight).bytes * (share - 1.0 / static_cast<double>(costs.mesh[0] * costs.mesh[1]));
      replicated += bytes;
      if (names && bytes > 0)
        (*names)[weight.getData()] += bytes;
    };
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      note(op->getOperand(i), shareOf(*operandLayout(rule, i, cuts, costs.mesh), costs.mesh));
    llvm::SmallSetVector<Value, 4> inside; // of bodies, which each device does as they are
    op->walk([&](Operation *inner) {
      if (inner != op)
        inside.insert(inner->operand_begin(), inner->operand_end());
    });
    for (Value operand : inside)
      note(operand, 1);
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
    LayoutCosts::Sizes sizes = costs.sizesOf(value);
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
      addEdge(from, given, copy, all, sizes);
      shared.push_back({value, copy, all});
      from = copy;
      given = all;
    }
    for (auto [use, layouts] : llvm::zip_equal(uses, wanted))
      addEdge(from, given, nodes.find(use->getOwner())->second.number, layouts, sizes);
    for (unsigned choice : returned) {
      const std::vector<TensorLayout> &layouts = ends.choices[choice];
      if (layouts.size() > 1)
        addEdge(from, given, choices[choice], layouts, sizes);
      else {
        for (auto [state, layout] : llvm::enumerate(given))
          problem.nodes[from].cost[state] += resharding(sizes, layout, layouts.front());
        ways.push_back({from, from, given, layouts, sizes});
      }
    }
  }

  double resharding(const LayoutCosts::Sizes &sizes, const TensorLayout &a, const TensorLayout &b) {
    return costs.seconds([&](size_t phase) { return costs.resharding(sizes[phase], a, b); });
  }

  void addEdge(unsigned from, const std::vector<TensorLayout> &given, unsigned to, const std::vector<TensorLayout> &wanted,
               const LayoutCosts::Sizes &sizes) {
    std::vector<double> cost;
    for (const TensorLayout &a : given)
      for (const TensorLayout &b : wanted)
        cost.push_back(resharding(sizes, a, b));
    problem.edges.push_back({from, to, std::move(cost)});
    ways.push_back({from, to, given, wanted, sizes});
  }

  func::FuncOp function;
  Block &block;
  LayoutCosts &costs;
  const Pins &pins;
  FunctionLayouts ends;
  CutCandidates candidates;
  LinearLayers layers;
  SmallVector<unsigned> choices; // the node of each of `ends`
  LayoutProblem problem;
  std::vector<Way> ways;
  std::vector<Shared> shared;
  llvm::MapVector<Operation *, Node> nodes;
};

// Of all functions of a module.
class ModuleSearch {
public:
  static FailureOr<ModuleSearch> of(ModuleOp module, LayoutCosts &costs) {
    if (std::string problem = pinProblem(module, costs.mesh); !problem.empty())
      return module.emitError() << problem;
    ModuleSearch all(module, costs);
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isDeclaration())
        continue;
      if (!function.getBody().hasOneBlock()) {
        function.emitRemark() << "has control flow between blocks: it is not cut, but done by each device";
        continue;
      }
      sayExtents(function.front());
      all.searches.push_back(std::make_unique<LayoutSearch>(function, *all.pins, costs));
      if (failed(all.searches.back()->build()))
        return failure();
    }
    return all;
  }

  // The solutions, by function, and how many layers are outside of the family; else why there is none.
  std::string solve(MeshFamily family, std::vector<LayoutSolution> &solutions, size_t &outside) {
    if (std::string problem = familyProblem(family, costs.mesh); !problem.empty())
      return problem;
    size_t layers = 0;
    for (auto &search : searches) {
      solutions.push_back(search->solve(family, outside));
      layers += search->numLayers();
      if (!solutions.back().problem.empty())
        return "no way to cut it for the mesh: " + solutions.back().problem;
    }
    if (family == MeshFamily::Free || family == MeshFamily::OneD || layers > outside) // 1D asks nothing beyond the mesh
      return "";
    return (layers ? "none of its " + std::to_string(layers) + " products with matrices of weights can be cut for "
                   : "it has no products with matrices of weights that could be cut for ") +
           (std::to_string(costs.mesh[0]) + "x" + std::to_string(costs.mesh[1]) + " devices as '" + nameOf(family) + "' says: take another family or mesh");
  }

  LayoutCosts &costs;
  std::vector<std::unique_ptr<LayoutSearch>> searches;

private:
  ModuleSearch(ModuleOp module, LayoutCosts &costs) : costs(costs), pins(std::make_unique<Pins>(module)) {}

  std::unique_ptr<Pins> pins; // which searches refer to
};
} // namespace

FailureOr<LayoutSearchResult> snug::searchLayouts(ModuleOp module, LayoutCosts &costs, MeshFamily family) {
  LayoutSearchResult result;
  FailureOr<ModuleSearch> search = ModuleSearch::of(module, costs);
  if (failed(search))
    return failure();
  std::vector<LayoutSolution> solutions;
  if (std::string problem = search->solve(family, solutions, result.outside); !problem.empty())
    return module.emitError() << problem;
  module->setAttr(kMesh, Builder(module.getContext()).getDenseI64ArrayAttr(costs.mesh));
  for (auto [one, solution] : llvm::zip_equal(search->searches, solutions))
    one->write(solution, result);
  return result;
}

std::vector<StatedProgram> snug::priceLayouts(ModuleOp module, LayoutCosts &costs, ArrayRef<MeshFamily> families) {
  std::string why;
  ScopedDiagnosticHandler keep(module.getContext(), [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
      why = diagnostic.str();
    return success();
  });
  FailureOr<ModuleSearch> search = ModuleSearch::of(module, costs);
  std::vector<StatedProgram> programs;
  for (MeshFamily family : families) {
    StatedProgram program{family, {costs.mesh[0], costs.mesh[1]}, why, std::vector<StatedTraffic>(costs.numPhases())};
    std::vector<LayoutSolution> solutions;
    size_t outside = 0;
    if (succeeded(search))
      program.refused = search->solve(family, solutions, outside);
    for (size_t i = 0; program.refused.empty() && i < solutions.size(); ++i)
      for (auto [sum, one] : llvm::zip_equal(program.phases, search->searches[i]->trafficOf(solutions[i])))
        sum += one;
    programs.push_back(std::move(program));
  }
  return programs;
}
