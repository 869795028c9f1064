// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// RNN, GRU and LSTM as loops over time, one for each direction, that carry the states. What a sequence has beyond its length
// leaves them as they are.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Scalar.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace snug;

namespace {
struct Activation {
  enum Kind { Relu, Tanh, Sigmoid, Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, HardSigmoid, Elu, Softsign, Softplus, None };
  Kind kind = None;
  double alpha = 0, beta = 0;

  Scalar operator()(Scalar x) const {
    switch (kind) {
    case Relu:
      return x.max(x.number(0));
    case Tanh:
      return x.unary<math::TanhOp>();
    case Sigmoid:
      return x.number(1) / ((x.number(0) - x).exp() + 1);
    case Affine:
      return x * alpha + beta;
    case LeakyRelu:
      return x.above(0, x, x * alpha);
    case ThresholdedRelu:
      return x.above(alpha, x, x.number(0));
    case ScaledTanh:
      return (x * beta).unary<math::TanhOp>() * alpha;
    case HardSigmoid:
      return hardSigmoid(x, alpha, beta);
    case Elu:
      return x.above(0, x, (x.exp() - 1) * alpha);
    case Softsign:
      return x / (x.unary<math::AbsFOp>() + 1);
    default:
      return softplus(x);
    }
  }
};

// All directions together.
struct Inputs {
  LoweredValue x, w, r;
  std::optional<LoweredValue> bias, lengths, hidden, cell, peepholes;
};

class Recurrence {
public:
  // `numGates`: rows of weights a state element has; `numFunctions`: activations that a direction has.
  Recurrence(Lowering &l, int64_t numGates, ArrayRef<StringRef> defaults) : l(l), numGates(numGates), defaults(defaults) {}
  virtual ~Recurrence() = default;

  LogicalResult run() {
    if (failed(readInputs()) || failed(readActivations()))
      return failure();
    LoweredValues outputs, hiddens, cells;
    for (int64_t direction = 0; direction < numDirections; ++direction) {
      auto results = runDirection(direction);
      if (failed(results))
        return failure();
      hiddens.push_back((*results)[0]);
      if (hasCell())
        cells.push_back((*results)[1]);
      if (l.node().hasOutput(0))
        outputs.push_back(results->back());
    }
    int64_t stateAxis = isBatchFirst ? 1 : 0;
    if (!outputs.empty() && failed(defineStacked(0, outputs, isBatchFirst ? 2 : 1)))
      return failure();
    if (failed(defineStacked(1, hiddens, stateAxis)))
      return failure();
    return hasCell() ? defineStacked(2, cells, stateAxis) : success();
  }

protected:
  using Step = FailureOr<LoweredValues>;
  // The states after one time step, hidden first.
  virtual Step step(LoweredValue x, ArrayRef<LoweredValue> states) = 0;
  virtual bool hasCell() const { return false; }
  // What a direction has besides W, R and their bias.
  virtual void enterDirection(int64_t) {}

  LoweredValue gate(LoweredValue &all, int64_t first, int64_t count = 1) {
    Extents offsets(all.rank(), l.constant(0)), sizes = all.shape;
    offsets.back() = l.constant(first * size);
    sizes.back() = l.constant(count * size);
    return l.slice(all, offsets, sizes, SmallVector<int64_t>(all.rank(), 1));
  }
  FailureOr<LoweredValue> transposed(LoweredValue &weights) { return l.transpose(weights, {1, 0}); }

  // Elementwise, where some operands may be missing: the body sees null for them.
  FailureOr<LoweredValue> elementwise(ArrayRef<LoweredValue *> operands, llvm::function_ref<Scalar(ArrayRef<Scalar>)> body) {
    SmallVector<LoweredValue *> given;
    for (LoweredValue *operand : operands)
      if (operand)
        given.push_back(operand);
    return l.elementwise(given, inputs.x.elementType, [&](OpBuilder &b, Location loc, ValueRange x) {
      SmallVector<Scalar> scalars;
      unsigned next = 0;
      for (LoweredValue *operand : operands)
        scalars.push_back(Scalar{b, loc, operand ? x[next++] : Value()});
      return body(scalars).value;
    });
  }
  static Scalar sum(ArrayRef<Scalar> terms) {
    Scalar total = terms[0];
    for (Scalar term : terms.drop_front())
      if (term.value)
        total.value = (total + term).value;
    return total;
  }
  // Inputs of gates are clipped; the cell, which LSTM's last function gets, is not, as in ONNX Runtime.
  Scalar activate(unsigned function, Scalar x) const {
    if (clip > 0 && function < 2)
      x.value = x.max(x.number(-clip)).min(x.number(clip)).value;
    return activations[direction * defaults.size() + function](x);
  }

