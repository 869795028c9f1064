// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Of each node B, look at the moment before the first of its elements, b, is done. All that b is computed from is done
// by then; nothing of B is, and nothing that needs some of B. On a path of elements, each computed from the one before
// it, that begins with what is done and ends with what is not, one is live: the last that is done, if the next one
// still has to read it; or the next one, if it is a sum that has read it. What is cheap may be computed anew, but only
// from what is live, so that going back along the path one gets to an element that is. So the bytes live are no less
// than any flow from the tensors that are done for sure to those that for sure are not, through elements that each let
// as much pass as they have bytes. A flow between tensors (or boxes of them) is one between elements if it can be
// spread evenly: where each element of one side has as many partners on the other as all others have.
#include "passes/chunk/LiveMoment.h"
#include "lib/solver/MaxFlow.h"

#include <numeric>
#include <set>

using namespace snug;

// Programs with more boxes than this have no bound but that of single kernels: sets of boxes would take too much.
static constexpr int kMostBoxes = 20000;

LiveMoment::LiveMoment(const ChunkProblem &problem, const std::vector<ElementCut> &cuts,
                       const std::vector<std::pair<int, int>> &unknown)
    : problem(problem), graph(problem, cuts, unknown) {
  findKinds();
  findCallers();
  findEdges();
}

bool LiveMoment::sums(int node) const {
  const ChunkNode &n = problem.nodes[node];
  for (size_t dim = 0; dim < n.accumulates.size(); ++dim)
    if (n.accumulates[dim] && n.extents[dim] > 1)
      return true;
  return false;
}

void LiveMoment::findKinds() {
  isNeeded.assign(problem.nodes.size(), false);
  isMove.assign(problem.nodes.size(), false);
  isKept.assign(graph.numBoxes(), false);
  for (size_t node = problem.nodes.size(); node-- > 0;) {
    const ChunkNode &n = problem.nodes[node];
    isNeeded[node] = n.results.empty() || !n.mayMove;
    for (const ChunkUse &result : n.results)
      for (int user : problem.values[result.value].users)
        isNeeded[node] = isNeeded[node] || isNeeded[user];
    // A part may be written where it goes to in the first place, and what has no rule may be in place, too.
    bool isMade = n.parallel.empty() || std::find(n.parallel.begin(), n.parallel.end(), false) == n.parallel.end();
    for (const ChunkUse &use : n.uses)
      for (const ChunkUse &result : n.results)
        isMove[node] = isMove[node] || n.isView || (isMade && use.isInit && !use.isBlind) ||
                       (n.parallel.empty() && !use.isBlind &&
                        problem.values[use.value].buffer == problem.values[result.value].buffer);
    for (const ChunkUse &result : n.results)
      for (int box = graph.firstBoxOf(result.value); box < graph.endOf(result.value); ++box)
        isKept[box] = !isMove[node] && !n.isCheap;
  }
}

// A buffer of the caller's holds what the program has in it. Where that is not there to the end, as in an output, it
// may hold what takes its place: tensors of shapes that share some buffer.
void LiveMoment::findCallers() {
  int numShapes = 0;
  for (const ChunkValue &value : problem.values)
    numShapes = std::max(numShapes, value.shape + 1);
  shapeClass.resize(numShapes);
  std::iota(shapeClass.begin(), shapeClass.end(), 0);
  auto find = [&](int shape) {
    while (shapeClass[shape] != shape)
      shape = shapeClass[shape] = shapeClass[shapeClass[shape]];
    return shape;
  };
  std::vector<int> shapeIn(problem.buffers.size(), -1);
  for (const ChunkValue &value : problem.values) {
    if (value.buffer < 0 || value.shape < 0)
      continue;
    if (shapeIn[value.buffer] < 0)
      shapeIn[value.buffer] = value.shape;
    shapeClass[find(value.shape)] = find(shapeIn[value.buffer]);
  }
  callerBytes.assign(numShapes, 0);
  isOutput.assign(problem.buffers.size(), false);
  for (const ChunkNode &n : problem.nodes)
    if (n.results.empty() && !n.mayMove)
      for (int buffer : n.buffers)
        isOutput[buffer] = problem.buffers[buffer].bytes == 0;
  for (size_t buffer = 0; buffer < problem.buffers.size(); ++buffer) {
    if (problem.buffers[buffer].bytes > 0 || shapeIn[buffer] < 0 || isOutput[buffer])
      continue;
    const ChunkValue &root = problem.values[problem.buffers[buffer].root];
    int64_t bytes = root.elementBytes;
    for (int64_t extent : root.extents)
      bytes *= std::max<int64_t>(extent, 0);
    callerBytes[find(shapeIn[buffer])] += bytes;
  }
  for (int shape = 0; shape < numShapes; ++shape)
    shapeClass[shape] = find(shape);
}

