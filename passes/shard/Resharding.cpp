// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Resharding.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace snug;

namespace {
using Sizes = SmallVector<OpFoldResult>;

// A cut that a step makes or undoes, as the step finds the dim.
struct FoundCut {
  int64_t dim = 0;
  std::vector<int64_t> segments;
  int64_t parts = 1;
  OpFoldResult extent, filled; // where the dim is filled up: what there is of it, and what it is filled up to
};

// The steps of one change of layout. Of a tensor in parts the first dim counts the devices of the group.
class Resharding {
public:
  Resharding(OpBuilder &b, Location loc, Sizes extents, const MeshExtents &mesh)
      : b(b), loc(loc), extents(std::move(extents)), mesh(mesh) {}

  Value apply(const ReshardStep &step, Value local, const TensorLayout &now) {
    SmallVector<int64_t> axes{step.axis};
    FoundCut from = find(step.axis, step.from, now), to = find(step.axis, step.to, now);
    switch (step.kind) {
    case ReshardStep::Slice:
      return ownPart(local, to, step.axis);
    case ReshardStep::Mask:
      return keptByFirst(local, step.axis);
    case ReshardStep::AllReduce:
      return allReduce(local, axes);
    case ReshardStep::AllReduceBoth:
      return reduceOverBoth(local);
    case ReshardStep::ReduceScatter: {
      Value parts = toParts(local, to);
      Value init = empty(Sizes(ArrayRef(sizesOf(parts)).drop_front()), parts);
      return mesh::ReduceScatterOp::create(b, loc, init.getType(), mesh::Reduction::Sum, axes, parts, init).getResult(0);
    }
    case ReshardStep::AllGather: {
      Sizes sizes = sizesOf(local);
      sizes.insert(sizes.begin(), b.getIndexAttr(from.parts));
      Value init = empty(sizes, local);
      Value parts = mesh::AllGatherOp::create(b, loc, init.getType(), axes, local, init).getResult(0);
      return fromParts(parts, from);
    }
    case ReshardStep::AllToAll: {
      Value parts = toParts(local, to);
      Value init = empty(sizesOf(parts), parts);
      Value got = mesh::AllToAllOp::create(b, loc, init.getType(), axes, parts, init).getResult(0);
      return fromParts(got, from);
    }
    }
    llvm_unreachable("all kinds are above");
  }

private:
  FoundCut find(int axis, const AxisLayout &cut, const TensorLayout &now) {
    FoundCut found;
    if (cut.kind != AxisLayout::Cut)
      return found;
    found.dim = cut.dim;
    found.segments = segmentsFor(axis, cut, now, mesh);
    found.parts = mesh[axis];
    // What is a part of axis 0 has been filled up already.
    bool isNested = axis == 1 && now[0].kind == AxisLayout::Cut && now[0].dim == cut.dim;
    if (isFilled(cut, axis, mesh) && !isNested) {
      found.extent = extents[cut.dim];
      found.filled = affine::makeComposedFoldedAffineApply(b, loc, upToMultiple(), {found.extent});
    }
    return found;
  }

  AffineExpr upToMultiple() {
    int64_t devices = mesh[0] * mesh[1];
    return b.getAffineSymbolExpr(0).ceilDiv(devices) * devices;
  }

  Sizes sizesOf(Value tensor) { return tensor::getMixedSizes(b, loc, tensor); }

  Value empty(ArrayRef<OpFoldResult> sizes, Value like) {
    return tensor::EmptyOp::create(b, loc, sizes, cast<RankedTensorType>(like.getType()).getElementType());
  }

  Value slice(Value tensor, int64_t dim, OpFoldResult offset, OpFoldResult length) {
    Sizes sizes = sizesOf(tensor), offsets(sizes.size(), b.getIndexAttr(0)), strides(sizes.size(), b.getIndexAttr(1));
    offsets[dim] = offset;
    sizes[dim] = length;
    return tensor::ExtractSliceOp::create(b, loc, tensor, offsets, sizes, strides);
  }

  // As much of a dim as `length`: the tensor, and behind it zeros, which are any other number's equal, but do no harm as indices
  // and divisors are of what is made of them.
  Value fillUp(Value tensor, int64_t dim, OpFoldResult length) {
    Sizes sizes = sizesOf(tensor), part = sizes, offsets(sizes.size(), b.getIndexAttr(0)), strides(sizes.size(), b.getIndexAttr(1));
    sizes[dim] = length;
    Value whole = empty(sizes, tensor);
    Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(element));
    whole = linalg::FillOp::create(b, loc, zero, whole).getResult(0);
    return tensor::InsertSliceOp::create(b, loc, tensor, whole, offsets, part, strides);
  }

