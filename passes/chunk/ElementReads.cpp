// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the accesses of nodes to what each element of a result is computed from.
#include "passes/chunk/ElementGraph.h"

using namespace snug;

namespace {
struct Term {
  int64_t scale, extent;
};
// Whether each number below the product of the extents is one sum of terms, or, where they `overlap`, one or more.
bool isDense(std::vector<Term> terms, bool overlap, int64_t &reach) {
  std::sort(terms.begin(), terms.end(), [](Term a, Term b) { return a.scale < b.scale; });
  reach = 1;
  bool dense = true;
  for (Term term : terms) {
    dense = dense && (overlap ? term.scale <= reach : term.scale == reach);
    reach += term.scale * (term.extent - 1);
  }
  return dense;
}
} // namespace

static int64_t elements(const ChunkValue &value) {
  int64_t count = 1;
  for (int64_t extent : value.extents)
    count *= extent;
  return count;
}

// Where the dims of the node are in the result; nowhere if the index does not tell them.
static std::vector<ResultDim> resultDims(const ChunkNode &n, const ChunkUse &result) {
  std::vector<ResultDim> dims(n.extents.size());
  if (result.access.size() != dims.size())
    return dims;
  for (size_t dim = 0; dim < dims.size(); ++dim) {
    const DimAccess &access = result.access[dim];
    if (access.position < 0)
      continue;
    std::vector<Term> inner, all;
    bool isOutermost = true;
    for (size_t other = 0; other < dims.size(); ++other) {
      const DimAccess &beside = result.access[other];
      if (beside.position != access.position || n.extents[other] == 1)
        continue;
      all.push_back({beside.scale, n.extents[other]});
      if (beside.scale < access.scale)
        inner.push_back(all.back());
      isOutermost = isOutermost && beside.scale <= access.scale;
    }
    int64_t reach, below;
    if (isDense(all, false, reach) && isDense(inner, false, below) && below == access.scale)
      dims[dim] = {access.position, access.scale, access.offset, n.extents[dim], isOutermost};
  }
  return dims;
}

// Reshapes, one after the other, are one from the first tensor to the last. Its dims: elements in order are the digits
// of a number, in a basis that both shapes are made of. False if there is none.
bool ElementGraph::addReshape(int id) {
  auto isReshape = [&](int node) {
    const ChunkNode &n = problem.nodes[node];
    return n.isView && n.results.size() == 1 && firstBox[n.uses[0].value + 1] &&
           elements(problem.values[n.uses[0].value]) == elements(problem.values[n.results[0].value]);
  };
  if (!isReshape(id))
    return false;
  ChunkUse use = problem.nodes[id].uses[0], result = problem.nodes[id].results[0];
  while (isReshape(problem.values[use.value].producer))
    use.value = problem.nodes[problem.values[use.value].producer].uses[0].value;
  std::vector<int64_t> strides{1};
  for (int value : {use.value, result.value}) {
    int64_t stride = 1;
    const std::vector<int64_t> &extents = problem.values[value].extents;
    for (size_t position = extents.size(); position-- > 0;)
      strides.push_back(stride *= extents[position]);
  }
  std::sort(strides.begin(), strides.end());
  strides.erase(std::unique(strides.begin(), strides.end()), strides.end());
  ChunkNode node;
  node.isView = true;
  for (size_t i = 0; i + 1 < strides.size(); ++i) {
    if (strides[i + 1] % strides[i] != 0)
      return false;
    node.extents.push_back(strides[i + 1] / strides[i]);
  }
  node.parallel.assign(node.extents.size(), true);
  for (ChunkUse *side : {&use, &result}) {
    side->access.assign(node.extents.size(), {});
    int64_t stride = 1;
    const std::vector<int64_t> &extents = problem.values[side->value].extents;
    for (size_t position = extents.size(); position-- > 0; stride *= extents[position])
      for (size_t dim = 0; dim < node.extents.size(); ++dim)
        if (strides[dim] >= stride && strides[dim] < stride * extents[position]) {
          side->access[dim].position = static_cast<int>(position);
          side->access[dim].scale = strides[dim] / stride;
        }
  }
  add(readOf(id, node, use, result));
  return true;
}