  Lowering &l;
  Inputs inputs;
  int64_t direction = 0, size = 0;
  LoweredValue w, r; // of the direction: inputs x gates, states x gates
  std::optional<LoweredValue> inputBias, stateBias;

private:
  LogicalResult readInputs() {
    StringRef name = l.stringAttr("direction", "forward");
    if (name != "forward" && name != "reverse" && name != "bidirectional")
      return l.error() << "direction '" << name << "' is not supported";
    firstIsReverse = name == "reverse";
    numDirections = name == "bidirectional" ? 2 : 1;
    isBatchFirst = l.intAttr("layout", 0) != 0;
    clip = l.floatAttr("clip", 0);
    inputs.x = l.input(0);
    inputs.w = l.input(1);
    inputs.r = l.input(2);
    auto optional = [&](unsigned index) { return l.hasInput(index) ? std::optional(l.input(index)) : std::nullopt; };
    inputs.bias = optional(3);
    inputs.lengths = optional(4);
    inputs.hidden = optional(5);
    if (hasCell()) {
      inputs.cell = optional(6);
      inputs.peepholes = optional(7);
    }
    AffineExpr stated = l.constant(l.intAttr("hidden_size", 0));
    if (stated == l.constant(0) && inputs.r.rank() == 3)
      stated = inputs.r.shape[2];
    auto hidden = dyn_cast<AffineConstantExpr>(stated);
    if (!hidden || inputs.x.rank() != 3 || !isa<FloatType>(inputs.x.elementType))
      return l.error() << "inputs of shapes " << l.print(inputs.x.shape) << " and " << l.print(inputs.r.shape)
                       << " are not supported; X must have three dims of floating-point numbers and the hidden size be fixed";
    size = hidden.getValue();
    if (size < 1 || size > INT32_MAX)
      return l.error() << "a hidden size of " << size << " is no size";
    batch = inputs.x.shape[isBatchFirst ? 0 : 1];
    length = inputs.x.shape[isBatchFirst ? 1 : 0];
    AffineExpr directions = l.constant(numDirections), rows = l.constant(numGates * size), columns = l.constant(size);
    Extents state = isBatchFirst ? Extents{batch, directions, columns} : Extents{directions, batch, columns};
    return success(check("W", inputs.w, {directions, rows, inputs.x.shape[2]}) &&
                   check("R", inputs.r, {directions, rows, columns}) &&
                   check("B", inputs.bias, {directions, l.constant(2 * numGates * size)}) &&
                   check("sequence_lens", inputs.lengths, {batch}) && check("initial_h", inputs.hidden, state) &&
                   check("initial_c", inputs.cell, state) &&
                   check("P", inputs.peepholes, {directions, l.constant(3 * size)}));
  }

  bool check(StringRef name, const std::optional<LoweredValue> &value, ArrayRef<AffineExpr> shape) {
    if (!value || (value->rank() == static_cast<int64_t>(shape.size()) &&
                   llvm::all_of(llvm::zip_equal(value->shape, shape),
                                [&](auto pair) { return l.same(std::get<0>(pair), std::get<1>(pair)); })))
      return true;
    l.error() << name << " has shape " << l.print(value->shape) << ", not " << l.print(shape);
    return false;
  }

