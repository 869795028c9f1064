// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where positions of tensors are cut, and which of them go slab by slab with which others.
#include "passes/chunk/ElementGraph.h"

#include <algorithm>
#include <map>

using namespace snug;

// More cuts are left out: what would have to meet at them does not count.
static constexpr size_t kMostIntervals = 16, kMostBoxes = 64;

// Positions of other values that go slab by slab with this one: (read, its axis, whether the value is its operand).
template <class Visit> void ElementGraph::visitLinks(int value, int position, Visit visit) const {
  for (const auto *list : {&readsOf[value], &readsFor[value]})
    for (int id : *list) {
      const ElementRead &read = reads[id];
      for (size_t place = 0; place < read.axes.size(); ++place) {
        const ReadAxis &axis = read.axes[place];
        bool forward = list == &readsOf[value];
        if (axis.kind == ReadAxis::Linked && axis.window == axis.stride && read.dims[axis.dim].isOutermost &&
            (forward ? static_cast<int>(place) : read.dims[axis.dim].position) == position)
          visit(read, static_cast<int>(place), forward);
      }
    }
}

// Whether it is read in windows, or computed from some.
bool ElementGraph::hasWindows(int value, int position) const {
  return windows[value][position] || std::any_of(readsFor[value].begin(), readsFor[value].end(), [&](int id) {
           const std::vector<ReadAxis> &axes = reads[id].axes;
           return std::any_of(axes.begin(), axes.end(), [&](const ReadAxis &axis) {
             return axis.kind == ReadAxis::Linked && axis.window != axis.stride &&
                    reads[id].dims[axis.dim].position == position;
           });
         });
}

bool ElementGraph::isSymmetric(int value, int position) const {
  struct Segment {
    int value, position;
    Interval interval;
    bool operator==(const Segment &o) const {
      return value == o.value && position == o.position && interval.begin == o.interval.begin &&
             interval.end == o.interval.end;
    }
  };
  std::vector<Segment> all{{value, position, {0, cuts[value][position].back()}}};
  for (size_t i = 0; i < all.size(); ++i) {
    const Segment here = all[i];
    auto crosses = [&](int64_t begin, int64_t end) {
      return begin < here.interval.end && end > here.interval.begin &&
             (begin > here.interval.begin || end < here.interval.end);
    };
    bool plain = !hasWindows(here.value, here.position);
    for (int64_t at : cuts[here.value][here.position])
      plain = plain && (at <= here.interval.begin || at >= here.interval.end);
    for (int id : readsOf[here.value]) {
      const ReadAxis &axis = reads[id].axes[here.position];
      plain = plain && !(axis.kind == ReadAxis::Whole && crosses(axis.lo, axis.hi)) &&
              (reads[id].lo.empty() || !crosses(reads[id].lo[here.position], reads[id].hi[here.position]));
    }
    visitLinks(here.value, here.position, [&](const ElementRead &read, int place, bool forward) {
      const ReadAxis &axis = read.axes[place];
      const ResultDim &dim = read.dims[axis.dim];
      int64_t from = forward ? axis.lo : dim.offset, step = forward ? axis.stride : dim.scale;
      int64_t to = forward ? dim.offset : axis.lo, stepThere = forward ? dim.scale : axis.stride;
      int64_t begin = here.interval.begin - from, end = here.interval.end - from;
      if (end <= 0 || begin >= step * dim.extent)
        return;
      Segment there{forward ? read.result : read.operand,
                    forward ? dim.position : place,
                    {to + begin / step * stepThere, to + end / step * stepThere}};
      int64_t extent = cuts[there.value][there.position].back();
      if (there.interval.end <= 0 || there.interval.begin >= extent)
        return;
      plain = plain && begin >= 0 && end <= step * dim.extent && begin % step == 0 && end % step == 0 &&
              there.interval.begin >= 0 && there.interval.end <= extent;
      if (std::find(all.begin(), all.end(), there) == all.end())
        all.push_back(there);
    });
    if (!plain)
      return false;
  }
  return true;
}

