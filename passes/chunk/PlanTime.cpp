// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/PlanTime.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

using namespace snug;

// f32 elements of a cache line.
static constexpr double kLineElements = 16;

static double bytesOf(const ChunkValue &value) {
  double bytes = static_cast<double>(value.elementBytes);
  for (int64_t extent : value.extents)
    bytes *= static_cast<double>(extent);
  return bytes;
}

bool PlanTime::isFree(const ChunkNode &node) const {
  return node.isView || node.isEmpty || node.results.empty() || (node.buffers.empty() && !node.work.any());
}

// What shares memory has one key: a buffer of the arena, else the value that views look at.
int PlanTime::keyOf(int value) const {
  while (problem.values[value].buffer < 0 && problem.values[value].producer >= 0 &&
         problem.nodes[problem.values[value].producer].isView &&
         !problem.nodes[problem.values[value].producer].uses.empty())
    value = problem.nodes[problem.values[value].producer].uses.front().value;
  int buffer = problem.values[value].buffer;
  return buffer >= 0 ? buffer : -1 - value;
}

// The kernel over `length` of its dim (-1: as a whole), without what it moves.
KernelCost PlanTime::costOf(const ChunkNode &node, int dim, int64_t length) const {
  KernelCost cost;
  cost.work =
      dim < 0 ? node.work : node.work.times(static_cast<double>(length) / static_cast<double>(node.extents[dim]));
  double outer = 1;
  int64_t rows = 1, columns = 1;
  bool tiled = false;
  for (size_t d = 0; d < node.extents.size(); ++d) {
    int64_t extent = static_cast<int>(d) == dim ? length : node.extents[d];
    bool isRow = d < node.rows.size() && node.rows[d], isColumn = d < node.columns.size() && node.columns[d];
    tiled = tiled || isRow || isColumn;
    if (isRow)
      rows *= extent;
    else if (isColumn)
      columns *= extent;
    else if (node.parallel[d])
      outer *= static_cast<double>(extent);
  }
  cost.isNarrow = node.isNarrow;
  cost.rows = tiled ? rows : 0;
  cost.columns = std::find(node.columns.begin(), node.columns.end(), true) != node.columns.end() ? columns : 0;
  if (node.packed > 0) {
    bool isCut = dim >= 0 && !(static_cast<size_t>(dim) < node.rows.size() && node.rows[dim]);
    double share = isCut ? static_cast<double>(length) / static_cast<double>(node.extents[dim]) : 1;
    cost.work.strided += packing(machine, share * node.packed, rows);
  }
  cost.pieces = piecesOf(machine, outer, rows, columns);
  return cost;
}

// When the memory of something was last touched, and by a kernel that moved how much.
struct PlanTime::LastTouch {
  double moved = 0, own = 0;

  // Bytes moved from one touch of a line to the next, on average: kernels walk over all that they touch side by side.
  double distance(double now, double ownNow) const { return now - moved + (own + ownNow) / 2; }
};

void PlanTime::measure(const std::vector<int64_t> &live) {
  touches.assign(problem.nodes.size(), {});
  times.assign(problem.nodes.size(), 0);
  // Memory that nothing has used yet was another's, in turn.
  double arena = live.empty() ? 0 : static_cast<double>(*std::max_element(live.begin(), live.end()));
  double moved = 0;
  std::unordered_map<int, LastTouch> last; // by key
  for (size_t id = 0; id < problem.nodes.size(); ++id) {
    const ChunkNode &node = problem.nodes[id];
    if (isFree(node))
      continue;
    double read = 0, own = 0;
    auto add = [&](const ChunkUse &use, bool isWrite, bool isPanel = false) {
      double bytes = bytesOf(problem.values[use.value]);
      // What only moves writes no more than it reads: the rest of its destination stays.
      if (isWrite && !node.work.any())
        bytes = std::min(bytes, read);
      if (!isWrite)
        read += bytes;
      own += bytes;
      if (bytes > 0)
        touches[id].push_back({keyOf(use.value), bytes, -1, isWrite, isPanel, &use});
    };
    for (size_t i = 0; i < node.uses.size(); ++i)
      if (!node.uses[i].isInit)
        add(node.uses[i], false, std::find(node.panels.begin(), node.panels.end(), i) != node.panels.end());
    for (const ChunkUse &result : node.results)
      add(result, true);
    for (Touch &touch : touches[id]) {
      auto known = last.find(touch.key);
      if (known != last.end())
        touch.distance = known->second.distance(moved, own);
      else if (touch.isWrite)
        touch.distance = arena;
    }
    moved += own;
    for (const Touch &touch : touches[id])
      last[touch.key] = {moved, own};
  }
  for (size_t id = 0; id < problem.nodes.size(); ++id) {
    if (isFree(problem.nodes[id]))
      continue;
    KernelCost cost = costOf(problem.nodes[id], -1, 0);
    for (Touch &touch : touches[id]) {
      if (touch.distance < 0)
        touch.distance = moved; // last touched in the run before
      addTransfer(machine, {touch.bytes, touch.distance, touch.isWrite, touch.isPanel}, threads, cost);
    }
    times[id] = kernelTime(machine, cost, threads);
  }
}