  LogicalResult readActivations() {
    SmallVector<StringRef> names;
    if (auto given = dyn_cast_or_null<ArrayAttr>(l.attr("activations")))
      llvm::append_range(names, given.getAsValueRange<StringAttr>());
    while (!l.attr("activations") && names.size() < numDirections * defaults.size())
      llvm::append_range(names, defaults);
    if (names.size() != numDirections * defaults.size())
      return l.error() << names.size() << " activations, not " << numDirections * defaults.size();
    auto floats = [&](StringRef name) {
      auto values = dyn_cast_or_null<DenseF32ArrayAttr>(l.attr(name));
      return values ? SmallVector<float>(values.asArrayRef()) : SmallVector<float>();
    };
    SmallVector<float> alphas = floats("activation_alpha"), betas = floats("activation_beta");
    size_t nextAlpha = 0, nextBeta = 0;
    for (StringRef name : names) {
      // Numbers are for those functions that take one, in their order.
      auto alpha = [&](double fallback) { return nextAlpha < alphas.size() ? alphas[nextAlpha++] : fallback; };
      auto beta = [&](double fallback) { return nextBeta < betas.size() ? betas[nextBeta++] : fallback; };
      Activation made;
      made.kind = llvm::StringSwitch<Activation::Kind>(name.lower())
                      .Case("relu", Activation::Relu)
                      .Case("tanh", Activation::Tanh)
                      .Case("sigmoid", Activation::Sigmoid)
                      .Case("affine", Activation::Affine)
                      .Case("leakyrelu", Activation::LeakyRelu)
                      .Case("thresholdedrelu", Activation::ThresholdedRelu)
                      .Case("scaledtanh", Activation::ScaledTanh)
                      .Case("hardsigmoid", Activation::HardSigmoid)
                      .Case("elu", Activation::Elu)
                      .Case("softsign", Activation::Softsign)
                      .Case("softplus", Activation::Softplus)
                      .Default(Activation::None);
      switch (made.kind) {
      case Activation::None:
        return l.error() << "activation '" << name << "' is not supported";
      case Activation::Affine:
      case Activation::ScaledTanh:
        made.alpha = alpha(1);
        made.beta = beta(made.kind == Activation::Affine ? 0 : 1);
        break;
      case Activation::HardSigmoid:
        made.alpha = alpha(0.2);
        made.beta = beta(0.5);
        break;
      case Activation::LeakyRelu:
        made.alpha = alpha(0.01);
        break;
      case Activation::ThresholdedRelu:
      case Activation::Elu:
        made.alpha = alpha(1);
        break;
      default:
        break;
      }
      activations.push_back(made);
    }
    return success();
  }

  FailureOr<LoweredValues> runDirection(int64_t number) {
    direction = number;
    AffineExpr place = l.constant(number);
    LoweredValue ownW = l.elementAt(inputs.w, 0, place), ownR = l.elementAt(inputs.r, 0, place);
    auto columnsW = transposed(ownW), columnsR = transposed(ownR);
    if (failed(columnsW) || failed(columnsR))
      return failure();
    w = *columnsW;
    r = *columnsR;
    if (inputs.bias) {
      LoweredValue own = l.elementAt(*inputs.bias, 0, place);
      inputBias = gate(own, 0, numGates);
      stateBias = gate(own, numGates, numGates);
    }
    enterDirection(number);
    LoweredValues states;
    auto zero = cast<TypedAttr>(l.b.getZeroAttr(inputs.x.elementType));
    for (auto *initial : {&inputs.hidden, &inputs.cell})
      if (initial == &inputs.hidden || hasCell())
        states.push_back(*initial ? l.elementAt(**initial, isBatchFirst ? 1 : 0, place)
                                  : l.splatValue(zero, {batch, l.constant(size)}));
    bool isReverse = firstIsReverse || number == 1;
    SmallVector<Lowering::Collecting> collecting;
    if (l.node().hasOutput(0))
      collecting.push_back({isBatchFirst ? 1 : 0, isReverse});
    auto body = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
      AffineExpr time = isReverse ? length - 1 - iteration : iteration;
      auto made = step(l.elementAt(inputs.x, isBatchFirst ? 1 : 0, time), carried);
      if (failed(made))
        return failure();
      Lowering::LoopStep next{*made, {}};
      LoweredValue zeros = l.splatValue(zero, next.carried[0].shape);
      if (!collecting.empty()) {
        auto seen = whereRunning(time, next.carried[0], zeros);
        if (failed(seen))
          return failure();
        next.collected.push_back(*seen);
      }
      for (auto [value, old] : llvm::zip_equal(next.carried, carried)) {
        LoweredValue before = old;
        auto kept = whereRunning(time, value, before);
        if (failed(kept))
          return failure();
        value = *kept;
      }
      return next;
    };
    return l.loop(length, states, collecting, body);
  }

