// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/LoopBody.h"
#include "passes/chunk/PlanCost.h"

#include <algorithm>
#include <map>
#include <tuple>

using namespace snug;

namespace {
class Body {
public:
  Body(const ChunkProblem &problem, const ChunkLoop &loop) : problem(problem), loop(loop) {
    body.alignment = problem.alignment;
    for (const ChunkMember &m : loop.members)
      members[m.node] = &m;
  }

  ChunkProblem build() {
    for (const ChunkMember &m : loop.members)
      add(m);
    return std::move(body);
  }

private:
  void add(const ChunkMember &m) {
    const ChunkNode &whole = problem.nodes[m.node];
    ChunkNode node = whole;
    if (m.dim >= 0) {
      node.extents[m.dim] = std::min(loop.size * m.scale + m.before + m.after, whole.extents[m.dim]);
      double share = static_cast<double>(node.extents[m.dim]) / static_cast<double>(whole.extents[m.dim]);
      node.work = node.work.times(share);
      if (static_cast<size_t>(m.dim) >= node.rows.size() || !node.rows[m.dim])
        node.packed *= share;
    }
    for (ChunkUse &use : node.uses)
      use.value = operandOf(use, m);
    int index = body.nodes.size();
    for (ChunkUse &result : node.results) {
      result.value = valueOf(result, m);
      ChunkValue &value = body.values[result.value];
      value.producer = index;
      if (value.buffer >= 0 && body.buffers[value.buffer].root < 0)
        body.buffers[value.buffer].root = result.value;
    }
    for (const ChunkUse &use : node.uses) {
      std::vector<int> &users = body.values[use.value].users;
      if (users.empty() || users.back() != index)
        users.push_back(index);
    }
    node.buffers.clear();
    for (int buffer : whole.buffers) {
      node.buffers.push_back(bufferOf(buffer));
      body.buffers[node.buffers.back()].nodes.push_back(index);
    }
    body.nodes.push_back(std::move(node));
  }

  // A destination that stays inside is a tensor that the body makes.
  int operandOf(const ChunkUse &use, const ChunkMember &m) {
    const ChunkValue &value = problem.values[use.value];
    bool isEmpty = value.producer >= 0 && problem.nodes[value.producer].isEmpty;
    if (!isEmpty || !use.isInit || !isInside(value.buffer))
      return valueOf(use, m);
    ChunkUse made;
    made.value = newValue(use, m);
    body.values[made.value].producer = body.nodes.size();
    ChunkNode empty;
    empty.isEmpty = true;
    empty.results.push_back(made);
    body.nodes.push_back(empty);
    return made.value;
  }

  // A slice of a value from outside, or what a member makes of one.
  int valueOf(const ChunkUse &use, const ChunkMember &m) {
    bool inside = members.count(problem.values[use.value].producer);
    LoopSlice slice = inside ? LoopSlice{} : sliceOf(use, m);
    auto key = std::make_tuple(use.value, slice.position, slice.scale, slice.before, slice.after);
    auto known = values.find(key);
    if (known != values.end())
      return known->second;
    int id = newValue(use, m);
    values[key] = id;
    return id;
  }

  int newValue(const ChunkUse &use, const ChunkMember &m) {
    ChunkValue slice = problem.values[use.value];
    LoopSlice part = sliceOf(use, m);
    auto shape = std::make_tuple(slice.shape, part.position, part.scale, part.before, part.after);
    slice.shape = shapes.try_emplace(shape, shapes.size()).first->second;
    if (part.position >= 0) {
      slice.extents[part.position] = lengthOf(part, loop.size, slice.extents[part.position]);
      slice.fixed[part.position] = false;
    }
    slice.users.clear();
    slice.producer = -1;
    if (slice.buffer >= 0)
      slice.buffer = bufferOf(slice.buffer);
    body.values.push_back(slice);
    return static_cast<int>(body.values.size()) - 1;
  }

  // Whether only the loop touches it.
  bool isInside(int buffer) const {
    if (buffer < 0)
      return false;
    const std::vector<int> &nodes = problem.buffers[buffer].nodes;
    return std::all_of(nodes.begin(), nodes.end(), [&](int node) { return members.count(node); });
  }

  int bufferOf(int buffer) {
    auto [known, isNew] = buffers.try_emplace(buffer, body.buffers.size());
    if (isNew) {
      body.buffers.emplace_back();
      if (const std::vector<int> &nodes = problem.buffers[buffer].nodes; !nodes.empty() && isInside(buffer))
        body.buffers.back().bytes = sliceBytes(problem, buffer, *members.at(nodes.front()), loop.size);
    }
    return known->second;
  }

  const ChunkProblem &problem;
  const ChunkLoop &loop;
  ChunkProblem body;
  std::map<int, const ChunkMember *> members;          // by node
  std::map<std::tuple<int, int, int64_t, int64_t, int64_t>, int> values; // (value, slice of it) to the body's
  std::map<std::tuple<int, int, int64_t, int64_t, int64_t>, int> shapes;
  std::map<int, int> buffers;
};
} // namespace

ChunkProblem snug::bodyOf(const ChunkProblem &problem, const ChunkLoop &loop) { return Body(problem, loop).build(); }
