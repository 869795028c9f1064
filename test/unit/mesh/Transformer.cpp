// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Transformer.h"

#include <cmath>

namespace snug::test {

namespace {
std::string doesNotDivide(int64_t count, const char *what, int64_t by) {
  return std::to_string(count) + " " + what + " do not divide by " + std::to_string(by);
}

std::string refusal(const Transformer &m, int64_t outputs, int64_t inputs) {
  int64_t devices = outputs * inputs;
  if (m.heads % devices != 0)
    return doesNotDivide(m.heads, "heads", devices);
  if (m.kvHeads % devices != 0 && devices % m.kvHeads != 0)
    return doesNotDivide(m.kvHeads, "heads of keys and values, and copies of them,", devices);
  if (m.hidden % inputs != 0)
    return doesNotDivide(m.hidden, "elements of the residual", inputs);
  int64_t ffn = m.reduceUps ? outputs : devices;
  return m.ffn % ffn != 0 ? doesNotDivide(m.ffn, "elements of the FFN", ffn) : "";
}

// One layer of one phase, of which each collective and kernel counts as often as there are layers.
class Layer {
public:
  Layer(const Transformer &m, const TransformerPhase &phase, int64_t outputs, int64_t inputs)
      : m(m), layers(static_cast<double>(m.layers)), t(static_cast<double>(phase.tokens)),
        h(static_cast<double>(m.hidden)), keys(static_cast<double>(phase.keys)), outs(static_cast<double>(outputs)),
        ins(static_cast<double>(inputs)) {}

  LayoutTerms terms(bool isSequence) {
    result = {};
    result.layout = isSequence ? kSequence : kReplicated;
    double q = static_cast<double>(m.heads * m.headDim), f = static_cast<double>(m.ffn);
    // Fewer heads of keys and values than devices: each device has a copy of those it needs.
    double kv = std::max(static_cast<double>(m.kvHeads), outs * ins) * static_cast<double>(m.headDim);
    double rows = isSequence ? t / outs : t; // of the residual on one device
    norm(rows, isSequence);
    linear("queries, keys, values", h / ins, (q + 2 * kv) / outs);
    send("queries, keys, values", Collective::ReduceScatter, Cut::Inputs, t * (q + 2 * kv) / outs);
    attend(q / outs / ins);
    send("attention", Collective::AllGather, Cut::Inputs, t * q / outs);
    linear("projection", q / outs, h / ins);
    close(rows, isSequence);
    norm(rows, isSequence);
    for (int64_t up = 0; up < m.ups; ++up) {
      linear("up", h / ins, f / outs);
      send("up", m.reduceUps ? Collective::AllReduce : Collective::ReduceScatter, Cut::Inputs, t * f / outs);
    }
    KernelCost activation;
    activation.work.transcendental = t * f / outs / (m.reduceUps ? 1 : ins);
    compute("activation", activation);
    if (!m.reduceUps)
      send("activation", Collective::AllGather, Cut::Inputs, t * f / outs);
    linear("down", f / outs, h / ins);
    close(rows, isSequence);
    return result;
  }

private:
  void send(const char *what, Collective kind, Cut cut, double elements) {
    result.collectives.push_back({what, kind, cut, elements * m.elementBytes, layers, under()});
  }
  std::optional<size_t> under() const {
    return m.overlaps ? std::optional<size_t>(result.compute.size() - 1) : std::nullopt;
  }
  void compute(const char *what, const KernelCost &cost) { result.compute.push_back({what, cost, layers}); }

  void norm(double rows, bool isSequence) {
    KernelCost cost;
    cost.work.reduction = rows * h / ins;
    compute("norm", cost);
    result.collectives.push_back(
        {"moments", Collective::AllReduce, Cut::Inputs, rows * m.moments * 4, layers, under()});
    if (isSequence)
      send("normed residual", Collective::AllGather, Cut::Outputs, t * h / ins);
  }

  void linear(const char *what, double in, double out) {
    KernelCost cost;
    cost.work.contraction = 2 * t * in * out;
    cost.rows = static_cast<int64_t>(t);
    cost.columns = static_cast<int64_t>(out);
    cost.pieces = std::ceil(t / 96) * std::ceil(out / 128);
    cost.panel_bytes = in * out * m.elementBytes;
    compute(what, cost);
  }

  void attend(double width) {
    KernelCost cost;
    cost.work.attention = 4 * t * keys * width;
    cost.work.transcendental = t * keys * width / static_cast<double>(m.headDim);
    cost.rows = static_cast<int64_t>(t);
    compute("attention", cost);
  }

  // The sum over the outputs' axis, and the residual.
  void close(double rows, bool isSequence) {
    send("sum", isSequence ? Collective::ReduceScatter : Collective::AllReduce, Cut::Outputs, t * h / ins);
    KernelCost cost;
    cost.work.elementwise = rows * h / ins;
    compute("residual", cost);
  }

  const Transformer &m;
  double layers, t, h, keys, outs, ins;
  LayoutTerms result;
};
} // namespace

MeshTerms transformerTerms(const Transformer &m, const std::vector<TransformerPhase> &phases, int64_t outputs,
                           int64_t inputs) {
  MeshTerms terms;
  terms.refused = refusal(m, outputs, inputs);
  if (!terms.refused.empty())
    return terms;
  for (const TransformerPhase &phase : phases) {
    Layer layer(m, phase, outputs, inputs);
    std::vector<LayoutTerms> layouts{layer.terms(false)};
    if (outputs > 1) {
      layouts.push_back(layer.terms(true));
      if (phase.tokens % outputs != 0)
        layouts.back().refused = doesNotDivide(phase.tokens, "tokens", outputs);
    }
    terms.phases.push_back(layouts);
  }
  return terms;
}

} // namespace snug::test