  OpFoldResult over(OpFoldResult length, int64_t parts) {
    return affine::makeComposedFoldedAffineApply(b, loc, b.getAffineSymbolExpr(0).floorDiv(parts), {length});
  }

  // One tensor of these pieces, side by side along `dim`.
  Value join(ArrayRef<Value> pieces, int64_t dim) {
    if (pieces.size() == 1)
      return pieces.front();
    auto extentOf = [&](Value piece) { return cast<RankedTensorType>(piece.getType()).getDimSize(dim); };
    int64_t extent = 0;
    for (Value piece : pieces)
      extent += extentOf(piece);
    Sizes sizes = sizesOf(pieces.front());
    sizes[dim] = b.getIndexAttr(extent);
    Value whole = empty(sizes, pieces.front());
    int64_t at = 0;
    for (Value piece : pieces) {
      Sizes part = sizesOf(piece), offsets(part.size(), b.getIndexAttr(0)), strides(part.size(), b.getIndexAttr(1));
      offsets[dim] = b.getIndexAttr(at);
      whole = tensor::InsertSliceOp::create(b, loc, piece, whole, offsets, part, strides);
      at += extentOf(piece);
    }
    return whole;
  }

  Value allReduce(Value local, ArrayRef<int64_t> axes) {
    return mesh::AllReduceOp::create(b, loc, local.getType(), mesh::Reduction::Sum, axes, local, empty(sizesOf(local), local))
        .getResult(0);
  }

  // What the first device along the axis has; zeros on all others.
  Value keptByFirst(Value local, int64_t axis) {
    Value place = mesh::IndexOp::create(b, loc, b.getIndexType(), axis);
    int64_t rank = cast<RankedTensorType>(local.getType()).getRank();
    SmallVector<AffineMap> maps(2, b.getMultiDimIdentityMap(rank));
    SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
    return linalg::GenericOp::create(b, loc, local.getType(), local, empty(sizesOf(local), local), maps, iterators,
                                     [&](OpBuilder &body, Location l, ValueRange arguments) {
                                       Value none = arith::ConstantIndexOp::create(body, l, 0);
                                       Value isFirst = arith::CmpIOp::create(body, l, arith::CmpIPredicate::eq, place, none);
                                       Value zero = arith::ConstantOp::create(body, l, body.getZeroAttr(arguments[0].getType()));
                                       Value kept = arith::SelectOp::create(body, l, isFirst, arguments[0], zero);
                                       linalg::YieldOp::create(body, l, kept);
                                     })
        .getResult(0);
  }

  // By steps: what is added over axis 0 is what devices along axis 1 have a part of each. As elements lie in memory, whatever
  // the dims are.
  Value reduceOverBoth(Value local) {
    auto type = cast<RankedTensorType>(local.getType());
    int64_t n = mesh[1], known = 1;
    for (int64_t extent : type.getShape())
      known *= ShapedType::isDynamic(extent) ? 1 : extent % n == 0 ? n : 1;
    if (known % n != 0)
      return allReduce(local, {0, 1});
    Sizes sizes = sizesOf(local);
    OpFoldResult count = b.getIndexAttr(1);
    AffineExpr x = b.getAffineSymbolExpr(0), y = b.getAffineSymbolExpr(1);
    for (OpFoldResult size : sizes)
      count = affine::makeComposedFoldedAffineApply(b, loc, x * y, {count, size});
    Sizes parts{b.getIndexAttr(n), affine::makeComposedFoldedAffineApply(b, loc, x.floorDiv(n), {count})};
    auto constant = getConstantIntValue(parts[1]);
    auto partsType = RankedTensorType::get({n, constant ? *constant : ShapedType::kDynamic}, type.getElementType());
    SmallVector<ReassociationIndices> all{llvm::to_vector<2>(llvm::seq<int64_t>(0, type.getRank()))}, two{{0, 1}};
    Value flat = type.getRank() == 1 ? local : tensor::CollapseShapeOp::create(b, loc, local, all).getResult();
    flat = tensor::ExpandShapeOp::create(b, loc, partsType, flat, two, parts);
    Value init = empty(ArrayRef(parts).drop_front(), flat);
    SmallVector<int64_t> inner{1}, outer{0};
    Value part = mesh::ReduceScatterOp::create(b, loc, init.getType(), mesh::Reduction::Sum, inner, flat, init).getResult(0);
    part = allReduce(part, outer);
    Value whole = mesh::AllGatherOp::create(b, loc, partsType, inner, part, empty(parts, flat)).getResult(0);
    whole = tensor::CollapseShapeOp::create(b, loc, whole, two);
    if (type.getRank() == 1)
      return type == whole.getType() ? whole : tensor::CastOp::create(b, loc, type, whole).getResult();
    return tensor::ExpandShapeOp::create(b, loc, type, whole, all, sizes);
  }

