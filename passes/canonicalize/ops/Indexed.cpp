// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elements read at indices that are data, and caches that are written. An index beyond its dim, which ONNX leaves undefined, reads the
// nearest element and writes nothing.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Indexed.h"

using namespace mlir;
using namespace snug;

namespace {
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

bool snug::isIndexType(Type type) { return type.isInteger(32) || type.isInteger(64); }

LogicalResult snug::wantIndices(Lowering &l, const LoweredValue &indices, bool fits) {
  if (fits && isIndexType(indices.elementType))
    return success();
  return l.error() << "indices of shape " << l.print(indices.shape) << " and type " << indices.elementType
                   << " do not go with data of shape " << l.print(l.input(0).shape);
}

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