double PlanTime::unchunked() const {
  double time = 0;
  for (double t : times)
    time += t;
  return time;
}

// One iteration of `size`; `isFirst`: nothing of what it reads was read by an iteration before it.
double PlanTime::turnTime(const ChunkLoop &loop, int64_t size, bool isFirst) const {
  std::map<int, const ChunkMember *> members;
  for (const ChunkMember &m : loop.members)
    members[m.node] = &m;
  auto isInside = [&](int key) {
    if (key < 0)
      return false;
    const std::vector<int> &nodes = problem.buffers[key].nodes;
    return std::all_of(nodes.begin(), nodes.end(), [&](int node) { return members.count(node) > 0; });
  };
  // Of the tensor the part that an iteration touches, and that it could touch.
  auto partOf = [&](const Touch &touch, const ChunkMember &m) {
    LoopSlice slice = sliceOf(*touch.use, computed(m));
    if (slice.position < 0)
      return 1.0;
    int64_t extent = problem.values[touch.use->value].extents[slice.position];
    return std::clamp(static_cast<double>(lengthOf(slice, size, extent)) /
                          static_cast<double>(std::max<int64_t>(extent, 1)),
                      0.0, 1.0);
  };
  // Elements of a slice that lie side by side in its tensor.
  auto runOf = [&](const Touch &touch, const ChunkMember &m) {
    const std::vector<int64_t> &extents = problem.values[touch.use->value].extents;
    LoopSlice slice = sliceOf(*touch.use, computed(m));
    if (slice.position < 0)
      return kLineElements;
    double run = static_cast<double>(std::max<int64_t>(lengthOf(slice, size, extents[slice.position]), 1));
    for (size_t dim = slice.position + 1; dim < extents.size(); ++dim)
      run *= static_cast<double>(extents[dim]);
    // All of it is as dense as the tensor.
    return partOf(touch, m) == 1 ? kLineElements : run;
  };
  auto shareOf = [&](const Touch &touch, const ChunkMember &m) {
    double part = partOf(touch, m);
    return touch.isPanel && part == 1 && m.dim >= 0 ? problem.nodes[m.node].seen : part;
  };
  double turn = 0;
  for (const ChunkMember &m : loop.members)
    for (const Touch &touch : touches[m.node])
      turn += touch.bytes * shareOf(touch, m);
  double time = 0, moved = 0;
  std::unordered_map<int, LastTouch> last; // in this iteration, by key
  for (const ChunkMember &m : loop.members) {
    const ChunkNode &node = problem.nodes[m.node];
    if (isFree(node))
      continue;
    const ChunkMember each = computed(m);
    KernelCost cost =
        m.dim < 0 ? costOf(node, -1, 0)
                  : costOf(node, m.dim, std::min(size * m.scale + each.before + each.after, node.extents[m.dim]));
    double own = 0;
    for (const Touch &touch : touches[m.node])
      own += touch.bytes * shareOf(touch, m);
    double scattered = 1;
    for (const Touch &touch : touches[m.node]) {
      Transfer transfer{touch.bytes * shareOf(touch, m), touch.distance, touch.isWrite, touch.isPanel};
      auto known = last.find(touch.key);
      if (known != last.end())
        transfer.distance = known->second.distance(moved, own);
      else if (!isFirst && (partOf(touch, m) == 1 || isInside(touch.key)))
        transfer.distance = turn; // weights, and the memory of slices: the iteration before had the same
      // Slices that the loop makes are dense; of others a run may be shorter than a line, of which all is moved, and
      // again by the next iteration.
      double run = isInside(touch.key) ? kLineElements : runOf(touch, m);
      if (run < kLineElements) {
        scattered = std::max(scattered, kLineElements / run);
        transfer.bytes *= kLineElements / run;
        transfer.isPanel = true;
      }
      addTransfer(machine, transfer, threads, cost);
    }
    // Vectors that are not full, either.
    for (double *kind : {&cost.work.transcendental, &cost.work.elementwise, &cost.work.reduction, &cost.work.strided})
      *kind *= scattered;
    moved += own;
    for (const Touch &touch : touches[m.node])
      last[touch.key] = {moved, own};
    if (m.carries) { // read and written twice
      double kept = static_cast<double>(carriedBytes(problem, m));
      addTransfer(machine, {2 * kept, turn, false, false}, threads, cost);
      addTransfer(machine, {2 * kept, turn, true, false}, threads, cost);
    }
    time += kernelTime(machine, cost, threads);
  }
  return time;
}

double PlanTime::timeOf(const ChunkLoop &loop) const {
  double own = 0;
  for (const ChunkMember &m : loop.members)
    own += times[m.node];
  int64_t size = std::min(loop.size, loop.extent), whole = loop.extent / size, rest = loop.extent % size;
  double time = turnTime(loop, size, true) + static_cast<double>(whole - 1) * turnTime(loop, size, false);
  if (rest)
    time += turnTime(loop, rest, false);
  double turns = static_cast<double>(whole + (rest != 0));
  return time - own + turns * (loop.bodyTime + machine.iteration_s);
}
