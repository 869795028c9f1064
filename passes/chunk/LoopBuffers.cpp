// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/LoopBuffers.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

using namespace snug;

namespace {
enum Place { kBefore, kInside, kBehind };

// Where nodes are once the loop's members stand side by side.
class Places {
public:
  explicit Places(const ChunkLoop &loop) : loop(loop), places(loop.last - loop.first + 1, kBefore) {
    for (const ChunkMember &m : loop.members)
      places[m.node - loop.first] = kInside;
    for (int node : loop.after)
      places[node - loop.first] = kBehind;
  }
  int of(int node) const {
    return node < loop.first ? kBefore : node > loop.last ? kBehind : places[node - loop.first];
  }

private:
  const ChunkLoop &loop;
  std::vector<Place> places;
};
} // namespace

bool snug::keepsBuffers(const ChunkProblem &problem, const ChunkLoop &loop) {
  Places places(loop);
  struct Ranks {
    int any = -1, writer = -1; // the latest place so far
  };
  std::unordered_map<int, Ranks> ranks; // by buffer
  for (int node = loop.first; node <= loop.last; ++node) {
    const ChunkNode &n = problem.nodes[node];
    int rank = places.of(node);
    for (int buffer : n.buffers) {
      Ranks &r = ranks[buffer];
      bool writes = writesTo(problem, node, buffer);
      if ((writes ? r.any : r.writer) > rank)
        return false;
      r.any = std::max(r.any, rank);
      if (writes)
        r.writer = std::max(r.writer, rank);
    }
  }
  return true;
}

// Whether the value has but some of its buffer's elements.
static bool isPart(const ChunkProblem &problem, int id) {
  auto elements = [](const ChunkValue &value) {
    return std::accumulate(value.extents.begin(), value.extents.end(), int64_t(1), std::multiplies<>());
  };
  int root = problem.buffers[problem.values[id].buffer].root;
  return root >= 0 && elements(problem.values[id]) < elements(problem.values[root]);
}

