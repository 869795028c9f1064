// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// If, Loop, Scan and SequenceMap. A condition that is known chooses a branch; iterations become a loop over tensors, or one
// piece of code each, where they are few or what they carry changes its shape.
#include "mlir/IR/Diagnostics.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
// So many iterations are no loop, but written out.
constexpr int64_t kFewIterations = 2;
// Beyond this many the code would be too much.
constexpr int64_t kMostIterations = 1024;

using Values = LoweredValues;

void defineAll(Lowering &l, ArrayRef<LoweredValue> values) {
  for (auto [index, value] : llvm::enumerate(values))
    l.define(index, value);
}

LoweredValue boolean(Lowering &l, bool value) { return l.splatValue(l.b.getBoolAttr(value), {}); }

LoweredValue number(Lowering &l, AffineExpr value) { return l.intsValue(l.b.getI64Type(), {value}, /*scalar=*/true); }

std::optional<bool> knownCondition(Lowering &l, const LoweredValue &value) {
  auto known = l.constantInts(value);
  return known && known->size() == 1 ? std::optional<bool>((*known)[0]) : std::nullopt;
}

FailureOr<Region *> bodyOf(Lowering &l, StringRef name) {
  Region *body = l.node().getBody(name);
  if (!body)
    return l.error() << "the subgraph '" << name << "' is missing";
  return body;
}

bool holdsSequence(const LoweredValue &value) { return value.isSequence; }

// What was said while something was tried.
struct Tried {
  explicit Tried(MLIRContext *context)
      : handler(context, [this](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
            return failure();
          if (text.empty()) {
            text = diagnostic.str();
            where = diagnostic.getLocation();
          }
          return success();
        }) {}
  ScopedDiagnosticHandler handler;
  std::string text;
  std::optional<Location> where;
};

// --- If -----------------------------------------------------------------------------------------------------------

LogicalResult ifOp(Lowering &l) {
  auto whenTrue = bodyOf(l, "then_branch"), whenFalse = bodyOf(l, "else_branch");
  if (failed(whenTrue) || failed(whenFalse))
    return failure();
  LoweredValue condition = l.input(0);
  auto known = knownCondition(l, condition);
  auto count = l.constant(1);
  for (AffineExpr extent : condition.shape)
    count = count * extent;
  if (!known && (!condition.elementType.isInteger(1) || count != l.constant(1)))
    return l.error() << "a condition of shape " << l.print(condition.shape) << " is not one boolean";
  auto results = known ? l.lowerBody(*known ? **whenTrue : **whenFalse, {})
                       : l.branch(condition, [&] { return l.lowerBody(**whenTrue, {}); },
                                  [&] { return l.lowerBody(**whenFalse, {}); });
  if (failed(results))
    return failure();
  defineAll(l, *results);
  return success();
}

// --- Loop ---------------------------------------------------------------------------------------------------------

class LoopLowering {
public:
  explicit LoopLowering(Lowering &l) : l(l) {}

  LogicalResult run() {
    auto region = bodyOf(l, "body");
    if (failed(region))
      return failure();
    body = *region;
    std::optional<Extents> trips = l.hasInput(0) ? l.ints(l.input(0)) : std::nullopt;
    if (trips && trips->size() == 1)
      count = (*trips)[0];
    if (auto constant = dyn_cast_or_null<AffineConstantExpr>(count); constant && constant.getValue() < 0)
      count = l.constant(0);
    isCounted = l.hasInput(0);
    condition = l.hasInput(1) ? l.input(1) : boolean(l, true);
    starts = knownCondition(l, condition);
    if (starts && !*starts)
      count = l.constant(0);
    for (unsigned i = 2; i < l.numInputs(); ++i)
      initial.push_back(l.input(i));
    unsigned yields = body->front().getTerminator()->getNumOperands();
    if (yields < 1 + initial.size() || body->front().getNumArguments() != 2 + initial.size())
      return l.error() << "the body takes " << body->front().getNumArguments() << " values and gives " << yields << ", given are "
                       << initial.size() << " that it carries";
    numCollected = yields - 1 - initial.size();
    auto number = dyn_cast_or_null<AffineConstantExpr>(count);
    if (number && number.getValue() > 0 &&
        (number.getValue() <= kFewIterations || llvm::any_of(initial, holdsSequence)))
      return writtenOut(number.getValue());
    Tried tried(l.b.getContext());
    if (succeeded(asLoop()))
      return success();
    if (number && number.getValue() > 0 && number.getValue() <= kMostIterations) {
      Tried again(l.b.getContext());
      if (succeeded(writtenOut(number.getValue())))
        return success();
      return because(isOpenEnded ? tried : again);
    }
    return because(tried);
  }