ElementRead ElementGraph::readOf(int node, const ChunkNode &n, const ChunkUse &use, const ChunkUse &result) const {
  const ChunkValue &operand = problem.values[use.value];
  ElementRead read;
  read.node = node;
  read.operand = use.value;
  read.result = result.value;
  read.dims = resultDims(n, result);
  read.isBijective = n.isView && elements(operand) == elements(problem.values[result.value]);
  for (size_t position = 0; position < operand.extents.size(); ++position) {
    ReadAxis axis;
    axis.hi = operand.extents[position];
    std::vector<int> linked;
    std::vector<Term> full, rest;
    bool isKnown = true, hasDims = false;
    for (size_t dim = 0; dim < use.access.size(); ++dim) {
      const DimAccess &access = use.access[dim];
      if (access.position != static_cast<int>(position))
        continue;
      hasDims = true;
      axis.lo = access.offset;
      if (n.extents[dim] == 1)
        continue;
      bool isIndex = n.isView || n.parallel[dim];
      if (isIndex && dim < result.access.size() && result.access[dim].position >= 0) {
        isKnown = isKnown && read.dims[dim].position >= 0 && (!n.isView || n.parallel[dim] || read.isBijective);
        if (axis.dim < 0 || access.scale > axis.stride) {
          axis.dim = static_cast<int>(dim);
          axis.stride = access.scale;
        }
        linked.push_back(static_cast<int>(dim));
      } else {
        full.push_back({access.scale, n.extents[dim]});
        isKnown = isKnown && !n.isView; // a view has one element for each
      }
    }
    rest = full;
    for (int dim : linked)
      if (dim != axis.dim) {
        axis.inner.push_back(dim);
        rest.push_back({use.access[dim].scale, n.extents[dim]});
      }
    bool isDenseRest = isDense(rest, axis.inner.empty(), axis.window);
    if (!hasDims) {
      isKnown = !n.isView || operand.extents[position] == 1;
      axis.lo = 0;
    } else if (linked.empty()) {
      axis.hi = std::min(axis.hi, axis.lo + axis.window);
      axis.lo = std::max<int64_t>(axis.lo, 0);
      isKnown = isKnown && isDenseRest && axis.lo < axis.hi;
    } else {
      axis.kind = ReadAxis::Linked;
      axis.isClipped = axis.lo < 0 || axis.lo + axis.stride * (n.extents[axis.dim] - 1) + axis.window > axis.hi;
      if (!axis.inner.empty())
        isKnown = isKnown && isDenseRest && axis.window == axis.stride;
      else if (!isDenseRest && full.size() == 1)
        axis.dilation = full[0].scale;
      else
        isKnown = isKnown && isDenseRest;
    }
    if (!isKnown)
      axis.kind = ReadAxis::Unknown;
    read.axes.push_back(axis);
  }
  return read;
}

void ElementGraph::add(ElementRead read) {
  if (!firstBox[read.operand + 1])
    return; // there from the start
  readsOf[read.operand].push_back(static_cast<int>(reads.size()));
  readsFor[read.result].push_back(static_cast<int>(reads.size()));
  reads.push_back(std::move(read));
}

// A part that is written into a larger whole takes the place of what the destination has there.
static void cutOut(ElementRead &destination, const ElementRead &part, const ChunkProblem &problem) {
  const std::vector<int64_t> &extents = problem.values[part.result].extents;
  std::vector<int64_t> lo(extents.size(), 0), hi = extents;
  for (size_t position = 0; position < part.axes.size(); ++position) {
    const ReadAxis &axis = part.axes[position];
    if (axis.kind == ReadAxis::Whole)
      continue;
    if (axis.kind == ReadAxis::Unknown || axis.stride != 1 || axis.window != 1 || !part.dims[axis.dim].isOutermost) {
      for (ReadAxis &unknown : destination.axes)
        unknown.kind = ReadAxis::Unknown;
      return;
    }
    const ResultDim &dim = part.dims[axis.dim];
    lo[dim.position] = std::max<int64_t>(0, dim.offset - axis.lo * dim.scale);
    hi[dim.position] =
        std::min(extents[dim.position], lo[dim.position] + problem.values[part.operand].extents[position] * dim.scale);
  }
  destination.lo = std::move(lo);
  destination.hi = std::move(hi);
}

ElementGraph::ElementGraph(const ChunkProblem &problem, const std::vector<ElementCut> &more,
                           const std::vector<std::pair<int, int>> &unknown)
    : readsOf(problem.values.size()), readsFor(problem.values.size()), problem(problem) {
  auto hasBoxes = [&](int id) {
    const ChunkValue &value = problem.values[id];
    return value.buffer >= 0 && value.producer >= 0 && !problem.nodes[value.producer].isEmpty &&
           value.elementBytes > 0 &&
           std::all_of(value.extents.begin(), value.extents.end(), [](int64_t extent) { return extent > 0; });
  };
  firstBox.assign(problem.values.size() + 1, 0);
  for (size_t value = 0; value < problem.values.size(); ++value)
    firstBox[value + 1] = hasBoxes(static_cast<int>(value));
  for (size_t node = 0; node < problem.nodes.size(); ++node)
    for (const ChunkUse &result : problem.nodes[node].results) {
      if (!firstBox[result.value + 1])
        continue;
      if (addReshape(static_cast<int>(node)))
        continue;
      std::vector<ElementRead> all;
      int destination = -1, part = -1;
      for (const ChunkUse &use : problem.nodes[node].uses) {
        if (use.isBlind || problem.values[use.value].elementBytes == 0)
          continue;
        all.push_back(readOf(static_cast<int>(node), problem.nodes[node], use, result));
        const std::vector<ReadAxis> &axes = all.back().axes;
        if (use.isInit)
          destination = static_cast<int>(all.size()) - 1;
        else if (std::any_of(axes.begin(), axes.end(), [](const ReadAxis &axis) { return axis.isClipped; }))
          part = static_cast<int>(all.size()) - 1;
      }
      if (destination >= 0 && part >= 0)
        cutOut(all[destination], all[part], problem);
      for (ElementRead &read : all)
        add(std::move(read));
    }
  for (auto [read, axis] : unknown)
    reads[read].axes[axis].kind = ReadAxis::Unknown;
  addCuts(more);
  addBoxes();
}
