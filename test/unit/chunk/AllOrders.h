// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Small programs, and the least that any order of their elements needs, found by trying all: the model of
// docs/budget.md, written down once more without any of what passes/chunk knows of it.
#ifndef SNUG_TEST_UNIT_CHUNK_ALLORDERS_H
#define SNUG_TEST_UNIT_CHUNK_ALLORDERS_H

#include "passes/chunk/ChunkProblem.h"
#include "gtest/gtest.h"

#include <map>
#include <queue>
#include <set>
#include <sstream>
#include <string>

namespace snug {
inline constexpr int64_t kElement = 4; // bytes

struct Program {
  ChunkProblem problem;
  int value(std::vector<int64_t> extents, int producer, bool inArena = true) {
    ChunkValue v;
    v.extents = std::move(extents);
    v.fixed.assign(v.extents.size(), true);
    v.elementBytes = kElement;
    v.producer = producer;
    v.shape = 0;
    for (int64_t extent : v.extents)
      v.shape = 5 * v.shape + static_cast<int>(extent);
    int id = static_cast<int>(problem.values.size());
    if (producer >= 0) {
      ChunkBuffer buffer;
      buffer.bytes = kElement;
      for (int64_t extent : v.extents)
        buffer.bytes *= extent;
      buffer.bytes = inArena ? buffer.bytes : 0;
      buffer.root = id;
      v.buffer = static_cast<int>(problem.buffers.size());
      problem.buffers.push_back(buffer);
    }
    problem.values.push_back(v);
    return id;
  }

  // A kernel over `extents`: 'p' is a parallel dim, 'a' one that is summed over, maybe in parts, 'w' one that is whole.
  // Accesses are (position, scale, offset), one a dim.
  using Access = std::vector<DimAccess>;
  int kernel(std::vector<int64_t> extents, const std::string &kinds, std::vector<std::pair<int, Access>> reads,
             std::vector<int64_t> shape, Access writes, bool isCheap = false, bool inArena = true) {
    int node = static_cast<int>(problem.nodes.size());
    ChunkNode n;
    n.extents = std::move(extents);
    n.tile.assign(n.extents.size(), 1);
    for (char kind : kinds) {
      n.parallel.push_back(kind == 'p');
      n.accumulates.push_back(kind == 'a');
    }
    n.isCheap = isCheap;
    for (auto &[read, access] : reads) {
      ChunkUse use;
      use.value = read;
      use.access = access;
      n.uses.push_back(use);
      problem.values[read].users.push_back(node);
    }
    problem.nodes.push_back(n);
    ChunkUse made;
    made.value = value(std::move(shape), node, inArena);
    made.access = std::move(writes);
    problem.nodes[node].results = {made};
    return made.value;
  }

  int view(int of, std::vector<int64_t> extents, const std::string &kinds, Access reads, std::vector<int64_t> shape,
           Access writes) {
    int result = kernel(std::move(extents), kinds, {{of, std::move(reads)}}, std::move(shape), std::move(writes));
    problem.nodes.back().isView = true;
    problem.values[result].buffer = problem.values[of].buffer;
    return result;
  }

  std::string text() const {
    std::ostringstream os;
    auto print = [&](const ChunkUse &use) {
      const ChunkValue &v = problem.values[use.value];
      os << " %" << use.value << "[";
      for (int64_t extent : v.extents)
        os << extent << " ";
      os << (v.buffer < 0 ? "in" : problem.buffers[v.buffer].bytes ? "" : "out") << (use.isInit ? "init" : "") << "](";
      for (const DimAccess &access : use.access)
        os << access.position << "*" << access.scale << "+" << access.offset << " ";
      os << ")";
    };
    for (const ChunkNode &n : problem.nodes) {
      os << (n.isView ? "view " : n.isCheap ? "cheap " : "");
      for (size_t dim = 0; dim < n.extents.size(); ++dim)
        os << n.extents[dim] << (n.parallel[dim] ? "p " : n.accumulates[dim] ? "a " : "w ");
      for (const ChunkUse &result : n.results)
        print(result);
      os << " =";
      for (const ChunkUse &use : n.uses)
        print(use);
      os << "\n";
    }
    return os.str();
  }

