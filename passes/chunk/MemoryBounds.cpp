// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/MemoryBounds.h"
#include "passes/chunk/GrowRegion.h"

#include <algorithm>

using namespace snug;

namespace {
// Which nodes can be reached along data flow from each node, itself left out.
class Reach {
public:
  explicit Reach(const ChunkProblem &problem) : words((problem.nodes.size() + 63) / 64) {
    bits.assign(problem.nodes.size(), std::vector<uint64_t>(words));
    for (size_t node = problem.nodes.size(); node-- > 0;) // users stand behind
      for (const ChunkUse &result : problem.nodes[node].results)
        for (int user : problem.values[result.value].users)
          if (user > static_cast<int>(node)) {
            bits[node][user / 64] |= uint64_t(1) << (user % 64);
            for (size_t word = 0; word < words; ++word)
              bits[node][word] |= bits[user][word];
          }
  }
  bool after(int node, int other) const { return bits[node][other / 64] >> (other % 64) & 1; }

private:
  size_t words;
  std::vector<std::vector<uint64_t>> bits;
};

// The nodes that read a value's data, through views of it.
void addReaders(const ChunkProblem &problem, int value, std::vector<int> &readers) {
  for (int user : problem.values[value].users) {
    if (!problem.nodes[user].isView) {
      readers.push_back(user);
      continue;
    }
    for (const ChunkUse &result : problem.nodes[user].results)
      addReaders(problem, result.value, readers);
  }
}

// The least part of each buffer that a chunk plan may have to hold at one time. Where values share a buffer in place,
// the one that can be cut finest counts.
std::vector<int64_t> leastSlices(const ChunkProblem &problem) {
  std::vector<int64_t> least(problem.buffers.size());
  for (size_t buffer = 0; buffer < least.size(); ++buffer)
    least[buffer] = problem.buffers[buffer].bytes;
  for (size_t value = 0; value < problem.values.size(); ++value) {
    const ChunkValue &v = problem.values[value];
    if (v.buffer < 0 || v.producer < 0 || problem.nodes[v.producer].isView || problem.nodes[v.producer].isEmpty)
      continue;
    std::vector<int> readers;
    addReaders(problem, value, readers);
    int last = v.producer;
    for (int reader : readers)
      last = std::max(last, reader);
    const ChunkNode &producer = problem.nodes[v.producer];
    for (size_t dim = 0; dim < producer.parallel.size(); ++dim) {
      if (!producer.parallel[dim])
        continue;
      auto loop = growRegion(problem, v.producer, static_cast<int>(dim), v.producer, last);
      if (!loop || loop->extent < 1)
        continue;
      auto isMember = [&](int node) {
        return std::any_of(loop->members.begin(), loop->members.end(), [&](auto &m) { return m.node == node; });
      };
      if (!std::all_of(readers.begin(), readers.end(), isMember))
        continue;
      double share = static_cast<double>(std::min(loop->tile, loop->extent)) / static_cast<double>(loop->extent);
      auto slice = static_cast<int64_t>(share * static_cast<double>(problem.buffers[v.buffer].bytes));
      least[v.buffer] = std::min(least[v.buffer], slice);
    }
  }
  return least;
}

// Bytes there while `node` runs, whatever the order.
int64_t bytesAt(const ChunkProblem &problem, const Reach &reach, int node, const std::vector<int64_t> &bytes) {
  int64_t there = 0, made = 0, overwritten = 0;
  for (size_t index = 0; index < problem.buffers.size(); ++index) {
    bool touched = false, before = false, behind = false;
    for (int other : problem.buffers[index].nodes) {
      if (problem.nodes[other].isEmpty)
        continue;
      touched |= other == node;
      before |= reach.after(other, node);
      behind |= reach.after(node, other);
    }
    if (touched || (before && behind))
      there += bytes[index];
    if (touched && !before)
      made += bytes[index];
    else if (touched && !behind)
      overwritten = std::max(overwritten, bytes[index]);
  }
  return there - std::min(made, overwritten);
}
} // namespace

MemoryBounds snug::memoryBounds(const ChunkProblem &problem) {
  Reach reach(problem);
  std::vector<int64_t> whole, slices = leastSlices(problem);
  for (const ChunkBuffer &buffer : problem.buffers)
    whole.push_back(buffer.bytes);
  MemoryBounds bounds;
  for (size_t node = 0; node < problem.nodes.size(); ++node) {
    if (problem.nodes[node].isEmpty)
      continue;
    bounds.anyOrder = std::max(bounds.anyOrder, bytesAt(problem, reach, static_cast<int>(node), whole));
    bounds.anyChunks = std::max(bounds.anyChunks, bytesAt(problem, reach, static_cast<int>(node), slices));
  }
  return bounds;
}