void LiveMoment::findEdges() {
  for (size_t node = problem.nodes.size(); node-- > 0;)
    for (const ChunkUse &result : problem.nodes[node].results)
      for (int box = graph.firstBoxOf(result.value); box < graph.endOf(result.value); ++box)
        byProducer.push_back(box);
  edges.resize(graph.numBoxes());
  for (size_t id = 0; id < graph.reads.size(); ++id) {
    const ElementRead &read = graph.reads[id];
    if (isNeeded[read.node])
      for (int from = graph.firstBoxOf(read.operand); from < graph.endOf(read.operand); ++from)
        for (int to = graph.firstBoxOf(read.result); to < graph.endOf(read.result); ++to)
          if (graph.mayRead(read, from, to))
            edges[from].push_back({static_cast<int>(id), to, graph.isRegular(read, from, to)});
  }
}

// The boxes that are computed before all elements with this coverage are.
const Boxes &LiveMoment::doneFor(int value, const Coverage &coverage) {
  using Key = std::pair<int, Coverage>;
  std::vector<Key> stack{{value, coverage}};
  while (!stack.empty()) {
    Key key = stack.back();
    if (done.count(key)) {
      stack.pop_back();
      continue;
    }
    std::vector<Key> from;
    bool ready = true;
    for (int id : graph.readsFor[key.first]) {
      Coverage covered;
      if (!graph.coveredBy(graph.reads[id], key.second, covered))
        continue;
      from.push_back({graph.reads[id].operand, std::move(covered)});
      if (!done.count(from.back())) {
        stack.push_back(from.back());
        ready = false;
      }
    }
    if (!ready)
      continue;
    Boxes bits(graph.numBoxes());
    for (const Key &operand : from)
      bits.add(done.at(operand));
    // Where slices overlap, an interval alone may be computed anew.
    Coverage own = key.second;
    for (size_t position = 0; position < own.size(); ++position)
      if (graph.hasWindow(key.first, static_cast<int>(position)) &&
          own[position] + 1 != uint32_t(1) << (graph.cuts[key.first][position].size() - 1))
        own[position] = 0;
    for (int box = graph.firstBoxOf(key.first); box < graph.endOf(key.first); ++box)
      if (graph.coversBox(own, box))
        bits.add(box);
    done.emplace(std::move(key), std::move(bits));
    stack.pop_back();
  }
  return done.at({value, coverage});
}

Boxes LiveMoment::doneBefore(int node, int position, int64_t end) {
  Boxes bits(graph.numBoxes());
  if (graph.numBoxes() > kMostBoxes)
    return bits;
  for (const ChunkUse &result : problem.nodes[node].results) {
    const auto &cuts = graph.cuts[result.value];
    Coverage some(cuts.size(), 0), covered;
    if (position >= 0)
      for (size_t i = 0; i + 1 < cuts[position].size(); ++i)
        some[position] |= uint32_t(cuts[position][i + 1] <= end) << i;
    for (int id : graph.readsFor[result.value])
      if (graph.coveredBy(graph.reads[id], some, covered))
        bits.add(doneFor(graph.reads[id].operand, covered));
  }
  return bits;
}

Boxes LiveMoment::boxesOf(int node) const {
  Boxes bits(graph.numBoxes());
  for (const ChunkUse &result : problem.nodes[node].results)
    for (int box = graph.firstBoxOf(result.value); box < graph.endOf(result.value); ++box)
      bits.add(box);
  return bits;
}

Boxes LiveMoment::notDone(int node, Boxes bits) const {
  auto setAll = [&](int value) {
    for (int box = graph.firstBoxOf(value); box < graph.endOf(value); ++box)
      bits.add(box);
  };
  auto from = std::lower_bound(graph.reads.begin(), graph.reads.end(), node,
                               [](const ElementRead &read, int after) { return read.node <= after; });
  for (; from != graph.reads.end(); ++from) {
    bool all = from->lo.empty();
    for (const ReadAxis &axis : from->axes)
      all = all && !axis.isClipped;
    for (int box = graph.firstBoxOf(from->operand); box < graph.endOf(from->operand); ++box) {
      if (!bits.has(box)) {
        all = false;
        continue;
      }
      for (int to = graph.firstBoxOf(from->result); to < graph.endOf(from->result); ++to)
        if (!bits.has(to) && graph.alwaysReads(*from, box, to))
          bits.add(to);
    }
    if (all)
      setAll(from->result);
  }
  return bits;
}

std::vector<int> LiveMoment::liveAfter(const Boxes &done) const {
  std::vector<int> live;
  Boxes isRead(graph.numBoxes());
  for (int box : byProducer)
    if (done.has(box) && std::any_of(edges[box].begin(), edges[box].end(), [&](const Edge &edge) {
          return !done.has(edge.to) || (!isKept[edge.to] && isRead.has(edge.to));
        })) {
      isRead.add(box);
      if (isKept[box])
        live.push_back(box);
    }
  return live;
}

