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
#include "passes/chunk/LiveCut.h"
#include "lib/solver/MaxFlow.h"
#include "passes/chunk/ElementGraph.h"

#include <map>
#include <numeric>
#include <set>
#include <tuple>

using namespace snug;

// Programs with more boxes than this have no bound but that of single kernels: sets of boxes would take too much.
static constexpr int kMostBoxes = 20000;

// Nodes that are looked at slab by slab.
static constexpr size_t kMostTried = 32, kMostSlabs = 8;
static constexpr int64_t kMostSteps = 8;

namespace {
using Bits = std::vector<uint64_t>;
bool test(const Bits &bits, int i) { return bits[i / 64] >> (i % 64) & 1; }
void set(Bits &bits, int i) { bits[i / 64] |= uint64_t(1) << (i % 64); }
void clear(Bits &bits, int i) { bits[i / 64] &= ~(uint64_t(1) << (i % 64)); }
void unite(Bits &bits, const Bits &other) {
  for (size_t i = 0; i < bits.size(); ++i)
    bits[i] |= other[i];
}

class LiveCut {
public:
  explicit LiveCut(const ChunkProblem &problem, const std::vector<ElementCut> &cuts = {},
                   const std::vector<std::pair<int, int>> &unknown = {})
      : problem(problem), graph(problem, cuts, unknown) {
    findKinds();
    findCallers();
    findEdges();
  }
  int64_t run();

private:
  struct Edge {
    int read, to; ///< box of the result
    bool isRegular;
  };
  // The moment before the first element of a node is done. Or, of its slabs along a position, of the last one of which
  // any is; or along two, of the one with which half of either have begun.
  struct Candidate {
    int node, position, other;
    int64_t most; ///< that the bound can be
  };

  void findKinds();
  void findCallers();
  void findEdges();
  const Bits &doneFor(int value, const Coverage &coverage);
  Bits doneBefore(int node, int position, int64_t slabs);
  Bits boxesOf(int node) const;
  Bits notDone(int node, Bits first) const;
  std::vector<int> liveAfter(const Bits &done) const;
  int64_t readAtOnce(int node, const std::vector<double> &share) const;
  int64_t boundAt(int node, const Bits &done, const Bits &later) const;
  int64_t slabOf(int node, int position) const;
  int64_t boundInSlabs(const Candidate &candidate, int64_t best) const;
  int64_t boundInHalves(const Candidate &candidate, int64_t best) const;

  bool sums(int node) const {
    const ChunkNode &n = problem.nodes[node];
    for (size_t dim = 0; dim < n.accumulates.size(); ++dim)
      if (n.accumulates[dim] && n.extents[dim] > 1)
        return true;
    return false;
  }
  bool inOutput(int value) const { return isOutput[problem.values[value].buffer]; }
  int64_t callersOf(int value) const {
    int shape = problem.values[value].shape;
    return shape < 0 ? 0 : callerBytes[shapeClass[shape]];
  }

  const ChunkProblem &problem;
  ElementGraph graph;
  std::vector<bool> isNeeded; ///< nodes
  std::vector<bool> isMove;   ///< nodes that may be no more than a place where others write
  std::vector<bool> isKept;   ///< boxes: what is done is not done again, nor in the place of what it is made from
  std::vector<bool> isOutput; ///< buffers: the caller's, to the end
  std::vector<int> shapeClass;
  std::vector<int64_t> callerBytes;     ///< by class of shapes: of the buffers of a caller in which they may be
  std::vector<std::vector<Edge>> edges; ///< by box
  std::vector<int> byProducer;          ///< boxes, the last node's first
  std::map<std::pair<int, Coverage>, Bits> done;
};
} // namespace