  // Buffers of the caller's are outputs, or were given up.
  void finish(bool hasOutputs = true) {
    ChunkNode end;
    end.mayMove = false;
    for (size_t value = 0; value < problem.values.size(); ++value)
      if (problem.values[value].users.empty()) {
        ChunkUse use;
        use.value = static_cast<int>(value);
        end.uses.push_back(use);
        problem.values[value].users.push_back(static_cast<int>(problem.nodes.size()));
      }
    for (size_t buffer = 0; hasOutputs && buffer < problem.buffers.size(); ++buffer)
      if (problem.buffers[buffer].bytes == 0)
        end.buffers.push_back(static_cast<int>(buffer));
    problem.nodes.push_back(end);
  }
};

inline DimAccess at(int position, int64_t scale = 1, int64_t offset = 0) {
  DimAccess access;
  access.position = position;
  access.scale = scale;
  access.offset = offset;
  return access;
}
inline const DimAccess kNot;

inline int64_t sizeOf(const ChunkValue &value) {
  int64_t bytes = value.elementBytes;
  for (int64_t extent : value.extents)
    bytes *= extent;
  return bytes;
}

// All orders of elements, in the model of docs/budget.md.
class AllOrders {
public:
  explicit AllOrders(const Program &program) : problem(program.problem) {
    findKinds();
    for (size_t node = 0; node < problem.nodes.size(); ++node)
      if (!problem.nodes[node].results.empty())
        addNode(static_cast<int>(node));
    findCones();
  }

  int numElements() const { return static_cast<int>(elements.size()); }

  int64_t least() const {
    using Entry = std::pair<int64_t, uint64_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    std::set<uint64_t> seen;
    queue.push({0, 0});
    while (!queue.empty()) {
      auto [most, state] = queue.top();
      queue.pop();
      if (!seen.insert(state).second)
        continue;
      if (isOver(state))
        return most;
      for (uint64_t next : movesFrom(state))
        if (!seen.count(next))
          queue.push({std::max(most, bytesOf(next)), next});
    }
    ADD_FAILURE() << "no order ends";
    return 0;
  }

private:
  struct Element {
    int value;
    bool isCheap;
    std::vector<std::set<int>> parts; // what each part of it is computed from
    int firstBit;                     // of the state: is done, is stored, and of each part if there are several
    bool mayOverlap = false;          // by slices of a loop, so that it may be computed twice
  };

  // Elements of a tensor in order; each is one of `elements`, or -1 where it is there from the start.
  std::vector<int> &elementsOf(int value) {
    auto [entry, isNew] = of.try_emplace(value);
    if (isNew) {
      int64_t count = 1;
      for (int64_t extent : problem.values[value].extents)
        count *= extent;
      entry->second.assign(count, -1);
    }
    return entry->second;
  }

  int64_t placeOf(const ChunkUse &use, const std::vector<int64_t> &point) const {
    const std::vector<int64_t> &extents = problem.values[use.value].extents;
    int64_t place = 0;
    for (size_t position = 0; position < extents.size(); ++position) {
      int64_t index = 0, offset = 0;
      for (size_t dim = 0; dim < use.access.size(); ++dim)
        if (use.access[dim].position == static_cast<int>(position)) {
          index += point[dim] * use.access[dim].scale;
          offset = use.access[dim].offset;
        }
      index += offset;
      if (index < 0 || index >= extents[position])
        return -1;
      place = place * extents[position] + index;
    }
    return place;
  }

