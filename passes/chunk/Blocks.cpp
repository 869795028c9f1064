// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/Blocks.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>

using namespace snug;

namespace {
void mix(size_t &hash, size_t value) { hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2); }

bool sameUse(const ChunkUse &a, const ChunkUse &b) {
  return a.isInit == b.isInit && a.elementwise == b.elementwise &&
         std::equal(a.access.begin(), a.access.end(), b.access.begin(), b.access.end(),
                    [](const DimAccess &x, const DimAccess &y) {
                      return std::tie(x.position, x.scale, x.window, x.offset) ==
                             std::tie(y.position, y.scale, y.window, y.offset);
                    });
}

// Pairs things of the first block with things of the second, one to one.
class Pairs {
public:
  bool pair(int a, int b) {
    auto [forth, isNew] = there.try_emplace(a, b);
    auto [back, isNewBack] = here.try_emplace(b, a);
    return forth->second == b && back->second == a && isNew == isNewBack;
  }

private:
  std::map<int, int> there, here;
};
} // namespace

std::vector<size_t> snug::nodeKinds(const ChunkProblem &problem) {
  std::vector<size_t> kinds;
  for (const ChunkNode &node : problem.nodes) {
    size_t hash = node.isView * 4 + node.isEmpty * 2 + node.mayMove;
    const KernelWork &work = node.work;
    for (double kind : {work.contraction, work.attention, work.transcendental, work.elementwise, work.reduction, work.strided})
      mix(hash, std::hash<double>()(kind));
    mix(hash, node.workspace);
    for (size_t dim = 0; dim < node.extents.size(); ++dim) {
      mix(hash, node.extents[dim]);
      mix(hash, node.tile[dim] * 4 + node.parallel[dim] * 2 + node.accumulates[dim]);
    }
    for (const auto *uses : {&node.uses, &node.results}) {
      mix(hash, uses->size());
      for (const ChunkUse &use : *uses) {
        const ChunkValue &value = problem.values[use.value];
        mix(hash, value.elementBytes);
        for (int64_t extent : value.extents)
          mix(hash, extent);
        mix(hash, value.buffer >= 0 ? problem.buffers[value.buffer].bytes : -1);
      }
    }
    kinds.push_back(hash);
  }
  return kinds;
}

bool snug::isSameBlock(const ChunkProblem &problem, const std::vector<size_t> &kinds, int first, int last, int shift) {
  if (first + shift < 0 || last + shift >= static_cast<int>(problem.nodes.size()))
    return false;
  Pairs values, buffers, shapes;
  auto sameUses = [&](const std::vector<ChunkUse> &a, const std::vector<ChunkUse> &b) {
    if (a.size() != b.size())
      return false;
    for (size_t i = 0; i < a.size(); ++i) {
      const ChunkValue &x = problem.values[a[i].value], &y = problem.values[b[i].value];
      bool inside = x.producer >= first, insideThere = y.producer >= first + shift;
      if (!sameUse(a[i], b[i]) || x.extents != y.extents || x.elementBytes != y.elementBytes ||
          !shapes.pair(x.shape, y.shape) || (x.buffer < 0) != (y.buffer < 0) || inside != insideThere || (inside && x.producer + shift != y.producer) ||
          (!inside && (x.producer >= 0 && problem.nodes[x.producer].isEmpty) !=
                          (y.producer >= 0 && problem.nodes[y.producer].isEmpty)) ||
          !values.pair(a[i].value, b[i].value) || (x.buffer >= 0 && !buffers.pair(x.buffer, y.buffer)))
        return false;
    }
    return true;
  };
  auto sameBuffer = [&](int a, int b) {
    const ChunkBuffer &x = problem.buffers[a], &y = problem.buffers[b];
    return buffers.pair(a, b) && x.bytes == y.bytes && (x.nodes.front() < first) == (y.nodes.front() < first + shift) &&
           (x.nodes.back() > last) == (y.nodes.back() > last + shift);
  };
  for (int node = first; node <= last; ++node) {
    const ChunkNode &x = problem.nodes[node], &y = problem.nodes[node + shift];
    if (kinds[node] != kinds[node + shift] || x.parallel != y.parallel || x.accumulates != y.accumulates ||
        x.extents != y.extents || x.tile != y.tile || x.isView != y.isView || x.isEmpty != y.isEmpty ||
        x.mayMove != y.mayMove || x.work != y.work || x.packed != y.packed || x.seen != y.seen ||
        x.workspace != y.workspace || x.buffers.size() != y.buffers.size() || !sameUses(x.uses, y.uses) ||
        !sameUses(x.results, y.results) ||
        !std::equal(x.buffers.begin(), x.buffers.end(), y.buffers.begin(), sameBuffer))
      return false;
  }
  return true;
}

ChunkLoop snug::shifted(const ChunkProblem &problem, const ChunkLoop &loop, int shift) {
  ChunkLoop result = loop;
  std::map<int, int> valueThere;
  for (int node = loop.first; node <= loop.last; ++node)
    for (auto uses : {&ChunkNode::uses, &ChunkNode::results})
      for (size_t i = 0; i < (problem.nodes[node].*uses).size(); ++i)
        valueThere[(problem.nodes[node].*uses)[i].value] = (problem.nodes[node + shift].*uses)[i].value;
  for (ChunkMember &member : result.members)
    member.node += shift;
  for (int &node : result.after)
    node += shift;
  for (auto &[made, dying] : result.inPlace) {
    made = valueThere.at(made);
    dying = valueThere.at(dying);
  }
  result.first += shift;
  result.last += shift;
  return result;
}

void snug::reorder(ChunkProblem &problem, const std::vector<int> &order) {
  std::vector<int> moved(order.size()); // where each node is then
  for (size_t i = 0; i < order.size(); ++i)
    moved[order[i]] = static_cast<int>(i);
  problem.nodes.reorder(order);
  auto moves = [&](int node) { return node >= 0 && moved[node] != node; };
  auto update = [&](std::vector<int> &nodes) {
    for (int &node : nodes)
      node = moved[node];
    std::sort(nodes.begin(), nodes.end());
  };
  // What does not change stays shared with copies of the problem.
  const ChunkProblem &before = problem;
  for (size_t i = 0; i < before.values.size(); ++i) {
    const ChunkValue &value = before.values[i];
    if (moves(value.producer))
      problem.values[i].producer = moved[value.producer];
    if (std::any_of(value.users.begin(), value.users.end(), moves))
      update(problem.values[i].users);
  }
  for (size_t i = 0; i < before.buffers.size(); ++i)
    if (const std::vector<int> &nodes = before.buffers[i].nodes; std::any_of(nodes.begin(), nodes.end(), moves))
      update(problem.buffers[i].nodes);
}