void LiveCut::findKinds() {
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
void LiveCut::findCallers() {
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

void LiveCut::findEdges() {
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
const Bits &LiveCut::doneFor(int value, const Coverage &coverage) {
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
    Bits bits(graph.numBoxes() / 64 + 1);
    for (const Key &operand : from)
      unite(bits, done.at(operand));
    // Where slices overlap, an interval alone may be computed anew.
    Coverage own = key.second;
    for (size_t position = 0; position < own.size(); ++position)
      if (graph.hasWindow(key.first, static_cast<int>(position)) &&
          own[position] + 1 != uint32_t(1) << (graph.cuts[key.first][position].size() - 1))
        own[position] = 0;
    for (int box = graph.firstBoxOf(key.first); box < graph.endOf(key.first); ++box)
      if (graph.coversBox(own, box))
        set(bits, box);
    done.emplace(std::move(key), std::move(bits));
    stack.pop_back();
  }
  return done.at({value, coverage});
}

// The boxes that are done before any element of the node is. With a position, when some of each slab before `end` is or
// is about to be.
Bits LiveCut::doneBefore(int node, int position, int64_t end) {
  Bits bits(graph.numBoxes() / 64 + 1);
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
        unite(bits, doneFor(graph.reads[id].operand, covered));
  }
  return bits;
}

Bits LiveCut::boxesOf(int node) const {
  Bits bits(graph.numBoxes() / 64 + 1);
  for (const ChunkUse &result : problem.nodes[node].results)
    for (int box = graph.firstBoxOf(result.value); box < graph.endOf(result.value); ++box)
      set(bits, box);
  return bits;
}

// The boxes of which no element is done before one of these of the node is.
Bits LiveCut::notDone(int node, Bits bits) const {
  auto setAll = [&](int value) {
    for (int box = graph.firstBoxOf(value); box < graph.endOf(value); ++box)
      set(bits, box);
  };
  auto from = std::lower_bound(graph.reads.begin(), graph.reads.end(), node,
                               [](const ElementRead &read, int after) { return read.node <= after; });
  for (; from != graph.reads.end(); ++from) {
    bool all = from->lo.empty();
    for (const ReadAxis &axis : from->axes)
      all = all && !axis.isClipped;
    for (int box = graph.firstBoxOf(from->operand); box < graph.endOf(from->operand); ++box) {
      if (!test(bits, box)) {
        all = false;
        continue;
      }
      for (int to = graph.firstBoxOf(from->result); to < graph.endOf(from->result); ++to)
        if (!test(bits, to) && graph.alwaysReads(*from, box, to))
          set(bits, to);
    }
    if (all)
      setAll(from->result);
  }
  return bits;
}

// The boxes that are done, and that something not done is computed from, maybe through what is computed anew.
std::vector<int> LiveCut::liveAfter(const Bits &done) const {
  std::vector<int> live;
  Bits isRead(done.size());
  for (int box : byProducer)
    if (test(done, box) && std::any_of(edges[box].begin(), edges[box].end(), [&](const Edge &edge) {
          return !test(done, edge.to) || (!isKept[edge.to] && test(isRead, edge.to));
        })) {
      set(isRead, box);
      if (isKept[box])
        live.push_back(box);
    }
  return live;
}

// What a kernel reads for one element is there at once, whole or in slices: of each operand the share of its elements
// that no flow goes through, but only once what may be in one place.
int64_t LiveCut::readAtOnce(int node, const std::vector<double> &share) const {
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

int64_t LiveCut::boundAt(int node, const Bits &done, const Bits &later) const {
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
    if (test(later, box)) {
      network.addEdge(from.out, sink, FlowNetwork::kUnlimited);
      continue;
    }
    for (const Edge &edge : edges[box]) {
      const ElementRead &read = graph.reads[edge.read];
      bool allLater = test(later, edge.to);
      if (allLater && !sums(read.node)) {
        for (int to = graph.firstBoxOf(read.result); to < graph.endOf(read.result); ++to)
          allLater = allLater && test(later, to);
        if (edge.isRegular || (allLater && graph.isReadAll(read, box)))
          network.addEdge(from.out, sink, FlowNetwork::kUnlimited);
      } else if (edge.isRegular && !(test(done, edge.to) && isKept[edge.to])) {
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

// Slabs of a node along a position of its result: no thinner than the parts that others go with.
int64_t LiveCut::slabOf(int node, int position) const {
  int64_t slab = 1;
  int value = problem.nodes[node].results[0].value;
  for (int id : graph.readsFor[value])
    for (const ResultDim &dim : graph.reads[id].dims)
      if (dim.position == position && dim.isOutermost)
        slab = std::max(slab, dim.scale);
  int64_t extent = problem.values[value].extents[position];
  return extent % slab == 0 && extent > slab ? slab : 0;
}

int64_t LiveCut::boundInSlabs(const Candidate &candidate, int64_t best) const {
  auto [node, position, other, most] = candidate;
  int value = problem.nodes[node].results[0].value;
  int64_t slab = slabOf(node, position), extent = problem.values[value].extents[position];
  if (slab == 0 || !graph.isSymmetric(value, position))
    return best;
  int64_t count = extent / slab;
  for (int64_t before : {count - 1, 2 * count / 3, count / 2}) {
    int64_t begin = before * slab, end = begin + slab;
    LiveCut slabs(problem, {{value, position, begin}, {value, position, end}});
    Bits later = slabs.boxesOf(node);
    for (int box = slabs.graph.firstBoxOf(value); box < slabs.graph.endOf(value); ++box)
      if (slabs.graph.beginOf(box, position) < begin)
        clear(later, box);
    best = std::max(best, slabs.boundAt(node, slabs.doneBefore(node, position, end), slabs.notDone(node, later)));
  }
  return best;
}

// Half of the slabs along one position have begun, and another one is about to; of those along the other, no more than
// half have. However many these are: so many, but for a step.
int64_t LiveCut::boundInHalves(const Candidate &candidate, int64_t best) const {
  auto [node, first, second, most] = candidate;
  int value = problem.nodes[node].results[0].value;
  std::vector<std::pair<int, int>> unknown;
  if (slabOf(node, first) == 0 || slabOf(node, second) == 0 || !graph.separate(value, first, second, unknown))
    return best;
  int64_t least = most;
  for (auto [p, q] : {std::pair<int, int>{first, second}, {second, first}}) {
    int64_t slab = slabOf(node, p), otherSlab = slabOf(node, q);
    int64_t half = problem.values[value].extents[p] / slab / 2,
            otherHalf = problem.values[value].extents[q] / otherSlab / 2;
    int64_t step = (otherHalf + kMostSteps - 1) / kMostSteps;
    for (int64_t some = 1; some <= otherHalf && least > best; some += step) {
      int64_t begin = half * slab, end = begin + slab;
      int64_t surely = some * otherSlab, perhaps = std::min(otherHalf, some + step - 1) * otherSlab;
      LiveCut slabs(problem, {{value, p, begin}, {value, p, end}, {value, q, surely}, {value, q, perhaps}}, unknown);
      Bits done = slabs.doneBefore(node, p, end), later = slabs.boxesOf(node);
      unite(done, slabs.doneBefore(node, q, surely));
      for (int box = slabs.graph.firstBoxOf(value); box < slabs.graph.endOf(value); ++box)
        if (slabs.graph.beginOf(box, p) < begin && slabs.graph.beginOf(box, q) < perhaps)
          clear(later, box);
      least = std::min(least, slabs.boundAt(node, done, slabs.notDone(node, later)));
    }
  }
  return std::max(best, least);
}

int64_t LiveCut::run() {
  std::vector<Candidate> candidates;
  auto add = [&](int node, int position, int other, const Bits &done) {
    int64_t most = readAtOnce(node, {});
    for (int box : liveAfter(done))
      most += graph.bytesOf(box);
    candidates.push_back({node, position, other, most});
  };
  auto whole = [&](int node, int position) {
    return doneBefore(node, position,
                      position < 0 ? 0 : problem.values[problem.nodes[node].results[0].value].extents[position]);
  };
  for (size_t i = 0; i < problem.nodes.size(); ++i) {
    const ChunkNode &n = problem.nodes[i];
    int node = static_cast<int>(i);
    if (isMove[i] || n.isEmpty || n.results.empty() || !isNeeded[i])
      continue;
    Bits done = doneBefore(node, -1, 0);
    add(node, -1, -1, done);
    if (n.results.size() > 1)
      continue;
    std::vector<std::pair<int, Bits>> inSlabs;
    for (size_t p = 0; p < problem.values[n.results[0].value].extents.size(); ++p)
      if (Bits more = whole(node, static_cast<int>(p)); more != done) {
        add(node, static_cast<int>(p), -1, more);
        for (const auto &[other, same] : inSlabs) {
          Bits both = more;
          unite(both, same);
          if (both != more && both != same)
            add(node, other, static_cast<int>(p), both);
        }
        inSlabs.push_back({static_cast<int>(p), std::move(more)});
      }
  }
  auto mostFirst = [](const Candidate &a, const Candidate &b) {
    return std::make_tuple(-a.most, a.node, a.position, a.other) <
           std::make_tuple(-b.most, b.node, b.position, b.other);
  };
  std::sort(candidates.begin(), candidates.end(), mostFirst);
  int64_t best = 0;
  for (const Candidate &candidate : candidates)
    if (candidate.position < 0 && candidate.most > best)
      best = std::max(best, boundAt(candidate.node, doneBefore(candidate.node, -1, 0),
                                    notDone(candidate.node, boxesOf(candidate.node))));
  // In slabs it is no more than if no slab were done, but what they all are computed from. Alike blocks of a program
  // have alike slabs.
  std::vector<Candidate> inSlabs;
  std::set<std::tuple<int64_t, int, int>> seen;
  for (Candidate &candidate : candidates) {
    if (candidate.position < 0 || candidate.most <= best || seen.size() >= kMostTried ||
        !seen.insert({candidate.most, candidate.position, candidate.other}).second)
      continue;
    Bits done = whole(candidate.node, candidate.position);
    if (candidate.other >= 0)
      unite(done, whole(candidate.node, candidate.other));
    candidate.most = boundAt(candidate.node, done, notDone(candidate.node, boxesOf(candidate.node)));
    inSlabs.push_back(candidate);
  }
  std::sort(inSlabs.begin(), inSlabs.end(), mostFirst);
  size_t tried = 0;
  for (const Candidate &candidate : inSlabs)
    if (candidate.most > best && tried++ < kMostSlabs)
      best = candidate.other < 0 ? boundInSlabs(candidate, best) : boundInHalves(candidate, best);
  return best;
}

int64_t snug::leastLive(const ChunkProblem &problem) { return LiveCut(problem).run(); }