  // The new value of the sequences that are still running, the old one of the others.
  FailureOr<LoweredValue> whereRunning(AffineExpr time, LoweredValue &now, LoweredValue &before) {
    if (!inputs.lengths)
      return now;
    auto rows = l.reshape(*inputs.lengths, {batch, l.constant(1)});
    if (failed(rows))
      return failure();
    LoweredValue at = l.intsValue(inputs.lengths->elementType, {time}, /*scalar=*/true);
    return l.elementwise({&*rows, &at, &now, &before}, now.elementType, [](OpBuilder &b, Location loc, ValueRange x) {
      Value runs = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::sgt, x[0], x[1]);
      return b.createOrFold<arith::SelectOp>(loc, runs, x[2], x[3]);
    });
  }

  // One value of each direction, side by side along an axis of their own.
  LogicalResult defineStacked(unsigned index, ArrayRef<LoweredValue> values, int64_t axis) {
    LoweredValues parts;
    for (LoweredValue value : values) {
      Extents shape = value.shape;
      shape.insert(shape.begin() + axis, l.constant(1));
      auto part = l.reshape(value, shape);
      if (failed(part))
        return failure();
      parts.push_back(*part);
    }
    auto whole = l.concat(parts, axis);
    if (failed(whole))
      return failure();
    l.define(index, *whole);
    return success();
  }

  const int64_t numGates;
  SmallVector<StringRef> defaults; // activations of one direction
  int64_t numDirections = 1;
  bool firstIsReverse = false, isBatchFirst = false;
  double clip = 0;
  AffineExpr batch, length;
  SmallVector<Activation> activations; // of all directions
};

LoweredValue *ifGiven(std::optional<LoweredValue> &value) { return value ? &*value : nullptr; }

class Rnn : public Recurrence {
public:
  explicit Rnn(Lowering &l) : Recurrence(l, 1, {"Tanh"}) {}
  Step step(LoweredValue x, ArrayRef<LoweredValue> states) override {
    LoweredValue h = states[0];
    auto fromX = l.matmul(x, w), fromH = l.matmul(h, r);
    if (failed(fromX) || failed(fromH))
      return failure();
    auto next = elementwise({&*fromX, &*fromH, ifGiven(inputBias), ifGiven(stateBias)},
                            [&](ArrayRef<Scalar> terms) { return activate(0, sum(terms)); });
    if (failed(next))
      return failure();
    return LoweredValues{*next};
  }
};