  // What `make` gives of each segment, whose place and length in the dim it is told, joined along `dim`.
  Value bySegment(const FoundCut &cut, int64_t dim, llvm::function_ref<Value(int64_t offset, int64_t length)> make) {
    SmallVector<Value> pieces;
    int64_t offset = 0;
    for (int64_t length : cut.segments) {
      pieces.push_back(make(offset, length));
      offset += length;
    }
    return join(pieces, dim);
  }

  // This device's part of each segment.
  Value ownPart(Value local, const FoundCut &cut, int64_t axis) {
    OpFoldResult place = Value(mesh::IndexOp::create(b, loc, b.getIndexType(), axis));
    AffineExpr x = b.getAffineSymbolExpr(0), y = b.getAffineSymbolExpr(1), z = b.getAffineSymbolExpr(2);
    if (cut.filled) { // the last devices have less, or nothing
      OpFoldResult length = over(cut.filled, cut.parts);
      AffineMap starts = AffineMap::get(0, 3, {x * y, z}, b.getContext()), lengths = AffineMap::get(0, 3, {x - y, z}, b.getContext());
      OpFoldResult start = affine::makeComposedFoldedAffineMin(b, loc, starts, {place, length, cut.extent});
      OpFoldResult there = affine::makeComposedFoldedAffineMin(b, loc, lengths, {cut.extent, start, length});
      return fillUp(slice(local, cut.dim, start, there), cut.dim, length);
    }
    if (cut.segments.size() == 1) {
      OpFoldResult length = over(sizesOf(local)[cut.dim], cut.parts);
      return slice(local, cut.dim, affine::makeComposedFoldedAffineApply(b, loc, x * y, {place, length}), length);
    }
    return bySegment(cut, cut.dim, [&](int64_t offset, int64_t length) {
      AffineExpr start = x * (length / cut.parts) + offset;
      return slice(local, cut.dim, affine::makeComposedFoldedAffineApply(b, loc, start, place), b.getIndexAttr(length / cut.parts));
    });
  }

  // A dim taken apart into two, or two made one.
  Value split(Value tensor, int64_t dim, int64_t outer) {
    Sizes sizes = sizesOf(tensor);
    SmallVector<ReassociationIndices> groups = pairing(sizes.size(), dim);
    OpFoldResult inner = over(sizes[dim], outer);
    sizes[dim] = b.getIndexAttr(outer);
    sizes.insert(sizes.begin() + dim + 1, inner);
    SmallVector<int64_t> shape = llvm::to_vector(cast<RankedTensorType>(tensor.getType()).getShape());
    shape[dim] = outer;
    shape.insert(shape.begin() + dim + 1, getConstantIntValue(inner).value_or(ShapedType::kDynamic));
    auto type = RankedTensorType::get(shape, cast<RankedTensorType>(tensor.getType()).getElementType());
    return tensor::ExpandShapeOp::create(b, loc, type, tensor, groups, sizes);
  }
  Value merge(Value tensor, int64_t dim) {
    return tensor::CollapseShapeOp::create(b, loc, tensor, pairing(cast<RankedTensorType>(tensor.getType()).getRank() - 1, dim));
  }
  static SmallVector<ReassociationIndices> pairing(int64_t rank, int64_t dim) {
    SmallVector<ReassociationIndices> groups;
    for (int64_t i = 0, next = 0; i < rank; ++i) {
      groups.push_back({next++});
      if (i == dim)
        groups.back().push_back(next++);
    }
    return groups;
  }