  // Says what stood in the way, once nothing else listens.
  LogicalResult say() { return problem ? LogicalResult(emitError(where.value_or(l.loc())) << *problem) : failure(); }

private:
  LogicalResult because(const Tried &tried) {
    problem = tried.text;
    where = tried.where;
    return failure();
  }

  // An iteration: whether to go on, and what it carries and collects.
  struct Iteration {
    LoweredValue goesOn;
    Lowering::LoopStep step;
  };

  FailureOr<Iteration> iterate(LoweredValue place, LoweredValue goesOn, ArrayRef<LoweredValue> carried) {
    Values arguments = {place, goesOn};
    llvm::append_range(arguments, carried);
    auto results = l.lowerBody(*body, arguments);
    if (failed(results))
      return failure();
    ArrayRef<LoweredValue> all = *results;
    Iteration made;
    made.goesOn = all[0];
    made.step.carried = all.slice(1, initial.size()).vec();
    made.step.collected = all.drop_front(1 + initial.size()).vec();
    return made;
  }

  LogicalResult unbounded() {
    return l.error() << "nothing bounds how often it runs: its trip count is "
                     << (isCounted ? "computed from data" : "not given")
                     << "; an input that states it is known with --value NAME=COUNT, or bounded with --value NAME=A..B";
  }

  LogicalResult asLoop() {
    if (!count)
      return unbounded();
    SmallVector<Lowering::Collecting> collecting(numCollected);
    bool computed = !starts;
    FailureOr<Values> results = failure();
    if (!computed) {
      auto step = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
        auto made = iterate(number(l, iteration), boolean(l, true), carried);
        if (failed(made))
          return failure();
        auto goesOn = knownCondition(l, made->goesOn);
        computed = !goesOn || !*goesOn;
        if (computed)
          return failure();
        return made->step;
      };
      results = l.loop(count, initial, collecting, step);
    }
    if (computed)
      results = untilFalse();
    if (failed(results))
      return failure();
    defineAll(l, *results);
    return success();
  }

  // All iterations run, but those after the condition has become false do nothing. Where some values are collected, those
  // before are counted: what is collected has as many parts.
  FailureOr<Values> untilFalse() {
    if (auto number = dyn_cast<AffineConstantExpr>(count); number && number.getValue() > INT32_MAX)
      return LogicalResult(unbounded());
    Values all = initial;
    LoweredValue first = condition;
    if (first.rank() > 0) {
      auto scalar = l.reshape(first, {});
      if (failed(scalar))
        return failure();
      first = *scalar;
    }
    all.push_back(first);
    if (numCollected)
      all.push_back(number(l, l.constant(0)));
    auto step = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
      LoweredValue goesOn = carried[initial.size()];
      Values parts; // of the last iteration that was lowered
      auto next = [&]() -> FailureOr<Values> {
        unsigned inside = l.symbolValues.size();
        auto made = iterate(number(l, iteration), boolean(l, true), carried.take_front(initial.size()));
        if (failed(made))
          return failure();
        parts = made->step.collected;
        for (const LoweredValue &part : parts)
          if (part.isSequence || llvm::any_of(part.shape, [&](AffineExpr extent) { return l.isMadeInside(extent, inside); }))
            return l.error() << "what an iteration collects is a sequence, or of a size that is computed from data in it; that is not "
                                "supported";
        Values values = made->step.carried;
        auto scalar = made->goesOn.rank() ? l.reshape(made->goesOn, {}) : FailureOr<LoweredValue>(made->goesOn);
        if (failed(scalar))
          return failure();
        values.push_back(*scalar);
        if (numCollected)
          values.push_back(number(l, iteration + 1));
        llvm::append_range(values, parts);
        return values;
      };
      auto rest = [&]() -> FailureOr<Values> {
        Values values = carried.vec();
        for (const LoweredValue &part : parts) // nobody sees it
          values.push_back(l.splatValue(numberAttr(part.elementType, 0), part.shape, part.elementType));
        return values;
      };
      auto results = l.branch(goesOn, next, rest);
      if (failed(results))
        return failure();
      ArrayRef<LoweredValue> given = *results;
      return Lowering::LoopStep{given.take_front(carried.size()).vec(), given.drop_front(carried.size()).vec()};
    };
    auto results = l.loop(count, all, SmallVector<Lowering::Collecting>(numCollected), step);
    if (failed(results))
      return failure();
    if (!numCollected) {
      results->pop_back();
      return results;
    }
    ArrayRef<LoweredValue> given = *results;
    Values kept = given.take_front(initial.size()).vec();
    LoweredValue done = given[initial.size() + 1];
    AffineExpr iterations = l.dataExtent(done, count);
    for (LoweredValue whole : given.drop_front(initial.size() + 2)) {
      Extents sizes = whole.shape;
      sizes[0] = iterations;
      SmallVector<AffineExpr> offsets(whole.rank(), l.constant(0));
      kept.push_back(l.slice(whole, offsets, sizes, SmallVector<int64_t>(whole.rank(), 1)));
    }
    return kept;
  }

  LogicalResult writtenOut(int64_t times) {
    Values carried = initial;
    std::vector<Values> collected(numCollected);
    LoweredValue goesOn = condition;
    for (int64_t i = 0; i < times; ++i) {
      auto known = knownCondition(l, goesOn);
      if ((isOpenEnded = !known))
        return l.error() << "whether iteration " << i << " runs is computed from data";
      if (!*known)
        break;
      auto made = iterate(number(l, l.constant(i)), goesOn, carried);
      if (failed(made))
        return failure();
      carried = made->step.carried;
      goesOn = made->goesOn;
      for (auto [list, value] : llvm::zip_equal(collected, made->step.collected)) {
        Extents shape = value.shape;
        shape.insert(shape.begin(), l.constant(1));
        auto part = l.reshape(value, shape);
        if (failed(part))
          return failure();
        list.push_back(*part);
      }
    }
    for (Values &parts : collected) {
      auto whole = l.concat(parts, 0);
      if (failed(whole))
        return failure();
      carried.push_back(*whole);
    }
    defineAll(l, carried);
    return success();
  }

  Lowering &l;
  Region *body = nullptr;
  AffineExpr count; // null where it is not known
  bool isCounted = false;
  LoweredValue condition;
  std::optional<bool> starts;
  Values initial;
  unsigned numCollected = 0;
  bool isOpenEnded = false; // data ends it
  std::optional<std::string> problem;
  std::optional<Location> where;
};

