// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elements read or written at indices that are data. An index beyond its dim, which ONNX leaves undefined, reads the nearest
// element and writes nothing.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Indexed.h"

using namespace mlir;
using namespace snug;

namespace {
bool isIndexType(Type type) { return type.isInteger(32) || type.isInteger(64); }

LogicalResult wantIndices(Lowering &l, const LoweredValue &indices, bool fits) {
  if (fits && isIndexType(indices.elementType))
    return success();
  return l.error() << "indices of shape " << l.print(indices.shape) << " and type " << indices.elementType
                   << " do not go with data of shape " << l.print(l.input(0).shape);
}

LogicalResult gatherElements(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), data.rank());
  if (!axis || failed(wantIndices(l, indices, indices.rank() == data.rank())))
    return failure();
  unsigned rank = data.rank();
  SmallVector<int> dataDims;
  for (unsigned dim = 0; dim < rank; ++dim) {
    bool along = dim != *axis && l.same(data.shape[dim], indices.shape[dim]);
    dataDims.push_back(along ? static_cast<int>(dim) : ScalarKernel::Any);
  }
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(data, dataDims), at = kernel.read(indices, dimsInOrder(rank));
  unsigned to = kernel.write(indices.shape, data.elementType, dimsInOrder(rank));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    SmallVector<Value> place(i);
    Value extent = c.extent(from, *axis);
    place[*axis] = c.clamp(c.fromEnd(c.toIndex(c.load(at, i)), extent), extent);
    c.store(c.load(from, place), to, i);
  })[0]);
  return success();
}

// What an index becomes of what is there and what comes.
using Combine = Value (*)(ScalarCode &, Value, Value);
std::optional<Combine> combinerOf(Lowering &l, Type type) {
  StringRef reduction = l.stringAttr("reduction", "none");
  bool logical = type.isInteger(1);
  if (reduction == "none")
    return [](ScalarCode &, Value, Value update) { return update; };
  if (reduction == "add")
    return logical ? +[](ScalarCode &c, Value old, Value update) { return c.either(old, update); }
                   : +[](ScalarCode &c, Value old, Value update) { return c.add(old, update); };
  if (reduction == "mul")
    return logical ? +[](ScalarCode &c, Value old, Value update) { return c.both(old, update); }
                   : +[](ScalarCode &c, Value old, Value update) { return c.mul(old, update); };
  if (reduction == "max")
    return logical ? +[](ScalarCode &c, Value old, Value update) { return c.either(old, update); }
                   : +[](ScalarCode &c, Value old, Value update) { return c.max(old, update); };
  if (reduction == "min")
    return logical ? +[](ScalarCode &c, Value old, Value update) { return c.both(old, update); }
                   : +[](ScalarCode &c, Value old, Value update) { return c.min(old, update); };
  l.error() << "reduction '" << reduction << "' is none that the standard knows";
  return std::nullopt;
}

// Copies what a point owns of data, over all dims that are not parallel; `place` takes indices of these in order.
void copyOwned(ScalarCode &c, ScalarKernel &kernel, unsigned from, unsigned to, ArrayRef<int> dims, ValueRange parallel) {
  SmallVector<Value> extents;
  for (auto [dim, index] : llvm::enumerate(dims))
    if (index == ScalarKernel::Any)
      extents.push_back(c.extent(from, dim));
  c.loops(extents, [&](ValueRange inner) {
    SmallVector<Value> place;
    unsigned next = 0;
    for (int index : dims)
      place.push_back(index == ScalarKernel::Any ? inner[next++] : parallel[index]);
    c.store(c.load(from, place), to, place);
  });
}

