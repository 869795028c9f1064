// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ElementGraph.h"

#include <algorithm>

using namespace snug;

static int64_t floorDiv(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
static int64_t ceilDiv(int64_t a, int64_t b) { return -floorDiv(-a, b); }

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