bool snug::collectUpdates(const ChunkProblem &problem, ChunkLoop &loop, bool mayRenew) {
  Places places(loop);
  struct Reader {
    int node, value;
    LoopSlice slice;
    bool elementwise, isInit;
  };
  std::map<int, std::vector<Reader>> readers; // of values from outside, by buffer
  std::set<int> written;
  auto inLoop = [&](int node) { return places.of(node) == kInside; };
  for (const ChunkMember &m : loop.members) {
    const ChunkNode &n = problem.nodes[m.node];
    for (const ChunkUse &use : n.uses) {
      const ChunkValue &value = problem.values[use.value];
      if (!inLoop(value.producer) && value.buffer >= 0 &&
          !(value.producer >= 0 && problem.nodes[value.producer].isEmpty))
        readers[value.buffer].push_back({m.node, use.value, sliceOf(use, computed(m)), use.elementwise, use.isInit});
    }
    if (!n.isView)
      for (const ChunkUse &result : n.results) {
        int buffer = problem.values[result.value].buffer;
        if (buffer >= 0)
          written.insert(buffer);
      }
  }
  auto uniform = [](const std::vector<Reader> &list) {
    return std::all_of(list.begin(), list.end(), [&](const Reader &r) {
      return r.value == list[0].value && r.slice.position >= 0 && !r.slice.hasHalo() && r.slice == list[0].slice;
    });
  };
  // Whether an iteration may write this slice over the value: nobody reads of it what an iteration before has written,
  // nor, in this one, what is written already. Who reads ahead, since the iteration before left it what lies behind, has
  // read what is written.
  auto mayWrite = [&](const std::vector<Reader> &list, const LoopSlice &slice, int writer) {
    return slice.position >= 0 && !slice.hasHalo() && std::all_of(list.begin(), list.end(), [&](const Reader &r) {
      bool isSame = r.slice == slice, isAhead = r.slice.position == slice.position && r.slice.scale == slice.scale &&
                                                r.slice.before <= 0;
      return r.value == list[0].value && (r.node < writer ? isSame || isAhead
                                                          : r.node == writer && isSame && (r.isInit || r.elementwise));
    });
  };
  for (auto &[buffer, list] : readers) {
    if (!written.count(buffer))
      continue;
    // Whoever writes over what an iteration beside it still reads, or writes some of it twice, needs a buffer of its own.
    std::set<int> writers;
    for (const Reader &r : list)
      if (r.isInit)
        writers.insert(r.node);
    if (writers.empty() && !uniform(list))
      return false;
    bool isSum = list.size() == 1 && writers.size() == 1 && list[0].slice.position < 0; // all iterations add to it
    for (ChunkMember &m : loop.members) {
      if (isSum && m.node == list[0].node && isAccumulated(problem.nodes[m.node], m))
        continue;
      const std::vector<ChunkUse> &uses = problem.nodes[m.node].uses;
      auto init = std::find_if(uses.begin(), uses.end(), [&, id = buffer](const ChunkUse &use) {
        return use.isInit && problem.values[use.value].buffer == id;
      });
      if (!writers.count(m.node) || (uniform(list) && !m.hasHalo()) ||
          (writers.size() == 1 && init != uses.end() && !m.hasHalo() && mayWrite(list, sliceOf(*init, m), m.node)))
        continue;
      bool isBlind = std::all_of(uses.begin(), uses.end(), [](const ChunkUse &use) { return !use.isInit || use.isBlind; });
      if (!mayRenew || writers.size() > 1 || !isBlind || problem.buffers[buffer].bytes == 0)
        return false;
      m.isFresh = true;
    }
  }

  // Who writes over another slice of what is made in the loop than is there, into a buffer that outlives the iteration,
  // does so in one of its own: what others of the slice hold would end up in the result.
  std::map<int, LoopSlice> made; // by value
  for (ChunkMember &m : loop.members) {
    const ChunkNode &n = problem.nodes[m.node];
    for (const ChunkUse &use : n.uses) {
      int buffer = problem.values[use.value].buffer;
      auto found = made.find(use.value);
      if (!use.isInit || buffer < 0 || found == made.end() || found->second == sliceOf(use, computed(m)))
        continue;
      const std::vector<int> &touching = problem.buffers[buffer].nodes;
      if (std::all_of(touching.begin(), touching.end(), inLoop) && problem.buffers[buffer].bytes > 0)
        continue;
      if (!mayRenew || !use.isBlind || problem.buffers[buffer].bytes == 0)
        return false;
      m.isFresh = true;
    }
    for (const ChunkUse &result : n.results)
      made[result.value] = sliceOf(result, m);
  }

  std::set<int> taken;
  for (const ChunkMember &m : loop.members) {
    const ChunkNode &n = problem.nodes[m.node];
    for (const ChunkUse &init : n.uses) {
      const ChunkValue &empty = problem.values[init.value];
      if (!init.isInit || empty.producer < 0 || !problem.nodes[empty.producer].isEmpty || n.results.empty())
        continue;
      int target = empty.buffer;
      for (const ChunkUse &result : n.results)
        if (problem.values[result.value].shape == empty.shape)
          target = problem.values[result.value].buffer;
      if (target < 0)
        continue;
      const std::vector<int> &touching = problem.buffers[target].nodes;
      if (std::all_of(touching.begin(), touching.end(), inLoop))
        continue; // interior
      LoopSlice slice = sliceOf(init, computed(m));
      // What the block hands on is all of a buffer; a part of one would be copied there.
      bool isHandedOn = static_cast<size_t>(touching.back()) + 1 == problem.nodes.size() &&
                        problem.nodes[touching.back()].results.empty();
      for (auto &[buffer, list] : readers) {
        const ChunkValue &source = problem.values[list[0].value];
        if (taken.count(buffer) || written.count(buffer) || buffer == target || source.shape != empty.shape ||
            !mayWrite(list, slice, m.node) || (isHandedOn && isPart(problem, list[0].value)))
          continue;
        bool dies = std::all_of(problem.buffers[buffer].nodes.begin(), problem.buffers[buffer].nodes.end(),
                                [&](int node) { return places.of(node) != kBehind; });
        bool isWritten = std::any_of(list.begin(), list.end(), [](const Reader &r) { return r.isInit; });
        if (!dies || isWritten)
          continue;
        taken.insert(buffer);
        loop.inPlace.push_back({init.value, list[0].value});
        break;
      }
    }
  }
  return true;
}