// Data in which elements along `axis` are replaced. A point is a place in the dims beside it that data and indices share.
LogicalResult scatterElements(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1), &updates = l.input(2);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), data.rank());
  auto combine = combinerOf(l, data.elementType);
  if (!axis || !combine || failed(wantIndices(l, indices, indices.rank() == data.rank() && updates.rank() == data.rank())))
    return failure();
  unsigned rank = data.rank(), parallel = 0;
  SmallVector<int> dims;
  for (unsigned dim = 0; dim < rank; ++dim) {
    if (!l.same(indices.shape[dim], updates.shape[dim]))
      return l.error() << "updates of shape " << l.print(updates.shape) << " for indices of shape "
                       << l.print(indices.shape);
    bool along = dim != *axis && l.same(data.shape[dim], indices.shape[dim]);
    dims.push_back(along ? static_cast<int>(parallel++) : ScalarKernel::Any);
  }
  ScalarKernel kernel(l, parallel);
  unsigned from = kernel.read(data, dims), at = kernel.read(indices, dims), what = kernel.read(updates, dims);
  unsigned to = kernel.write(data.shape, data.elementType, dims);
  kernel.mayOverwrite(from);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    copyOwned(c, kernel, from, to, dims, i);
    SmallVector<Value> extents;
    for (unsigned dim = 0; dim < rank; ++dim)
      if (dims[dim] == ScalarKernel::Any)
        extents.push_back(c.extent(at, dim));
    c.loops(extents, [&](ValueRange inner) {
      SmallVector<Value> read, place;
      Value isInside = c.constant(c.b.getBoolAttr(true));
      unsigned next = 0;
      for (unsigned dim = 0; dim < rank; ++dim)
        read.push_back(dims[dim] == ScalarKernel::Any ? inner[next++] : i[dims[dim]]);
      place = read;
      place[*axis] = c.fromEnd(c.toIndex(c.load(at, read)), c.extent(from, *axis));
      for (unsigned dim = 0; dim < rank; ++dim)
        if (dims[dim] == ScalarKernel::Any)
          isInside = c.both(isInside, c.isInside(place[dim], c.extent(from, dim)));
      c.ifThen(isInside, [&] {
        c.store((*combine)(c, c.load(to, place), c.load(what, read)), to, place);
      });
    });
  })[0]);
  return success();
}

// Data in which slices behind a tuple of indices are replaced. A point is a place in such a slice.
LogicalResult scatterNd(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1), &updates = l.input(2);
  auto combine = combinerOf(l, data.elementType);
  int64_t count = indices.rank() - 1 + data.rank() - updates.rank();
  bool fits = indices.rank() && count >= 0 && count <= data.rank() && l.same(indices.shape.back(), l.constant(count));
  if (!combine || failed(wantIndices(l, indices, fits)))
    return failure();
  unsigned tuple = count, trailing = data.rank() - tuple, outer = indices.rank() - 1;
  SmallVector<int> dataDims(tuple, ScalarKernel::Any), updateDims(outer, ScalarKernel::Any);
  for (unsigned dim = 0; dim < trailing; ++dim) {
    if (!l.same(data.shape[tuple + dim], updates.shape[outer + dim]))
      return l.error() << "updates of shape " << l.print(updates.shape) << " do not fit data of shape " << l.print(data.shape);
    dataDims.push_back(dim);
    updateDims.push_back(dim);
  }
  for (unsigned dim = 0; dim < outer; ++dim)
    if (!l.same(indices.shape[dim], updates.shape[dim]))
      return l.error() << "updates of shape " << l.print(updates.shape) << " do not fit indices of shape "
                       << l.print(indices.shape);
  ScalarKernel kernel(l, trailing);
  unsigned from = kernel.read(data, dataDims);
  unsigned at = kernel.read(indices, SmallVector<int>(outer + 1, ScalarKernel::Any));
  unsigned what = kernel.read(updates, updateDims), to = kernel.write(data.shape, data.elementType, dataDims);
  kernel.mayOverwrite(from);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    copyOwned(c, kernel, from, to, dataDims, i);
    SmallVector<Value> extents;
    for (unsigned dim = 0; dim < outer; ++dim)
      extents.push_back(c.extent(at, dim));
    c.loops(extents, [&](ValueRange which) {
      SmallVector<Value> place, read(which);
      Value isInside = c.constant(c.b.getBoolAttr(true));
      for (unsigned k = 0; k < tuple; ++k) {
        SmallVector<Value> component(which);
        component.push_back(c.index(k));
        Value extent = c.extent(from, k);
        place.push_back(c.fromEnd(c.toIndex(c.load(at, component)), extent));
        isInside = c.both(isInside, c.isInside(place.back(), extent));
      }
      llvm::append_range(place, i);
      llvm::append_range(read, i);
      c.ifThen(isInside, [&] {
        c.store((*combine)(c, c.load(to, place), c.load(what, read)), to, place);
      });
    });
  })[0]);
  return success();
}