LogicalResult loopOp(Lowering &l) {
  LoopLowering lowering(l);
  return succeeded(lowering.run()) ? success() : lowering.say();
}

// --- Scan ---------------------------------------------------------------------------------------------------------

// How inputs and outputs are gone through; of opset 8 the first axis is the batch's, whose elements are scanned one by one.
struct ScanPlan {
  unsigned numStates = 0;
  SmallVector<Lowering::Collecting> inputs, outputs;
};

FailureOr<Values> scan(Lowering &l, Region &body, const ScanPlan &plan, ArrayRef<LoweredValue> states,
                       ArrayRef<LoweredValue> inputs) {
  AffineExpr count;
  for (auto [input, place] : llvm::zip_equal(inputs, plan.inputs)) {
    AffineExpr extent = input.shape[place.axis];
    if (count && !l.same(count, extent))
      return l.error() << "its inputs have " << l.dims.print(count) << " and " << l.dims.print(extent) << " parts";
    count = count ? count : extent;
  }
  // What is gone through from its end is laid out in that way, too, where the axis is not the first.
  SmallVector<Lowering::Collecting> collecting(plan.outputs);
  auto step = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
    Values arguments = carried.vec();
    for (auto [input, place] : llvm::zip_equal(inputs, plan.inputs)) {
      LoweredValue whole = input;
      arguments.push_back(l.elementAt(whole, place.axis, place.reversed ? count - 1 - iteration : iteration));
    }
    auto results = l.lowerBody(body, arguments);
    if (failed(results))
      return failure();
    ArrayRef<LoweredValue> all = *results;
    return Lowering::LoopStep{all.take_front(plan.numStates).vec(), all.drop_front(plan.numStates).vec()};
  };
  return l.loop(count, states, collecting, step);
}

FailureOr<ScanPlan> planScan(Lowering &l, Region &body, unsigned numInputs, unsigned given, bool hasBatch) {
  ScanPlan plan;
  unsigned numResults = body.front().getTerminator()->getNumOperands();
  if (numInputs < 1 || numInputs > given || numResults + numInputs < given)
    return l.error() << "it has " << given << " inputs, " << numInputs << " of them to go through, and its body gives " << numResults
                     << " values";
  plan.numStates = given - numInputs;
  unsigned numOutputs = numResults - plan.numStates;
  auto list = [&](StringRef name, unsigned size) -> FailureOr<SmallVector<int64_t>> {
    auto values = l.intsAttr(name).value_or(SmallVector<int64_t>(size, 0));
    if (values.size() != size)
      return l.error() << name << " has " << values.size() << " entries, not " << size;
    return values;
  };
  auto inputAxes = list("scan_input_axes", numInputs), outputAxes = list("scan_output_axes", numOutputs);
  auto inputTurns = list(hasBatch ? "directions" : "scan_input_directions", numInputs);
  auto outputTurns = list("scan_output_directions", numOutputs);
  if (failed(inputAxes) || failed(outputAxes) || failed(inputTurns) || failed(outputTurns))
    return failure();
  for (unsigned i = 0; i < numInputs; ++i)
    plan.inputs.push_back({(*inputAxes)[i], (*inputTurns)[i] != 0});
  for (unsigned i = 0; i < numOutputs; ++i)
    plan.outputs.push_back({(*outputAxes)[i], (*outputTurns)[i] != 0});
  return plan;
}

