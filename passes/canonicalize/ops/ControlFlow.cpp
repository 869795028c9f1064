// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// If, Scan and SequenceMap. A condition that is known chooses a branch.
#include "passes/canonicalize/ops/ControlFlow.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
using Values = LoweredValues;

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