// Gates: update, reset, new state.
class Gru : public Recurrence {
public:
  explicit Gru(Lowering &l) : Recurrence(l, 3, {"Sigmoid", "Tanh"}), resetsLast(l.intAttr("linear_before_reset", 0)) {}
  Step step(LoweredValue x, ArrayRef<LoweredValue> states) override {
    LoweredValue h = states[0], gates = resetsLast ? r : gate(r, 0, 2);
    auto fromX = l.matmul(x, w), fromH = l.matmul(h, gates);
    if (failed(fromX) || failed(fromH))
      return failure();
    // Both sides of a gate and their biases, where there are some.
    struct Terms {
      LoweredValue x, h;
      std::optional<LoweredValue> xBias, hBias;
    };
    std::array<Terms, 3> all;
    for (int64_t i = 0; i < 3; ++i) {
      all[i].x = gate(*fromX, i);
      if (i < 2 || resetsLast)
        all[i].h = gate(*fromH, i);
      if (inputBias) {
        all[i].xBias = gate(*inputBias, i);
        all[i].hBias = gate(*stateBias, i);
      }
    }
    auto &[update, reset, fresh] = all;
    if (!resetsLast) {
      auto left = elementwise({&reset.x, &reset.h, ifGiven(reset.xBias), ifGiven(reset.hBias), &h}, [&](ArrayRef<Scalar> x) {
        return activate(0, sum(x.take_front(4))) * x[4];
      });
      LoweredValue weights = gate(r, 2);
      auto product = succeeded(left) ? l.matmul(*left, weights) : FailureOr<LoweredValue>(failure());
      if (failed(product))
        return failure();
      fresh.h = *product;
    }
    auto next = elementwise({&update.x, &update.h, ifGiven(update.xBias), ifGiven(update.hBias), &fresh.x, &fresh.h,
                             ifGiven(fresh.xBias), ifGiven(fresh.hBias), &h, resetsLast ? &reset.x : nullptr,
                             resetsLast ? &reset.h : nullptr, resetsLast ? ifGiven(reset.xBias) : nullptr,
                             resetsLast ? ifGiven(reset.hBias) : nullptr},
                            [&](ArrayRef<Scalar> x) {
                              Scalar z = activate(0, sum(x.take_front(4)));
                              Scalar state = x[7].value ? x[5] + x[7] : x[5];
                              if (resetsLast)
                                state.value = (activate(0, sum(x.slice(9, 4))) * state).value;
                              Scalar made = activate(1, sum({state, x[4], x[6]}));
                              return (z.number(1) - z) * made + z * x[8];
                            });
    if (failed(next))
      return failure();
    return LoweredValues{*next};
  }

private:
  bool resetsLast;
};

// Gates: input, output, forget, cell. Peepholes: input, output, forget.
class Lstm : public Recurrence {
public:
  explicit Lstm(Lowering &l)
      : Recurrence(l, 4, {"Sigmoid", "Tanh", "Tanh"}), couplesForget(l.intAttr("input_forget", 0)) {}
  bool hasCell() const override { return true; }
  void enterDirection(int64_t number) override {
    if (!inputs.peepholes)
      return;
    LoweredValue all = l.elementAt(*inputs.peepholes, 0, l.constant(number));
    for (int64_t i = 0; i < 3; ++i)
      peepholes[i] = gate(all, i);
  }
  Step step(LoweredValue x, ArrayRef<LoweredValue> states) override {
    LoweredValue h = states[0], c = states[1];
    auto fromX = l.matmul(x, w), fromH = l.matmul(h, r);
    if (failed(fromX) || failed(fromH))
      return failure();
    auto gates = elementwise({&*fromX, &*fromH, ifGiven(inputBias), ifGiven(stateBias)},
                             [&](ArrayRef<Scalar> terms) { return sum(terms); });
    if (failed(gates))
      return failure();
    LoweredValue in = gate(*gates, 0), out = gate(*gates, 1), forget = gate(*gates, 2), cell = gate(*gates, 3);
    auto next = elementwise({&in, &forget, &cell, &c, ifGiven(peepholes[0]), ifGiven(peepholes[2])}, [&](ArrayRef<Scalar> x) {
      Scalar i = activate(0, x[4].value ? x[0] + x[4] * x[3] : x[0]);
      Scalar f = couplesForget ? i.number(1) - i : activate(0, x[5].value ? x[1] + x[5] * x[3] : x[1]);
      return f * x[3] + i * activate(1, x[2]);
    });
    if (failed(next))
      return failure();
    auto hidden = elementwise({&out, &*next, ifGiven(peepholes[1])}, [&](ArrayRef<Scalar> x) {
      return activate(0, x[2].value ? x[0] + x[2] * x[1] : x[0]) * activate(2, x[1]);
    });
    if (failed(hidden))
      return failure();
    return LoweredValues{*hidden, *next};
  }

private:
  bool couplesForget;
  std::optional<LoweredValue> peepholes[3];
};

template <class Kind> LogicalResult recurrent(Lowering &l) { return Kind(l).run(); }
} // namespace

void snug::addRecurrentOps(LoweringTable &t) {
  t.add("RNN", 1, recurrent<Rnn>);
  t.add("GRU", 1, recurrent<Gru>);
  t.add("LSTM", 1, recurrent<Lstm>);
}
