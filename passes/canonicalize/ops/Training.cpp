// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Steps of optimizers (ai.onnx.preview.training): learning rate, step number, then all tensors, all gradients, and all
// states, each as many.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
// New values of a tensor and its states, of (rate, step, tensor, gradient, states...).
using Step = function_ref<SmallVector<Value>(ScalarCode &, ValueRange)>;

LogicalResult optimize(Lowering &l, unsigned numStates, Step step) {
  unsigned parts = 2 + numStates, count = l.numInputs() < 2 ? 0 : (l.numInputs() - 2) / parts;
  if (count == 0 || l.numInputs() != 2 + parts * count)
    return l.error() << "the " << l.numInputs() << " inputs are not a rate, a step and " << parts << " tensors of each kind";
  std::vector<LoweredValue> results;
  for (unsigned part = 0; part <= numStates; ++part)
    for (unsigned i = 0; i < count; ++i) {
      Type type = l.input(2 + i).elementType;
      if (!computesInF32(type) && !type.isF64())
        return l.error() << "tensors of type " << type << " are not supported";
      SmallVector<LoweredValue *> inputs = {&l.input(0), &l.input(1)};
      for (unsigned k = 0; k < parts; ++k)
        inputs.push_back(&l.input(2 + k * count + i));
      auto made = l.elementwise(inputs, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
        ScalarCode c{b, loc};
        SmallVector<Value> values(a);
        values[0] = c.convert(a[0], type);
        return step(c, values)[part];
      });
      if (failed(made))
        return failure();
      results.push_back(*made);
    }
  for (auto [index, value] : llvm::enumerate(results))
    l.define(index, value);
  return success();
}

Value root(ScalarCode &c, Value x) { return math::SqrtOp::create(c.b, c.loc, x); }

LogicalResult adagrad(Lowering &l) {
  double decay = l.floatAttr("decay_factor", 0), epsilon = l.floatAttr("epsilon", 1e-6), norm = l.floatAttr("norm_coefficient", 0);
  return optimize(l, 1, [&](ScalarCode &c, ValueRange a) -> SmallVector<Value> {
    Type type = a[2].getType();
    auto number = [&](double value) { return c.number(type, value); };
    Value rate = c.div(a[0], c.add(number(1), c.mul(c.convert(a[1], type), number(decay))));
    Value gradient = c.add(c.mul(number(norm), a[2]), a[3]), squares = c.add(a[4], c.mul(gradient, gradient));
    Value deviation = c.add(root(c, squares), number(epsilon));
    return {c.sub(a[2], c.div(c.mul(rate, gradient), deviation)), squares};
  });
}

LogicalResult adam(Lowering &l) {
  double alpha = l.floatAttr("alpha", 0.9), beta = l.floatAttr("beta", 0.999), epsilon = l.floatAttr("epsilon", 1e-6);
  double norm = l.floatAttr("norm_coefficient", 0), after = l.floatAttr("norm_coefficient_post", 0);
  return optimize(l, 2, [&](ScalarCode &c, ValueRange a) -> SmallVector<Value> {
    Type type = a[2].getType();
    auto number = [&](double value) { return c.number(type, value); };
    auto mix = [&](double share, Value old, Value fresh) {
      return c.add(c.mul(number(share), old), c.mul(number(1 - share), fresh));
    };
    Value gradient = c.add(c.mul(number(norm), a[2]), a[3]), momentum = mix(alpha, a[4], gradient);
    Value squares = mix(beta, a[5], c.mul(gradient, gradient)), deviation = c.add(root(c, squares), number(epsilon));
    // Corrects the bias of the first steps.
    Value steps = c.convert(a[1], type);
    auto left = [&](double share) {
      return c.sub(number(1), math::PowFOp::create(c.b, c.loc, number(share), steps));
    };
    Value corrected = c.div(c.mul(a[0], root(c, left(beta))), left(alpha));
    Value rate = c.select(c.less(number(0), steps), corrected, a[0]);
    Value next = c.sub(a[2], c.mul(rate, c.div(momentum, deviation)));
    return {c.mul(number(1 - after), next), momentum, squares};
  });
}

LogicalResult momentum(Lowering &l) {
  double alpha = l.floatAttr("alpha", 0), beta = l.floatAttr("beta", 0), norm = l.floatAttr("norm_coefficient", 0);
  bool nesterov = l.stringAttr("mode", "standard") == "nesterov";
  return optimize(l, 1, [&](ScalarCode &c, ValueRange a) -> SmallVector<Value> {
    Type type = a[2].getType();
    auto number = [&](double value) { return c.number(type, value); };
    Value gradient = c.add(c.mul(number(norm), a[2]), a[3]);
    Value share = c.select(c.less(number(0), c.convert(a[1], type)), number(beta), number(1));
    Value state = c.add(c.mul(number(alpha), a[4]), c.mul(share, gradient));
    Value change = nesterov ? c.add(gradient, c.mul(number(alpha), state)) : state;
    return {c.sub(a[2], c.mul(a[0], change)), state};
  });
}
} // namespace

void snug::addTrainingOps(LoweringTable &t) {
  constexpr llvm::StringLiteral domain = "ai.onnx.preview.training";
  t.add("Adagrad", 1, adagrad, domain);
  t.add("Adam", 1, adam, domain);
  t.add("Momentum", 1, momentum, domain);
}
