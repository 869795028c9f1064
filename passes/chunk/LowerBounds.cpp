// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// When node u runs, a tensor v is there in any order if v's producer is u or before u, and a reader of v is u or behind
// u, where "before" and "behind" follow from who reads what. Whatever may be avoided is subtracted: u may write over
// one operand of the same shape that nobody needs behind it, and a caller's output may hold one tensor of its shape.
#include "passes/chunk/LowerBounds.h"
#include "passes/chunk/LiveCut.h"

#include <algorithm>
#include <functional>
#include <map>
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
      bounds.wholeOps = std::max(bounds.wholeOps, at(node));
    }
    bounds.chunked = leastLive(problem);
    bounds.wholeOps = std::max(bounds.wholeOps, bounds.chunked); // these are chunk loops of one iteration
    return bounds;
  }

private:
  struct Tensor {
    int value, producer;
    std::vector<int> readers; // through views
    int64_t bytes;
  };

  void findTensors() {
    for (size_t value = 0; value < problem.values.size(); ++value) {
      const ChunkValue &v = problem.values[value];
      if (v.buffer < 0 || v.producer < 0 || problem.nodes[v.producer].isView || problem.nodes[v.producer].isEmpty)
        continue;
      Tensor tensor{static_cast<int>(value), v.producer, {}, 0};
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
      tensor.bytes = static_cast<int64_t>(bytes);
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

  int64_t at(int node) const {
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
      live += tensor.bytes;
      int shape = problem.values[tensor.value].shape;
      if (heldByCaller.count(shape))
        inOutput[shape] = std::max(inOutput[shape], tensor.bytes);
      if (read && dies)
        for (const ChunkUse &result : n.results)
          if (problem.values[result.value].extents.size() && sameSize(result.value, tensor.value))
            overwritten = std::max(overwritten, tensor.bytes);
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
  std::vector<Bits> before;   // of each node itself and all that it needs
  std::set<int> heldByCaller; // shapes of outputs
  std::map<int, std::vector<int>> outputOf;
};
} // namespace

LowerBounds snug::lowerBounds(const ChunkProblem &problem) { return Bounds(problem).run(); }