// A cache into which new entries are written along an axis, for each batch from an index on.
LogicalResult tensorScatter(Lowering &l) {
  LoweredValue &cache = l.input(0), &update = l.input(1);
  auto axis = l.normalizeAxis(l.intAttr("axis", -2), cache.rank());
  bool circular = l.stringAttr("mode", "linear") == "circular", hasIndices = l.hasInput(2);
  if (!axis)
    return failure();
  if (*axis == 0 || update.rank() != cache.rank() || update.elementType != cache.elementType)
    return l.error() << "an update of shape " << l.print(update.shape) << " along axis " << *axis
                     << " does not fit a cache of shape " << l.print(cache.shape);
  SmallVector<int> dims;
  for (int64_t dim = 0; dim < cache.rank(); ++dim) {
    if (dim != *axis && !l.same(cache.shape[dim], update.shape[dim]))
      return l.error() << "an update of shape " << l.print(update.shape) << " does not fit a cache of shape "
                       << l.print(cache.shape);
    dims.push_back(dim == *axis ? ScalarKernel::Any : static_cast<int>(dim < *axis ? dim : dim - 1));
  }
  unsigned parallel = cache.rank() - 1;
  ScalarKernel kernel(l, parallel);
  unsigned from = kernel.read(cache, dims), what = kernel.read(update, dims), start = 0;
  if (hasIndices)
    start = kernel.read(l.input(2), {0});
  unsigned to = kernel.write(cache.shape, cache.elementType, dims);
  kernel.mayOverwrite(from);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    copyOwned(c, kernel, from, to, dims, i);
    Value first = hasIndices ? c.toIndex(c.load(start, {i[0]})) : c.index(0), extent = c.extent(from, *axis);
    c.loop(c.extent(what, *axis), [&](Value step) {
      auto at = [&](Value position) {
        SmallVector<Value> place(i);
        place.insert(place.begin() + *axis, position);
        return place;
      };
      Value position = c.add(first, step);
      if (circular)
        position = c.rem(c.add(c.rem(position, extent), extent), extent);
      c.ifThen(c.isInside(position, extent), [&] { c.store(c.load(what, at(step)), to, at(position)); });
    });
  })[0]);
  return success();
}

// Values put at their places in a larger image of zeros; places count through all of it.
LogicalResult maxUnpool(Lowering &l) {
  LoweredValue &x = l.input(0), &indices = l.input(1);
  auto kernelShape = l.intsAttr("kernel_shape");
  size_t spatial = x.rank() < 2 ? 0 : x.rank() - 2;
  SmallVector<int64_t> strides = l.intsAttr("strides").value_or(SmallVector<int64_t>(spatial, 1));
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>(2 * spatial, 0));
  if (!kernelShape || kernelShape->size() != spatial || strides.size() != spatial || pads.size() != 2 * spatial ||
      !spatial || indices.rank() != x.rank() || !isIndexType(indices.elementType))
    return l.error() << "kernel_shape, strides or pads do not fit an input of shape " << l.print(x.shape);
  Extents inferred = {x.shape[0], x.shape[1]};
  for (size_t i = 0; i < spatial; ++i)
    inferred.push_back((x.shape[2 + i] - 1) * strides[i] - (pads[i] + pads[spatial + i]) + (*kernelShape)[i]);
  Extents shape = inferred;
  if (l.hasInput(2)) {
    auto given = l.ints(l.input(2));
    if (!given || given->size() != shape.size())
      return l.error() << "an output_shape that is computed from data is not supported; give it with --value";
    shape = *given;
  }
  if (!areExtents(l, shape) || !areExtents(l, inferred))
    return failure();
  // Places are those of the inferred image, which is the whole one's first corner.
  ScalarKernel kernel(l, 0);
  SmallVector<int> any(x.rank(), ScalarKernel::Any);
  unsigned from = kernel.read(x, any), at = kernel.read(indices, any), to = kernel.write(shape, x.elementType, any);
  SmallVector<Value> corner;
  for (AffineExpr extent : inferred)
    corner.push_back(l.materialize(extent));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange) {
    SmallVector<Value> all, read;
    for (int64_t dim = 0; dim < x.rank(); ++dim) {
      all.push_back(c.extent(to, dim));
      read.push_back(c.extent(from, dim));
    }
    c.loops(all, [&](ValueRange place) {
      c.store(c.number(kernel.computedType(to), 0), to, place);
    });
    c.loops(read, [&](ValueRange i) {
      Value rest = c.toIndex(c.load(at, i));
      Value total = c.index(1);
      for (Value extent : corner)
        total = c.mul(total, extent);
      c.ifThen(c.isInside(rest, total), [&] {
        SmallVector<Value> place(corner.size());
        for (size_t dim = corner.size(); dim-- > 0;) {
          place[dim] = dim ? c.rem(rest, corner[dim]) : rest;
          rest = c.div(rest, corner[dim]);
        }
        Value fits = c.constant(c.b.getBoolAttr(true));
        for (auto [dim, at] : llvm::enumerate(place))
          fits = c.both(fits, c.less(at, all[dim]));
        c.ifThen(fits, [&] { c.store(c.load(from, i), to, place); });
      });
    });
  })[0]);
  return success();
}

