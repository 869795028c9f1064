// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ElementGraph.h"

#include <map>

using namespace snug;

// More cuts are left out: what would have to meet at them does not count.
static constexpr size_t kMostIntervals = 16, kMostBoxes = 64;

static int64_t floorDiv(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static int64_t ceilDiv(int64_t a, int64_t b) { return -floorDiv(-a, b); }

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

ElementGraph::Interval ElementGraph::intervalOf(int box, int position) const {
  const auto &positions = cuts[values[box]];
  size_t index = box - firstBox[values[box]];
  for (size_t p = positions.size(); --p > static_cast<size_t>(position);)
    index /= positions[p].size() - 1;
  index %= positions[position].size() - 1;
  return {positions[position][index], positions[position][index + 1]};
}

// The places of the dim in this interval of the result: those that are there with all that is in them, and whether they
// are all that is there.
ElementGraph::Interval ElementGraph::dimsOf(const ResultDim &dim, Interval interval, bool &exact) const {
  int64_t begin = interval.begin - dim.offset, end = interval.end - dim.offset;
  if (dim.isOutermost) {
    exact = begin % dim.scale == 0 && end % dim.scale == 0;
    return {std::max<int64_t>(0, ceilDiv(begin, dim.scale)), std::min(dim.extent, floorDiv(end, dim.scale))};
  }
  int64_t period = dim.scale * dim.extent;
  exact = begin % period == 0 && end % period == 0;
  return {0, ceilDiv(begin, period) < floorDiv(end, period) ? dim.extent : 0};
}

bool ElementGraph::coversAll(int value, const Coverage &coverage) const {
  for (size_t position = 0; position < coverage.size(); ++position)
    if (coverage[position] + 1 != uint32_t(1) << (cuts[value][position].size() - 1))
      return false;
  return true;
}

bool ElementGraph::coversBox(const Coverage &coverage, int box) const {
  const auto &positions = cuts[values[box]];
  size_t index = box - firstBox[values[box]];
  for (size_t p = positions.size(); p-- > 0; index /= positions[p].size() - 1)
    if (!(coverage[p] >> (index % (positions[p].size() - 1)) & 1))
      return false;
  return true;
}

bool ElementGraph::coveredBy(const ElementRead &read, const Coverage &of, Coverage &covered) const {
  const auto &positions = cuts[read.operand];
  covered.assign(positions.size(), 0);
  auto setWithin = [&](size_t position, Interval range) {
    for (size_t i = 0; i + 1 < positions[position].size(); ++i)
      if (positions[position][i] >= range.begin && positions[position][i + 1] <= range.end)
        covered[position] |= uint32_t(1) << i;
  };
  if (read.isBijective && coversAll(read.result, of)) {
    for (size_t position = 0; position < positions.size(); ++position)
      setWithin(position, {0, positions[position].back()});
    return true;
  }
  // The dim's places in runs of covered intervals.
  auto placesOf = [&](const ResultDim &dim) {
    const std::vector<int64_t> &all = cuts[read.result][dim.position];
    std::vector<Interval> places;
    for (size_t i = 0; i + 1 < all.size(); ++i) {
      if (!(of[dim.position] >> i & 1))
        continue;
      size_t last = i;
      while (last + 2 < all.size() && of[dim.position] >> (last + 1) & 1)
        ++last;
      bool exact;
      Interval run = dimsOf(dim, {all[i], all[last + 1]}, exact);
      if (run.begin < run.end)
        places.push_back(run);
      i = last;
    }
    return places;
  };
  for (size_t position = 0; position < positions.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    if (axis.kind == ReadAxis::Whole)
      setWithin(position, {axis.lo, axis.hi});
    if (axis.kind != ReadAxis::Linked)
      continue;
    bool whole = axis.window >= axis.stride && axis.dilation == 1;
    for (int dim : axis.inner) {
      std::vector<Interval> places = placesOf(read.dims[dim]);
      whole = whole && places.size() == 1 && places[0].begin == 0 && places[0].end == read.dims[dim].extent;
    }
    if (whole)
      for (Interval run : placesOf(read.dims[axis.dim]))
        setWithin(position, {axis.lo + run.begin * axis.stride, axis.lo + (run.end - 1) * axis.stride + axis.window});
    if (axis.isClipped && covered[position] == 0)
      return false;
  }
  for (size_t position = 0; position < read.lo.size(); ++position) {
    if (read.lo[position] == 0 && read.hi[position] == positions[position].back())
      continue;
    for (size_t i = 0; i + 1 < positions[position].size(); ++i)
      if (positions[position][i] < read.hi[position] && positions[position][i + 1] > read.lo[position])
        covered[position] &= ~(uint32_t(1) << i);
    if (covered[position] == 0)
      return false;
  }
  return true;
}

// Whether the box, of a destination or of what it becomes, has nothing of what is written over.
bool ElementGraph::isOutside(const ElementRead &read, int box) const {
  bool outside = read.lo.empty();
  for (size_t position = 0; position < read.lo.size(); ++position) {
    Interval interval = intervalOf(box, static_cast<int>(position));
    outside = outside || interval.end <= read.lo[position] || interval.begin >= read.hi[position];
  }
  return outside;
}

// The first and the last place of the dim of which the box has some.
ElementGraph::Interval ElementGraph::dimsIn(const ResultDim &dim, int resultBox) const {
  if (!dim.isOutermost)
    return {0, dim.extent - 1};
  Interval interval = intervalOf(resultBox, dim.position);
  return {std::max<int64_t>(0, floorDiv(interval.begin - dim.offset, dim.scale)),
          std::min(dim.extent - 1, floorDiv(interval.end - 1 - dim.offset, dim.scale))};
}

bool ElementGraph::mayRead(const ElementRead &read, int operandBox, int resultBox) const {
  for (size_t position = 0; position < read.axes.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    Interval part = intervalOf(operandBox, static_cast<int>(position)), range{axis.lo, axis.hi};
    if (axis.kind == ReadAxis::Linked) {
      Interval places = dimsIn(read.dims[axis.dim], resultBox);
      range = {axis.lo + places.begin * axis.stride, axis.lo + places.end * axis.stride + axis.window};
    }
    if (axis.kind != ReadAxis::Unknown && (part.begin >= range.end || part.end <= range.begin))
      return false;
  }
  return isOutside(read, resultBox);
}

bool ElementGraph::alwaysReads(const ElementRead &read, int operandBox, int resultBox) const {
  if (!isOutside(read, resultBox))
    return false;
  for (size_t position = 0; position < read.axes.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    Interval part = intervalOf(operandBox, static_cast<int>(position));
    bool isWhole = part.begin == 0 && part.end == cuts[read.operand][position].back();
    if (axis.kind == ReadAxis::Whole ? part.begin < axis.hi && part.end > axis.lo : isWhole && !axis.isClipped)
      continue;
    if (axis.kind != ReadAxis::Linked)
      return false;
    Interval places = dimsIn(read.dims[axis.dim], resultBox);
    int64_t begin = axis.lo + places.begin * axis.stride, end = axis.lo + places.end * axis.stride;
    bool anyDoes = axis.inner.empty() && axis.dilation == 1;
    if (anyDoes ? part.begin >= begin + axis.window || part.end <= end
                : part.begin > begin || part.end < end + axis.window)
      return false;
  }
  return true;
}

bool ElementGraph::isRegular(const ElementRead &read, int operandBox, int resultBox) const {
  if (read.isBijective && endOf(read.operand) - firstBox[read.operand] == 1 &&
      endOf(read.result) - firstBox[read.result] == 1)
    return true;
  if (!isOutside(read, resultBox))
    return false;
  for (size_t position = 0; position < read.axes.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    Interval part = intervalOf(operandBox, static_cast<int>(position));
    if (axis.kind == ReadAxis::Unknown)
      return false;
    if (axis.kind == ReadAxis::Whole) {
      if (part.begin < axis.lo || part.end > axis.hi)
        return false;
      continue;
    }
    bool exact = false;
    Interval places = dimsOf(read.dims[axis.dim], intervalOf(resultBox, read.dims[axis.dim].position), exact);
    if (!exact || places.begin >= places.end)
      return false;
    for (int dim : axis.inner) {
      Interval all = dimsOf(read.dims[dim], intervalOf(resultBox, read.dims[dim].position), exact);
      if (!exact || all.begin != 0 || all.end != read.dims[dim].extent)
        return false;
    }
    // Of a window, the elements of one stride: so each belongs to one place of the dim.
    int64_t tap = part.begin - axis.lo - places.begin * axis.stride;
    if (part.end - part.begin != (places.end - places.begin) * axis.stride || tap < 0 ||
        tap + axis.stride > axis.window || tap % axis.dilation != 0 || (axis.dilation > 1 && axis.stride > 1))
      return false;
  }
  return true;
}

bool ElementGraph::isReadAll(const ElementRead &read, int operandBox) const {
  if (read.isBijective)
    return true;
  for (size_t position = 0; position < read.axes.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    Interval part = intervalOf(operandBox, static_cast<int>(position));
    int64_t end = axis.hi;
    if (axis.kind == ReadAxis::Linked) {
      if (axis.window < axis.stride || axis.dilation > 1)
        return false;
      end = axis.lo + axis.stride * (read.dims[axis.dim].extent - 1) + axis.window;
    }
    if (axis.kind == ReadAxis::Unknown || part.begin < axis.lo || part.end > end)
      return false;
  }
  return isOutside(read, operandBox);
}

int64_t ElementGraph::elementsRead(const ElementRead &read) const {
  int64_t count = read.lo.empty() ? 1 : 0;
  for (size_t position = 0; position < read.axes.size(); ++position) {
    const ReadAxis &axis = read.axes[position];
    if (axis.isClipped)
      return 0;
    if (axis.kind == ReadAxis::Whole)
      count *= axis.hi - axis.lo;
    else if (axis.kind == ReadAxis::Linked && axis.inner.empty())
      count *= (axis.window - 1) / axis.dilation + 1;
  }
  return count;
}