int64_t LiveMoment::readAtOnce(int node, const std::vector<double> &share) const {
  if (sums(node) || problem.nodes[node].results.empty())
    return 0;
  std::vector<std::pair<int64_t, std::set<int>>> operands; // bytes, the buffers where they may be
  for (int id : graph.readsFor[problem.nodes[node].results[0].value]) {
    const ElementRead &read = graph.reads[id];
    if (inOutput(read.operand) || callersOf(read.operand) > 0)
      continue;
    double left = 1;
    std::vector<int> values{read.operand};
    std::set<int> buffers;
    for (size_t i = 0; i < values.size(); ++i) {
      const ChunkValue &value = problem.values[values[i]];
      for (int box = graph.firstBoxOf(values[i]); box < graph.endOf(values[i]); ++box)
        left = std::min(left, 1 - (share.empty() ? 0 : share[box]));
      if (value.buffer >= 0)
        buffers.insert(value.buffer);
      if (value.producer >= 0 && isMove[value.producer])
        for (const ChunkUse &use : problem.nodes[value.producer].uses)
          if (std::find(values.begin(), values.end(), use.value) == values.end())
            values.push_back(use.value);
    }
    auto bytes = static_cast<double>(graph.elementsRead(read) * problem.values[read.operand].elementBytes);
    operands.push_back({static_cast<int64_t>(bytes * std::max(left, 0.0)), std::move(buffers)});
  }
  std::sort(operands.begin(), operands.end(), [](const auto &a, const auto &b) { return a.first > b.first; });
  int64_t sum = 0;
  std::set<int> counted;
  for (const auto &[bytes, buffers] : operands)
    if (std::none_of(buffers.begin(), buffers.end(), [&](int buffer) { return counted.count(buffer) > 0; })) {
      sum += bytes;
      counted.insert(buffers.begin(), buffers.end());
    }
  return sum;
}

int64_t LiveMoment::boundAt(int node, const Boxes &done, const Boxes &later) const {
  FlowNetwork network;
  int source = network.addVertex(), sink = network.addVertex();
  struct Vertex {
    int in, out, edge;
  };
  std::map<int, Vertex> vertices; // by box
  std::vector<int> worklist;
  auto vertexOf = [&](int box) {
    auto [entry, isNew] = vertices.try_emplace(box);
    if (isNew) {
      Vertex &v = entry->second;
      v.in = network.addVertex();
      v.out = network.addVertex();
      int value = graph.valueOf(box);
      v.edge = network.addEdge(v.in, v.out, inOutput(value) || callersOf(value) > 0 ? 0 : graph.bytesOf(box));
      worklist.push_back(box);
    }
    return entry->second;
  };
  for (int box : liveAfter(done))
    network.addEdge(source, vertexOf(box).in, FlowNetwork::kUnlimited);
  while (!worklist.empty()) {
    int box = worklist.back();
    worklist.pop_back();
    Vertex from = vertices.at(box);
    if (later.has(box)) {
      network.addEdge(from.out, sink, FlowNetwork::kUnlimited);
      continue;
    }
    for (const Edge &edge : edges[box]) {
      const ElementRead &read = graph.reads[edge.read];
      bool allLater = later.has(edge.to);
      if (allLater && !sums(read.node)) {
        for (int to = graph.firstBoxOf(read.result); to < graph.endOf(read.result); ++to)
          allLater = allLater && later.has(to);
        if (edge.isRegular || (allLater && graph.isReadAll(read, box)))
          network.addEdge(from.out, sink, FlowNetwork::kUnlimited);
      } else if (edge.isRegular && !(done.has(edge.to) && isKept[edge.to])) {
        network.addEdge(from.out, vertexOf(edge.to).in, FlowNetwork::kUnlimited);
      }
    }
  }
  std::vector<double> share(graph.numBoxes(), 0);
  auto measure = [&] {
    for (auto [box, v] : vertices)
      share[box] = static_cast<double>(network.flowOf(v.edge)) / static_cast<double>(graph.bytesOf(box));
  };
  // Without what may be in a buffer of the caller's; and with it, but for what these buffers hold.
  int64_t flow = network.augment(source, sink);
  measure();
  int64_t bound = flow + readAtOnce(node, share);
  std::map<int, std::pair<int64_t, std::vector<int>>> held; // class of shapes -> its buffers' bytes, edges
  for (auto &[box, v] : vertices)
    if (int value = graph.valueOf(box); !inOutput(value) && callersOf(value) > 0) {
      v.edge = network.addEdge(v.in, v.out, graph.bytesOf(box));
      auto &[bytes, all] = held[shapeClass[problem.values[graph.valueOf(box)].shape]];
      bytes = callersOf(graph.valueOf(box));
      all.push_back(v.edge);
    }
  if (held.empty())
    return bound;
  flow += network.augment(source, sink);
  measure();
  flow += readAtOnce(node, share);
  for (auto &[shape, entry] : held) {
    int64_t through = 0;
    for (int edge : entry.second)
      through += network.flowOf(edge);
    flow -= std::min(entry.first, through);
  }
  return std::max(bound, flow);
}