// Each batch's first entries in time turned around.
LogicalResult reverseSequence(Lowering &l) {
  LoweredValue &x = l.input(0), &lengths = l.input(1);
  int64_t batch = l.intAttr("batch_axis", 1), time = l.intAttr("time_axis", 0);
  if (x.rank() < 2 || batch == time || batch < 0 || time < 0 || batch >= x.rank() || time >= x.rank() ||
      lengths.rank() != 1 || !isIndexType(lengths.elementType))
    return l.error() << "batch_axis " << batch << " and time_axis " << time << " do not fit an input of shape "
                     << l.print(x.shape);
  unsigned rank = x.rank();
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(x, dimsInOrder(rank, {time})), length = kernel.read(lengths, {static_cast<int>(batch)});
  unsigned to = kernel.write(x.shape, x.elementType, dimsInOrder(rank));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Value count = c.toIndex(c.load(length, {i[batch]})), t = c.place(time);
    SmallVector<Value> place(i);
    Value turned = c.sub(c.sub(count, c.index(1)), t);
    place[time] = c.clamp(c.select(c.less(t, count), turned, t), c.extent(from, time));
    c.store(c.load(from, place), to, i);
  })[0]);
  return success();
}
} // namespace

LogicalResult snug::gatherSlices(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  auto count = indices.rank() ? dyn_cast<AffineConstantExpr>(indices.shape.back()) : AffineConstantExpr();
  int64_t batch = l.intAttr("batch_dims", 0);
  if (indices.rank() && !count)
    return l.error() << "how many indices there are for an element, " << l.dims.print(indices.shape.back())
                     << ", decides the rank of the result; fix it with --dim";
  bool fits = count && batch >= 0 && batch < indices.rank() && batch + count.getValue() <= data.rank();
  for (int64_t dim = 0; fits && dim < batch; ++dim)
    fits = l.same(data.shape[dim], indices.shape[dim]);
  if (failed(wantIndices(l, indices, fits)))
    return failure();
  unsigned tuple = count.getValue(), outer = indices.rank() - 1, trailing = data.rank() - batch - tuple;
  Extents shape(indices.shape.begin(), indices.shape.end() - 1);
  llvm::append_range(shape, ArrayRef(data.shape).drop_front(batch + tuple));
  SmallVector<int> dataDims = dimsInOrder(batch), indexDims = dimsInOrder(outer);
  dataDims.append(tuple, ScalarKernel::Any);
  for (unsigned dim = 0; dim < trailing; ++dim)
    dataDims.push_back(outer + dim);
  indexDims.push_back(ScalarKernel::Any);
  ScalarKernel kernel(l, shape.size());
  unsigned from = kernel.read(data, dataDims), at = kernel.read(indices, indexDims);
  unsigned to = kernel.write(shape, data.elementType, dimsInOrder(shape.size()));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    SmallVector<Value> place(i.take_front(batch));
    for (unsigned k = 0; k < tuple; ++k) {
      SmallVector<Value> component(i.take_front(outer));
      component.push_back(c.index(k));
      Value extent = c.extent(from, batch + k);
      place.push_back(c.clamp(c.fromEnd(c.toIndex(c.load(at, component)), extent), extent));
    }
    llvm::append_range(place, i.drop_front(outer));
    c.store(c.load(from, place), to, i);
  })[0]);
  return success();
}

void snug::addIndexedOps(LoweringTable &t) {
  t.add("GatherElements", 11, gatherElements);
  t.add("Scatter", 9, scatterElements);
  t.add("ScatterElements", 11, scatterElements);
  t.add("ScatterND", 11, scatterNd);
  t.add("TensorScatter", 24, tensorScatter);
  t.add("MaxUnpool", 9, maxUnpool);
  t.add("ReverseSequence", 10, reverseSequence);
}