bool ElementGraph::separate(int value, int position, int other, std::vector<std::pair<int, int>> &unknown) const {
  using Place = std::pair<int, int>; // value, position
  auto isPlain = [&](Place at) {
    auto [v, p] = at;
    return !hasWindows(v, p) && cuts[v][p].size() == 2 &&
           std::all_of(readsOf[v].begin(), readsOf[v].end(), [&, p = p, v = v](int id) {
             const ReadAxis &axis = reads[id].axes[p];
             return !axis.isClipped &&
                    (axis.kind != ReadAxis::Whole || (axis.lo == 0 && axis.hi == cuts[v][p].back())) &&
                    (reads[id].lo.empty() || (reads[id].lo[p] == 0 && reads[id].hi[p] == cuts[v][p].back()));
           });
  };
  std::map<Place, int> label{{{value, position}, 0}, {{value, other}, 1}};
  std::vector<Place> all{{value, position}, {value, other}};
  if (!isPlain(all[0]) || !isPlain(all[1]))
    return false;
  // From near to far, first what the value is computed from: where both meet, one of them ends.
  for (bool backward : {true, false})
    for (size_t i = 0; i < all.size(); ++i) {
      Place here = all[i];
      visitLinks(here.first, here.second, [&](const ElementRead &read, int place, bool forward) {
        if (backward && forward)
          return;
        const ReadAxis &axis = read.axes[place];
        const ResultDim &dim = read.dims[axis.dim];
        Place there{forward ? read.result : read.operand, forward ? dim.position : place};
        auto found = label.find(there);
        bool isAll = axis.lo == 0 && dim.offset == 0 && axis.stride * dim.extent == cuts[read.operand][place].back() &&
                     dim.scale * dim.extent == cuts[read.result][dim.position].back();
        if (!isAll || (found == label.end() ? !isPlain(there) : found->second != label[here])) {
          unknown.push_back({static_cast<int>(&read - reads.data()), place});
        } else if (found == label.end()) {
          label[there] = label[here];
          all.push_back(there);
        }
      });
    }
  return true;
}

void ElementGraph::addCuts(const std::vector<ElementCut> &more) {
  cuts.resize(problem.values.size());
  windows.resize(problem.values.size());
  for (size_t value = 0; value < problem.values.size(); ++value) {
    windows[value].assign(problem.values[value].extents.size(), false);
    for (int64_t extent : problem.values[value].extents)
      cuts[value].push_back({0, extent});
  }
  std::vector<std::pair<int, int>> worklist; // (value, position)
  auto cut = [&](int value, int position, int64_t at) {
    std::vector<int64_t> &all = cuts[value][position];
    auto place = std::lower_bound(all.begin(), all.end(), at);
    size_t boxes = 1;
    for (const auto &others : cuts[value])
      boxes *= others.size() - 1;
    if (at <= 0 || at >= all.back() || *place == at || all.size() > kMostIntervals ||
        boxes / (all.size() - 1) * all.size() > kMostBoxes)
      return;
    all.insert(place, at);
    worklist.push_back({value, position});
  };
  auto widen = [&](int value, int position) {
    if (windows[value][position])
      return;
    windows[value][position] = true;
    worklist.push_back({value, position});
  };
  for (const ElementRead &read : reads) {
    for (size_t position = 0; position < read.axes.size(); ++position) {
      const ReadAxis &axis = read.axes[position];
      int place = static_cast<int>(position);
      if (axis.kind == ReadAxis::Whole) {
        cut(read.operand, place, axis.lo);
        cut(read.operand, place, axis.hi);
      } else if (axis.kind == ReadAxis::Linked && axis.window != axis.stride) {
        widen(read.operand, place);
      } else if (axis.kind == ReadAxis::Linked && problem.nodes[read.node].isView) {
        cut(read.operand, place, axis.lo);
        cut(read.operand, place, axis.lo + axis.stride * read.dims[axis.dim].extent);
      }
    }
    for (size_t position = 0; position < read.lo.size(); ++position) {
      cut(read.result, static_cast<int>(position), read.lo[position]);
      cut(read.result, static_cast<int>(position), read.hi[position]);
    }
  }
  for (const ElementCut &at : more)
    cut(at.value, at.position, at.at);
  // From either side of a read to the other.
  while (!worklist.empty()) {
    auto [value, position] = worklist.back();
    worklist.pop_back();
    visitLinks(value, position,
               [&, value = value, position = position](const ElementRead &read, int place, bool forward) {
                 const ReadAxis &axis = read.axes[place];
                 const ResultDim &dim = read.dims[axis.dim];
                 int other = forward ? read.result : read.operand, there = forward ? dim.position : place;
                 if (windows[value][position])
                   widen(other, there);
                 for (int64_t at : std::vector<int64_t>(cuts[value][position])) {
                   int64_t offset = at - (forward ? axis.lo : dim.offset), step = forward ? axis.stride : dim.scale;
                   if (offset % step == 0)
                     cut(other, there,
                         forward ? dim.offset + offset / step * dim.scale : axis.lo + offset / step * axis.stride);
                 }
               });
  }
}

void ElementGraph::addBoxes() {
  for (size_t value = 0; value < problem.values.size(); ++value) {
    bool has = firstBox[value + 1] > 0;
    firstBox[value + 1] = firstBox[value];
    if (!has)
      continue;
    int count = 1;
    for (const auto &position : cuts[value])
      count *= static_cast<int>(position.size()) - 1;
    firstBox[value + 1] += count;
    values.resize(firstBox[value + 1], static_cast<int>(value));
    for (int box = firstBox[value]; box < firstBox[value + 1]; ++box) {
      bytes.push_back(problem.values[value].elementBytes);
      for (size_t position = 0; position < cuts[value].size(); ++position) {
        Interval interval = intervalOf(box, static_cast<int>(position));
        bytes.back() *= interval.end - interval.begin;
      }
    }
  }
}