LogicalResult scan9(Lowering &l) {
  auto body = bodyOf(l, "body");
  if (failed(body))
    return failure();
  auto plan = planScan(l, **body, l.intAttr("num_scan_inputs", 0), l.numInputs(), false);
  if (failed(plan))
    return failure();
  Values states, inputs;
  for (unsigned i = 0; i < l.numInputs(); ++i)
    (i < plan->numStates ? states : inputs).push_back(l.input(i));
  for (auto [input, place] : llvm::zip_equal(inputs, plan->inputs)) {
    auto axis = l.normalizeAxis(place.axis, input.rank());
    if (!axis)
      return failure();
    place.axis = *axis;
  }
  // An axis counted from the end is one of the output, whose rank the body tells.
  for (auto [index, place] : llvm::enumerate(plan->outputs))
    if (place.axis < 0) {
      auto type = dyn_cast<RankedTensorType>((*body)->front().getTerminator()->getOperand(plan->numStates + index).getType());
      auto axis = type ? l.normalizeAxis(place.axis, type.getRank() + 1) : std::nullopt;
      if (!axis)
        return l.error() << "the axis of output " << index << ", " << place.axis << ", needs a rank that the file states";
      place.axis = *axis;
    }
  auto results = scan(l, **body, *plan, states, inputs);
  if (failed(results))
    return failure();
  defineAll(l, *results);
  return success();
}

LogicalResult scan8(Lowering &l) {
  auto body = bodyOf(l, "body");
  if (failed(body))
    return failure();
  if (l.hasInput(0))
    return l.error() << "lengths of single sequences are not supported";
  auto plan = planScan(l, **body, l.intAttr("num_scan_inputs", 0), l.numInputs() - 1, true);
  if (failed(plan))
    return failure();
  Values given;
  for (unsigned i = 1; i < l.numInputs(); ++i) {
    given.push_back(l.input(i));
    if (given.back().rank() < 1 + (i > plan->numStates) || !l.same(given.back().shape[0], given.front().shape[0]))
      return l.error() << "input " << i << " of shape " << l.print(given.back().shape) << " has no batch like the others";
  }
  unsigned numResults = (*body)->front().getTerminator()->getNumOperands();
  auto ofBatch = [&](AffineExpr batch, ArrayRef<LoweredValue>) -> FailureOr<Lowering::LoopStep> {
    Values states, inputs;
    for (auto [index, value] : llvm::enumerate(given)) {
      LoweredValue whole = value;
      (index < plan->numStates ? states : inputs).push_back(l.elementAt(whole, 0, batch));
    }
    auto results = scan(l, **body, *plan, states, inputs);
    if (failed(results))
      return failure();
    return Lowering::LoopStep{{}, *results};
  };
  auto results = l.loop(given[0].shape[0], {}, SmallVector<Lowering::Collecting>(numResults), ofBatch);
  if (failed(results))
    return failure();
  defineAll(l, *results);
  return success();
}

// --- SequenceMap --------------------------------------------------------------------------------------------------

LogicalResult sequenceMap(Lowering &l) {
  auto body = bodyOf(l, "body");
  if (failed(body))
    return failure();
  Values given;
  for (unsigned i = 0; i < l.numInputs(); ++i)
    given.push_back(l.input(i));
  if (given.empty() || !given[0].isSequence)
    return l.error() << "input 0 is no sequence";
  LoweredValues results((*body)->front().getTerminator()->getNumOperands());
  for (LoweredValue &result : results)
    result.isSequence = true;
  for (size_t i = 0; i < given[0].elements.size(); ++i) {
    Values arguments;
    for (const LoweredValue &value : given) {
      if (value.isSequence && value.elements.size() != given[0].elements.size())
        return l.error() << "its sequences have " << given[0].elements.size() << " and " << value.elements.size() << " elements";
      arguments.push_back(value.isSequence ? value.elements[i] : value);
    }
    auto made = l.lowerBody(**body, arguments);
    if (failed(made))
      return failure();
    for (auto [result, element] : llvm::zip_equal(results, *made))
      result.elements.push_back(element);
  }
  defineAll(l, results);
  return success();
}
} // namespace

void snug::addControlFlowOps(LoweringTable &t) {
  t.add("If", 1, ifOp);
  t.add("Loop", 1, loopOp);
  t.add("Scan", 8, scan8);
  t.add("Scan", 9, scan9);
  t.add("SequenceMap", 17, sequenceMap);
}