  void addNode(int id) {
    const ChunkNode &n = problem.nodes[id];
    const ChunkUse &result = n.results[0];
    std::vector<int> &made = elementsOf(result.value);
    bool isPart = std::any_of(n.uses.begin(), n.uses.end(), [](const ChunkUse &use) { return use.isInit; });
    // By the parallel dims, what is read, and made, together: of whole dims all.
    std::map<std::vector<int64_t>, std::map<std::vector<int64_t>, std::set<int>>> reads;
    std::map<std::vector<int64_t>, std::set<int64_t>> writes;
    std::vector<int64_t> point(n.extents.size(), 0);
    while (true) {
      std::vector<int64_t> parallel, sum;
      for (size_t dim = 0; dim < point.size(); ++dim)
        if (n.parallel[dim] || n.isView)
          parallel.push_back(point[dim]);
        else if (n.accumulates[dim])
          sum.push_back(point[dim]);
      int64_t place = placeOf(result, point);
      writes[parallel].insert(place);
      auto &from = reads[parallel][sum];
      int alias = -1;
      for (const ChunkUse &use : n.uses) {
        std::vector<int> &operand = elementsOf(use.value);
        int64_t read = placeOf(use, point);
        if (read < 0 || operand[read] < 0)
          continue;
        from.insert(operand[read]);
        if (!use.isInit || alias < 0) // the part that is written is what counts
          alias = use.isInit ? operand[read] : alias = operand[read];
      }
      if (n.isView || isPart)
        made[place] = alias; // where it is, or might be put
      size_t dim = point.size();
      while (dim > 0 && ++point[dim - 1] == n.extents[dim - 1])
        point[--dim] = 0;
      if (dim == 0)
        break;
    }
    if (n.isView || isPart)
      return;
    for (auto &[parallel, parts] : reads)
      for (int64_t place : writes[parallel]) {
        Element element{result.value, n.isCheap, {}, numBits};
        for (auto &[sum, from] : parts)
          element.parts.push_back(from);
        numBits += 2 + (element.parts.size() > 1 ? static_cast<int>(element.parts.size()) : 0);
        made[place] = static_cast<int>(elements.size());
        elements.push_back(element);
      }
  }

  void findCones() {
    isRead.assign(elements.size(), false);
    for (const Element &element : elements)
      for (const auto &part : element.parts)
        for (int from : part)
          isRead[from] = true;
    for (Element &element : elements) {
      std::set<int> cone;
      for (const auto &part : element.parts)
        for (int from : part) {
          cone.insert(from);
          cone.insert(cones[from].begin(), cones[from].end());
        }
      cones.push_back(cone);
    }
    // Loops' slices overlap where some kernel reads windows. To be sure, of all tensors then.
    bool anyWindow = false;
    for (const ChunkNode &n : problem.nodes)
      for (const ChunkUse &use : n.uses)
        for (size_t a = 0; a < use.access.size(); ++a)
          for (size_t b = 0; b < a; ++b)
            anyWindow = anyWindow || (use.access[a].position >= 0 && use.access[a].position == use.access[b].position &&
                                      n.parallel[a] != n.parallel[b]);
    for (Element &element : elements)
      element.mayOverlap = anyWindow;
  }

  bool isDone(uint64_t state, int e) const { return state >> elements[e].firstBit & 1; }
  bool isStored(uint64_t state, int e) const { return state >> (elements[e].firstBit + 1) & 1; }
  uint64_t partsDone(uint64_t state, int e) const {
    size_t parts = elements[e].parts.size();
    return parts > 1 ? state >> (elements[e].firstBit + 2) & ((uint64_t(1) << parts) - 1) : 0;
  }

  bool isOver(uint64_t state) const {
    for (int e = 0; e < numElements(); ++e)
      if (!elements[e].isCheap && !isDone(state, e))
        return false;
    return true;
  }

