// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/LoopBody.h"
#include "passes/chunk/PlanCost.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

using namespace snug;

namespace {
class Body {
public:
  Body(const ChunkProblem &problem, const ChunkLoop &loop) : problem(problem), loop(loop) {
    body.alignment = problem.alignment;
    for (const ChunkMember &m : loop.members)
      members[m.node] = &m;
    for (const ChunkMember &m : loop.members)
      for (const ChunkUse &use : problem.nodes[m.node].uses)
        if (const ChunkValue &over = problem.values[use.value]; m.isFresh && use.isInit && members.count(over.producer))
          renewed.insert(over.buffer);
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
    if (m.isFresh) // from here on
      for (const ChunkUse &use : whole.uses)
        if (use.isInit)
          buffers[problem.values[use.value].buffer] = freshBuffer(use);
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
    std::set<int> touched;
    for (int buffer : whole.buffers)
      touched.insert(bufferOf(buffer));
    if (m.isFresh) // it may read the old one
      for (const ChunkUse &use : node.uses)
        if (int buffer = body.values[use.value].buffer; !use.isInit && buffer >= 0)
          touched.insert(buffer);
    node.buffers.assign(touched.begin(), touched.end());
    for (int buffer : node.buffers)
      body.buffers[buffer].nodes.push_back(index);
    body.nodes.push_back(std::move(node));
  }

  // A destination that stays inside is a tensor that the body makes. What is made inside may be there in a larger slice
  // than this member needs.
  int operandOf(const ChunkUse &use, const ChunkMember &m) {
    const ChunkValue &value = problem.values[use.value];
    bool isEmpty = value.producer >= 0 && problem.nodes[value.producer].isEmpty;
    if (m.isFresh && use.isInit)
      return newValue(use, m, freshBuffer(use));
    if (isEmpty && use.isInit && isInside(value.buffer)) {
      ChunkUse made;
      made.value = newValue(use, m, bufferOf(value.buffer));
      body.values[made.value].producer = body.nodes.size();
      ChunkNode empty;
      empty.isEmpty = true;
      empty.results.push_back(made);
      body.nodes.push_back(empty);
      return made.value;
    }
    auto maker = members.find(value.producer);
    if (maker == members.end())
      return valueOf(use, m);
    LoopSlice have, need = sliceOf(use, m);
    for (const ChunkUse &result : problem.nodes[value.producer].results)
      if (result.value == use.value)
        have = sliceOf(result, *maker->second);
    int source = valueOf(use, m);
    return need.position < 0 || have == need ? source : viewOf(source, use, m, need);
  }

  // A slice of what is made inside: where it begins is known at run time, so that it is not cut along that dim.
  int viewOf(int source, const ChunkUse &use, const ChunkMember &m, const LoopSlice &need) {
    auto [known, isNew] = views.try_emplace({source, need.position, need.scale, need.before, need.after}, -1);
    if (!isNew)
      return known->second;
    int part = known->second = newValue(use, m, body.values[source].buffer);
    ChunkNode view;
    view.isView = true;
    view.extents = body.values[source].extents;
    view.tile.assign(view.extents.size(), 1);
    view.accumulates.assign(view.extents.size(), false);
    view.rows = view.columns = view.accumulates;
    view.parallel.assign(view.extents.size(), true);
    view.parallel[need.position] = false;
    ChunkUse through;
    for (size_t dim = 0; dim < view.extents.size(); ++dim) {
      through.access.emplace_back();
      through.access.back().position = static_cast<int>(dim);
    }
    through.value = source;
    view.uses.push_back(through);
    through.value = part;
    view.results.push_back(through);
    body.values[part].producer = static_cast<int>(body.nodes.size());
    body.values[source].users.push_back(static_cast<int>(body.nodes.size()));
    body.nodes.push_back(std::move(view));
    return part;
  }

  // A slice of a value from outside, or what a member makes of one.
  int valueOf(const ChunkUse &use, const ChunkMember &m) {
    bool inside = members.count(problem.values[use.value].producer);
    LoopSlice slice = inside ? LoopSlice{} : sliceOf(use, m);
    auto key = std::make_tuple(use.value, slice.position, slice.scale, slice.before, slice.after);
    auto known = values.find(key);
    if (known != values.end())
      return known->second;
    int buffer = problem.values[use.value].buffer;
    int id = newValue(use, m, buffer >= 0 ? bufferOf(buffer) : -1);
    values[key] = id;
    return id;
  }

  int newValue(const ChunkUse &use, const ChunkMember &m, int buffer) {
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
    slice.buffer = buffer;
    body.values.push_back(slice);
    return static_cast<int>(body.values.size()) - 1;
  }

  // Whether only the loop touches it, or what the loop makes in it ends up in a new one.
  bool isInside(int buffer) const {
    if (buffer < 0)
      return false;
    if (renewed.count(buffer))
      return true;
    const std::vector<int> &nodes = problem.buffers[buffer].nodes;
    return std::all_of(nodes.begin(), nodes.end(), [&](int node) { return members.count(node); });
  }

  int bufferOf(int buffer) {
    auto [known, isNew] = buffers.try_emplace(buffer, body.buffers.size());
    if (isNew) {
      body.buffers.emplace_back();
      if (const std::vector<int> &nodes = problem.buffers[buffer].nodes; !nodes.empty() && isInside(buffer))
        body.buffers.back().bytes = sliceBytes(problem, buffer, *firstMember(nodes), loop.size);
    }
    return known->second;
  }

  const ChunkMember *firstMember(const std::vector<int> &nodes) const {
    return members.at(*std::find_if(nodes.begin(), nodes.end(), [&](int node) { return members.count(node); }));
  }

  // The new one from outside that a member with isFresh writes into.
  int freshBuffer(const ChunkUse &init) {
    auto [known, isNew] = fresh.try_emplace(problem.values[init.value].buffer, body.buffers.size());
    if (isNew)
      body.buffers.emplace_back();
    return known->second;
  }

  const ChunkProblem &problem;
  const ChunkLoop &loop;
  ChunkProblem body;
  std::map<int, const ChunkMember *> members;          // by node
  std::map<std::tuple<int, int, int64_t, int64_t, int64_t>, int> values; // (value, slice of it) to the body's
  std::map<std::tuple<int, int, int64_t, int64_t, int64_t>, int> shapes;
  std::map<std::tuple<int, int, int64_t, int64_t, int64_t>, int> views;  // (the body's value, slice of it) to another one
  std::map<int, int> buffers, fresh; // to the body's: as they are at this member, and once they are new
  std::set<int> renewed;             // what is made inside, before it is written to a new one
};
} // namespace

ChunkProblem snug::bodyOf(const ChunkProblem &problem, const ChunkLoop &loop) { return Body(problem, loop).build(); }
