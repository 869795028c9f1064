// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// When node u runs, a tensor v is there in any order if v's producer is u or before u, and a reader of v is u or behind
// u, where "before" and "behind" follow from who reads what. Whatever may be avoided is subtracted: u may write over one
// operand of the same shape that nobody needs behind it, and a caller's output may hold one tensor of its shape.
#include "passes/chunk/LowerBounds.h"

#include <algorithm>
#include <map>
#include <functional>
#include <set>

using namespace snug;

namespace {
using Bits = std::vector<uint64_t>;
bool test(const Bits &bits, int i) { return bits[i / 64] >> (i % 64) & 1; }
void set(Bits &bits, int i) { bits[i / 64] |= uint64_t(1) << (i % 64); }
void unite(Bits &bits, const Bits &other) {
  for (size_t i = 0; i < bits.size(); ++i)
    bits[i] |= other[i];
}

class Bounds {
public:
  explicit Bounds(const ChunkProblem &problem) : problem(problem) {}

  LowerBounds run() {
    findTensors();
    findOrder();
    LowerBounds bounds;
    for (size_t node = 0; node < problem.nodes.size(); ++node) {
      const ChunkNode &n = problem.nodes[node];
      if (n.isView || n.isEmpty || n.results.empty())
        continue;
      bounds.wholeOps = std::max(bounds.wholeOps, at(node, &Tensor::bytes));
      bounds.chunked = std::max(bounds.chunked, at(node, &Tensor::leastBytes));
    }
    return bounds;
  }

private:
  struct Tensor {
    int value, producer;
    std::vector<int> readers; // through views
    int64_t bytes, leastBytes;
  };

  // The least share of a dim that a loop may hold of the value: one iteration. 1 where some reader needs it whole.
  double leastShare(int value, int position, int64_t extent, int64_t scale, bool asResult) {
    double share = 1;
    bool first = true;
    auto visit = [&](const ChunkUse &use, const ChunkNode &n) {
      double here = 1;
      if (!use.access.empty() && !n.parallel.empty())
        for (size_t dim = 0; dim < use.access.size(); ++dim)
          if (use.access[dim].position == position && (n.parallel[dim] || n.accumulates[dim]))
            here = std::min(here, static_cast<double>(use.access[dim].window * scale) / extent);
      share = first ? here : std::max(share, here);
      first = false;
      return here;
    };
    if (asResult) {
      const ChunkNode &producer = problem.nodes[problem.values[value].producer];
      for (const ChunkUse &result : producer.results)
        if (result.value == value)
          visit(result, producer);
    }
    for (int user : problem.values[value].users) {
      const ChunkNode &n = problem.nodes[user];
      for (const ChunkUse &use : n.uses) {
        if (use.value != value)
          continue;
        if (visit(use, n) == 1 || !n.isView || n.results.empty())
          continue;
        // On behind the view.
        const ChunkUse &result = n.results[0];
        for (size_t dim = 0; dim < use.access.size(); ++dim)
          if (use.access[dim].position == position && n.parallel[dim] && result.access[dim].position >= 0)
            share = std::max(share, leastShare(result.value, result.access[dim].position,
                                               problem.values[result.value].extents[result.access[dim].position], 1,
                                               /*asResult=*/false));
      }
    }
    return share;
  }

  void findTensors() {
    for (size_t value = 0; value < problem.values.size(); ++value) {
      const ChunkValue &v = problem.values[value];
      if (v.buffer < 0 || v.producer < 0 || problem.nodes[v.producer].isView || problem.nodes[v.producer].isEmpty)
        continue;
      Tensor tensor{static_cast<int>(value), v.producer, {}, 0, 0};
      double bytes = v.elementBytes;
      for (int64_t extent : v.extents)
        bytes *= extent;
      if (problem.buffers[v.buffer].bytes == 0) {
        heldByCaller.insert(v.shape); // in an output
        outputOf[v.shape].push_back(tensor.producer);
        continue;
      }
      std::vector<int> aliases{tensor.value};
      for (size_t i = 0; i < aliases.size(); ++i)
        for (int user : problem.values[aliases[i]].users) {
          if (problem.nodes[user].isView)
            for (const ChunkUse &result : problem.nodes[user].results)
              aliases.push_back(result.value);
          else
            tensor.readers.push_back(user);
        }
      double share = 1;
      for (size_t position = 0; position < v.extents.size(); ++position)
        if (v.extents[position] > 1)
          share = std::min(share, leastShare(value, position, v.extents[position], 1, true));
      tensor.bytes = static_cast<int64_t>(bytes);
      tensor.leastBytes = static_cast<int64_t>(bytes * share);
      tensors.push_back(std::move(tensor));
    }
  }

  void findOrder() {
    int numNodes = problem.nodes.size();
    before.assign(numNodes, Bits(numNodes / 64 + 1));
    for (int node = 0; node < numNodes; ++node) {
      set(before[node], node);
      for (const ChunkUse &use : problem.nodes[node].uses)
        if (int producer = problem.values[use.value].producer; producer >= 0)
          unite(before[node], before[producer]);
    }
  }

  int64_t at(int node, int64_t Tensor::*bytes) const {
    int64_t live = 0, overwritten = 0;
    std::map<int, int64_t> inOutput; // by shape, the largest that a caller's output may hold
    const ChunkNode &n = problem.nodes[node];
    for (const Tensor &tensor : tensors) {
      if (!test(before[node], tensor.producer))
        continue;
      bool needed = tensor.producer == node, dies = true, read = false;
      for (int reader : tensor.readers) {
        read = read || reader == node;
        needed = needed || test(before[reader], node);
        dies = dies && (reader == node || !test(before[reader], node));
      }
      if (!needed)
        continue;
      live += tensor.*bytes;
      int shape = problem.values[tensor.value].shape;
      if (heldByCaller.count(shape))
        inOutput[shape] = std::max(inOutput[shape], tensor.*bytes);
      if (read && dies)
        for (const ChunkUse &result : n.results)
          if (problem.values[result.value].extents.size() && sameSize(result.value, tensor.value))
            overwritten = std::max(overwritten, tensor.*bytes);
    }
    for (auto [shape, most] : inOutput)
      live -= most * static_cast<int64_t>(outputOf.at(shape).size());
    return std::max<int64_t>(0, live - overwritten);
  }

  bool sameSize(int a, int b) const {
    auto bytes = [&](int value) {
      double result = problem.values[value].elementBytes;
      for (int64_t extent : problem.values[value].extents)
        result *= extent;
      return result;
    };
    return bytes(a) == bytes(b);
  }

  const ChunkProblem &problem;
  std::vector<Tensor> tensors;
  std::vector<Bits> before;             // of each node itself and all that it needs
  std::set<int> heldByCaller;           // shapes of outputs
  std::map<int, std::vector<int>> outputOf;
};
} // namespace

LowerBounds snug::lowerBounds(const ChunkProblem &problem) { return Bounds(problem).run(); }