  // Outputs hold what is in them; the caller's other buffers as much as they can of the shapes that may be in them.
  int64_t bytesOf(uint64_t state) const {
    int64_t bytes = 0;
    std::map<int, int64_t> mayBeThere;
    for (int e = 0; e < numElements(); ++e)
      if (isStored(state, e) || (!isDone(state, e) && partsDone(state, e)))
        if (!isOutput.count(problem.values[elements[e].value].buffer))
          mayBeThere[kinds.at(problem.values[elements[e].value].shape)] += kElement;
    for (auto [kind, there] : mayBeThere)
      bytes += std::max<int64_t>(0, there - (callers.count(kind) ? callers.at(kind) : 0));
    return bytes;
  }

  // Shapes that share a buffer are of one kind.
  void findKinds() {
    for (const ChunkValue &value : problem.values)
      kinds[value.shape] = value.shape;
    for (size_t i = 0; i < problem.values.size(); ++i)
      for (const ChunkValue &a : problem.values)
        for (const ChunkValue &b : problem.values)
          if (a.buffer >= 0 && a.buffer == b.buffer)
            kinds[a.shape] = kinds[b.shape] = std::min(kinds[a.shape], kinds[b.shape]);
    const std::vector<int> &last = problem.nodes.back().buffers;
    for (size_t id = 0; id < problem.buffers.size(); ++id)
      if (const ChunkBuffer &buffer = problem.buffers[id]; buffer.bytes > 0)
        continue;
      else if (std::find(last.begin(), last.end(), static_cast<int>(id)) != last.end())
        isOutput.insert(static_cast<int>(id));
      else
        callers[kinds[problem.values[buffer.root].shape]] += sizeOf(problem.values[buffer.root]);
  }

  // What has been computed from a whole tensor is behind all loops that made the tensor.
  bool isFinal(uint64_t state, int e) const {
    std::set<int> whole;
    for (int other = 0; other < numElements(); ++other)
      if (elements[other].value == elements[e].value)
        whole.insert(other);
    for (int other = 0; other < numElements(); ++other)
      if (isDone(state, other) && std::includes(cones[other].begin(), cones[other].end(), whole.begin(), whole.end()))
        return true;
    return false;
  }

  std::vector<uint64_t> movesFrom(uint64_t state) const {
    std::vector<uint64_t> moves;
    for (int e = 0; e < numElements(); ++e) {
      const Element &element = elements[e];
      // What nobody reads is the caller's.
      uint64_t done = uint64_t(1) << element.firstBit, stored = isRead[e] ? done << 1 : 0;
      if (isStored(state, e)) {
        moves.push_back(state & ~stored);
        continue;
      }
      if (isDone(state, e) && !element.isCheap && (!element.mayOverlap || isFinal(state, e)))
        continue;
      uint64_t parts = partsDone(state, e), all = (uint64_t(1) << element.parts.size()) - 1;
      for (size_t part = 0; part < element.parts.size(); ++part) {
        if (parts >> part & 1)
          continue;
        const std::set<int> &from = element.parts[part];
        if (!std::all_of(from.begin(), from.end(), [&](int f) { return isStored(state, f); }))
          continue;
        uint64_t nextParts = parts | uint64_t(1) << part, next;
        if (element.parts.size() == 1)
          next = state | done | stored;
        else if (nextParts == all)
          next = (state & ~(all << (element.firstBit + 2))) | done | stored;
        else
          next = (state & ~done) | nextParts << (element.firstBit + 2);
        moves.push_back(next);
        // In place of another.
        for (int other = 0; other < numElements(); ++other)
          if (other != e && isStored(state, other))
            moves.push_back(next & ~(uint64_t(1) << (elements[other].firstBit + 1)));
      }
    }
    return moves;
  }

  const ChunkProblem &problem;
  std::set<int> isOutput;         // buffers of the caller's that nothing else is in
  std::map<int, int> kinds;       // by shape
  std::map<int, int64_t> callers; // by kind
  std::map<int, std::vector<int>> of;
  std::vector<Element> elements;
  std::vector<std::set<int>> cones;
  std::vector<bool> isRead;
  int numBits = 0;
};
} // namespace snug

#endif
