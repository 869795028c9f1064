// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/PlanCost.h"

#include <algorithm>
#include <map>

using namespace snug;

void PlanCost::measure() {
  int64_t numNodes = problem.nodes.size();
  std::vector<int64_t> change(numNodes + 1), crossing(numNodes + 1);
  for (const ChunkBuffer &buffer : problem.buffers) {
    if (buffer.nodes.empty())
      continue;
    change[buffer.nodes.front()] += buffer.bytes;
    change[buffer.nodes.back() + 1] -= buffer.bytes;
    crossing[buffer.nodes.front() + 1 <= numNodes ? buffer.nodes.front() + 1 : numNodes] += buffer.bytes;
    crossing[buffer.nodes.back() + 1] -= buffer.bytes;
  }
  profile.resize(numNodes);
  crossingBytes.resize(numNodes + 1);
  int64_t live = 0, through = 0;
  for (int64_t node = 0; node < numNodes; ++node) {
    live += change[node];
    through += crossing[node];
    profile[node] = live + problem.nodes[node].workspace;
    crossingBytes[node] = through;
  }
  time.measure(profile);
}

int64_t snug::sliceBytes(const ChunkProblem &problem, int id, const ChunkMember &maker, int64_t size) {
  const ChunkBuffer &buffer = problem.buffers[id];
  if (buffer.bytes == 0 || buffer.root < 0) // no root: nothing is made in it, not even here
    return buffer.bytes;
  const ChunkValue &root = problem.values[buffer.root];
  for (const ChunkUse &result : problem.nodes[maker.node].results) {
    if (problem.values[result.value].buffer != id || problem.values[result.value].extents != root.extents)
      continue;
    LoopSlice slice = sliceOf(result, maker);
    if (slice.position < 0)
      break;
    int64_t bytes = root.elementBytes * lengthOf(slice, size, root.extents[slice.position]);
    for (size_t dim = 0; dim < root.extents.size(); ++dim)
      if (static_cast<int>(dim) != slice.position)
        bytes *= root.extents[dim];
    return (bytes + problem.alignment - 1) / problem.alignment * problem.alignment;
  }
  return buffer.bytes;
}

Peak PlanCost::peakOf(const ChunkLoop &loop) const {
  // Steps: the nodes before, the members, the nodes after.
  const int length = loop.last - loop.first + 1;
  std::vector<const ChunkMember *> memberAt(length, nullptr);
  for (const ChunkMember &m : loop.members)
    memberAt[m.node - loop.first] = &m;
  std::vector<bool> isAfter(length, false);
  for (int node : loop.after)
    isAfter[node - loop.first] = true;
  std::vector<int> stepAt(length), nodeAt;
  auto place = [&](int node) {
    stepAt[node - loop.first] = static_cast<int>(nodeAt.size());
    nodeAt.push_back(node);
  };
  for (int node = loop.first; node <= loop.last; ++node)
    if (!memberAt[node - loop.first] && !isAfter[node - loop.first])
      place(node);
  const int numBefore = static_cast<int>(nodeAt.size()), numLoop = static_cast<int>(loop.members.size());
  for (const ChunkMember &m : loop.members)
    place(m.node);
  for (int node = loop.first; node <= loop.last; ++node)
    if (isAfter[node - loop.first])
      place(node);
  const int numSteps = static_cast<int>(nodeAt.size());
  auto memberOf = [&](int node) {
    return node < loop.first || node > loop.last ? nullptr : memberAt[node - loop.first];
  };

  std::vector<int> touched;
  for (int node = loop.first; node <= loop.last; ++node)
    touched.insert(touched.end(), problem.nodes[node].buffers.begin(), problem.nodes[node].buffers.end());
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  std::map<int, int> takenBy; // buffer made in the loop -> dying buffer
  for (auto [made, dying] : loop.inPlace) {
    int target = problem.values[made].buffer;
    takenBy[target] = problem.values[dying].buffer;
  }
  std::vector<int64_t> change(numSteps + 1);
  int64_t base = crossingBytes[loop.first];
  for (int id : touched) {
    const ChunkBuffer &buffer = problem.buffers[id];
    bool entersBefore = buffer.nodes.front()<loop.first, leaves = buffer.nodes.back()> loop.last;
    if (entersBefore)
      base -= buffer.bytes; // counted below
    int lower = entersBefore ? 0 : numSteps, upper = leaves ? numSteps : 0;
    bool inLoop = false, outside = entersBefore || leaves;
    const ChunkMember *maker = nullptr;
    for (int node : buffer.nodes) {
      if (node < loop.first || node > loop.last)
        continue;
      int step = stepAt[node - loop.first];
      bool isMember = memberOf(node);
      inLoop = inLoop || isMember;
      outside = outside || !isMember;
      if (isMember && !maker)
        maker = memberOf(node);
      lower = std::min(lower, step);
      upper = std::max(upper, step + 1);
    }
    int64_t bytes = buffer.bytes;
    if (inLoop && outside) {
      // Whole, through all iterations.
      lower = std::min(lower, numBefore);
      upper = std::max(upper, numBefore + numLoop);
      if (takenBy.count(id))
        lower = numBefore + numLoop; // until then it is the dying one's
    } else if (inLoop) {
      if (loop.bodyPeak >= 0)
        continue; // the body's own
      bytes = sliceBytes(problem, id, *maker, loop.size);
    }
    if (lower >= upper)
      continue;
    change[lower] += bytes;
    change[upper] -= bytes;
  }
  // A member that does not write over the old buffer has a new one, which then goes on in its place. The old one is
  // there beside it: whole if it is from before the loop, else as a slice.
  auto firstOf = [&](const ChunkBuffer &buffer) {
    return *memberOf(*std::find_if(buffer.nodes.begin(), buffer.nodes.end(), memberOf));
  };
  for (const ChunkMember &m : loop.members)
    for (const ChunkUse &use : problem.nodes[m.node].uses) {
      if (!m.isFresh || !use.isInit)
        continue;
      const ChunkValue &over = problem.values[use.value];
      if (memberOf(over.producer) && loop.bodyPeak >= 0)
        continue; // the body's own
      const ChunkBuffer &buffer = problem.buffers[over.buffer];
      int64_t bytes = buffer.bytes;
      if (memberOf(over.producer))
        bytes = sliceBytes(problem, over.buffer, firstOf(buffer), loop.size);
      change[numBefore] += bytes;
      change[numBefore + numLoop] -= bytes;
    }
  // What is carried from one iteration to the next.
  for (const ChunkMember &m : loop.members)
    if (m.carries) {
      int64_t bytes = carriedBytes(problem, m);
      change[numBefore] += bytes;
      change[numBefore + numLoop] -= bytes;
    }
  Peak peak;
  int64_t live = base;
  for (int step = 0; step < numSteps; ++step) {
    live += change[step];
    bool inBody = step >= numBefore && step < numBefore + numLoop && loop.bodyPeak >= 0;
    int64_t bytes = live + (inBody ? loop.bodyPeak : problem.nodes[nodeAt[step]].workspace);
    if (bytes > peak.bytes)
      peak = {bytes, nodeAt[step]};
  }
  return peak;
}