  // Moves a dim to another place among the dims: a view where it passes dims of 1 only, else a copy.
  Value move(Value tensor, int64_t from, int64_t to) {
    if (from == to)
      return tensor;
    Sizes sizes = sizesOf(tensor), moved = sizes;
    auto type = cast<RankedTensorType>(tensor.getType());
    int64_t low = std::min(from, to), high = std::max(from, to);
    auto isOne = [&](int64_t dim) { return dim == from || type.getDimSize(dim) == 1; };
    if (llvm::all_of(llvm::seq(low, high + 1), isOne)) {
      SmallVector<int64_t> shape(type.getShape());
      shape.erase(shape.begin() + from);
      shape.insert(shape.begin() + to, type.getDimSize(from));
      moved.erase(moved.begin() + from);
      moved.insert(moved.begin() + to, sizes[from]);
      SmallVector<ReassociationIndices> groups;
      for (int64_t dim = 0; dim < type.getRank(); ++dim) {
        if (dim <= low || dim > high)
          groups.emplace_back();
        groups.back().push_back(dim);
      }
      Value flat = tensor::CollapseShapeOp::create(b, loc, tensor, groups);
      return tensor::ExpandShapeOp::create(b, loc, type.clone(shape), flat, groups, moved);
    }
    SmallVector<AffineExpr> read;
    for (size_t i = 0; i < sizes.size(); ++i)
      read.push_back(b.getAffineDimExpr(i));
    moved.erase(moved.begin() + from);
    moved.insert(moved.begin() + to, sizes[from]);
    // Dim i of what is read is the dim of the result that it has become.
    SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, sizes.size()));
    order.erase(order.begin() + from);
    order.insert(order.begin() + to, from);
    for (auto [place, dim] : llvm::enumerate(order))
      read[dim] = b.getAffineDimExpr(place);
    AffineMap input = AffineMap::get(sizes.size(), 0, read, b.getContext());
    SmallVector<AffineMap> maps{input, b.getMultiDimIdentityMap(sizes.size())};
    SmallVector<utils::IteratorType> iterators(sizes.size(), utils::IteratorType::parallel);
    Value init = empty(moved, tensor);
    return linalg::GenericOp::create(b, loc, init.getType(), tensor, init, maps, iterators,
                                     [](OpBuilder &body, Location l, ValueRange arguments) {
                                       linalg::YieldOp::create(body, l, arguments[0]);
                                     })
        .getResult(0);
  }

  // [.., D, ..] -> [n, .., D / n, ..]
  Value toParts(Value local, const FoundCut &cut) {
    if (cut.filled)
      local = fillUp(local, cut.dim, cut.filled);
    if (cut.segments.size() == 1)
      return move(split(local, cut.dim, cut.parts), cut.dim, 0);
    return bySegment(cut, cut.dim + 1, [&](int64_t offset, int64_t length) {
      Value piece = slice(local, cut.dim, b.getIndexAttr(offset), b.getIndexAttr(length));
      return move(split(piece, cut.dim, cut.parts), cut.dim, 0);
    });
  }
  // And back.
  Value fromParts(Value parts, const FoundCut &cut) {
    if (cut.segments.size() == 1) {
      Value whole = merge(move(parts, 0, cut.dim), cut.dim);
      return cut.filled ? slice(whole, cut.dim, b.getIndexAttr(0), cut.extent) : whole;
    }
    return bySegment(cut, cut.dim, [&](int64_t offset, int64_t length) {
      Value piece = slice(parts, cut.dim + 1, b.getIndexAttr(offset / cut.parts), b.getIndexAttr(length / cut.parts));
      return merge(move(piece, 0, cut.dim), cut.dim);
    });
  }

  OpBuilder &b;
  Location loc;
  const Sizes extents; // of the tensor as a whole
  const MeshExtents &mesh;
};
} // namespace

// In how many parts a dim is cut, and whether it is filled up for that.
static std::pair<int64_t, bool> partsOf(int64_t dim, const TensorLayout &layout, const MeshExtents &mesh) {
  int64_t parts = 1;
  bool filled = false;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (layout[axis].kind == AxisLayout::Cut && layout[axis].dim == dim) {
      parts *= mesh[axis];
      filled |= isFilled(layout[axis], axis, mesh);
    }
  return {parts, filled};
}

RankedTensorType snug::localType(RankedTensorType whole, const TensorLayout &layout, const MeshExtents &mesh) {
  SmallVector<int64_t> shape(whole.getShape());
  for (auto [dim, extent] : llvm::enumerate(shape))
    if (auto [parts, filled] = partsOf(dim, layout, mesh); !ShapedType::isDynamic(extent))
      extent = (filled ? filledExtent(extent, mesh) : extent) / parts;
  return RankedTensorType::get(shape, whole.getElementType());
}

OpFoldResult snug::localExtent(OpBuilder &b, Location loc, OpFoldResult whole, int64_t dim, const TensorLayout &layout,
                               const MeshExtents &mesh) {
  auto [parts, filled] = partsOf(dim, layout, mesh);
  if (parts == 1)
    return whole;
  int64_t devices = mesh[0] * mesh[1];
  AffineExpr extent = b.getAffineSymbolExpr(0);
  // Parts of what is filled up: as many of all devices' as this one has.
  AffineExpr local = filled ? extent.ceilDiv(devices) * (devices / parts) : extent.floorDiv(parts);
  return affine::makeComposedFoldedAffineApply(b, loc, local, {whole});
}

Value snug::reshard(OpBuilder &builder, Location loc, Value local, ArrayRef<OpFoldResult> extents, const TensorLayout &from,
                    const TensorLayout &to, const MeshExtents &mesh) {
  Resharding steps(builder, loc, Sizes(extents), mesh);
  TensorLayout now = from;
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    local = steps.apply(step, local, now);
    now = after(now, step);
  }
  return local;
}
