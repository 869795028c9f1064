// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Resharding.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace snug;

namespace {
using Sizes = SmallVector<OpFoldResult>;

// The steps of one change of layout. Of a tensor in parts the first dim counts the devices of the group.
class Resharding {
public:
  Resharding(OpBuilder &b, Location loc, const MeshExtents &mesh) : b(b), loc(loc), mesh(mesh) {}

  Value apply(const ReshardStep &step, Value local, const std::vector<int64_t> &fromSegments, const std::vector<int64_t> &toSegments) {
    int64_t n = mesh[step.axis];
    SmallVector<int64_t> axes{step.axis};
    switch (step.kind) {
    case ReshardStep::Slice:
      return ownPart(local, step.to.dim, toSegments, n, step.axis);
    case ReshardStep::AllReduce:
      return allReduce(local, axes);
    case ReshardStep::AllReduceBoth:
      return reduceOverBoth(local);
    case ReshardStep::ReduceScatter: {
      Value parts = toParts(local, step.to.dim, toSegments, n);
      Value init = empty(Sizes(ArrayRef(sizesOf(parts)).drop_front()), parts);
      return mesh::ReduceScatterOp::create(b, loc, init.getType(), mesh::Reduction::Sum, axes, parts, init).getResult(0);
    }
    case ReshardStep::AllGather: {
      Sizes sizes = sizesOf(local);
      sizes.insert(sizes.begin(), b.getIndexAttr(n));
      Value init = empty(sizes, local);
      Value parts = mesh::AllGatherOp::create(b, loc, init.getType(), axes, local, init).getResult(0);
      return fromParts(parts, step.from.dim, fromSegments, n);
    }
    case ReshardStep::AllToAll: {
      Value parts = toParts(local, step.to.dim, toSegments, n);
      Value init = empty(sizesOf(parts), parts);
      Value got = mesh::AllToAllOp::create(b, loc, init.getType(), axes, parts, init).getResult(0);
      return fromParts(got, step.from.dim, fromSegments, n);
    }
    }
    llvm_unreachable("all kinds are above");
  }

private:
  Sizes sizesOf(Value tensor) { return tensor::getMixedSizes(b, loc, tensor); }

  Value empty(ArrayRef<OpFoldResult> sizes, Value like) {
    return tensor::EmptyOp::create(b, loc, sizes, cast<RankedTensorType>(like.getType()).getElementType());
  }

  Value slice(Value tensor, int64_t dim, OpFoldResult offset, int64_t length) {
    Sizes sizes = sizesOf(tensor), offsets(sizes.size(), b.getIndexAttr(0)), strides(sizes.size(), b.getIndexAttr(1));
    offsets[dim] = offset;
    sizes[dim] = b.getIndexAttr(length);
    return tensor::ExtractSliceOp::create(b, loc, tensor, offsets, sizes, strides);
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

  // What `make` gives of each segment, whose place and length in `tensor`'s dim it is told, joined along `dim`.
  Value bySegment(ArrayRef<int64_t> segments, int64_t dim, llvm::function_ref<Value(int64_t offset, int64_t length)> make) {
    SmallVector<Value> pieces;
    int64_t offset = 0;
    for (int64_t length : segments) {
      pieces.push_back(make(offset, length));
      offset += length;
    }
    return join(pieces, dim);
  }

  // This device's part of each segment.
  Value ownPart(Value local, int64_t dim, ArrayRef<int64_t> segments, int64_t n, int64_t axis) {
    Value place = mesh::IndexOp::create(b, loc, b.getIndexType(), axis);
    return bySegment(segments, dim, [&](int64_t offset, int64_t length) {
      AffineExpr start = b.getAffineSymbolExpr(0) * (length / n) + offset;
      return slice(local, dim, affine::makeComposedFoldedAffineApply(b, loc, start, OpFoldResult(place)), length / n);
    });
  }

  // A dim taken apart into two, or two made one.
  Value split(Value tensor, int64_t dim, int64_t outer, int64_t inner) {
    Sizes sizes = sizesOf(tensor);
    SmallVector<ReassociationIndices> groups = pairing(sizes.size(), dim);
    sizes[dim] = b.getIndexAttr(outer);
    sizes.insert(sizes.begin() + dim + 1, b.getIndexAttr(inner));
    SmallVector<int64_t> shape = llvm::to_vector(cast<RankedTensorType>(tensor.getType()).getShape());
    shape[dim] = outer;
    shape.insert(shape.begin() + dim + 1, inner);
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
  Value toParts(Value local, int64_t dim, ArrayRef<int64_t> segments, int64_t n) {
    return bySegment(segments, dim + 1, [&](int64_t offset, int64_t length) {
      Value piece = segments.size() == 1 ? local : slice(local, dim, b.getIndexAttr(offset), length);
      return move(split(piece, dim, n, length / n), dim, 0);
    });
  }
  // And back.
  Value fromParts(Value parts, int64_t dim, ArrayRef<int64_t> segments, int64_t n) {
    return bySegment(segments, dim, [&](int64_t offset, int64_t length) {
      Value piece = segments.size() == 1 ? parts : slice(parts, dim + 1, b.getIndexAttr(offset / n), length / n);
      return merge(move(piece, 0, dim), dim);
    });
  }

  OpBuilder &b;
  Location loc;
  const MeshExtents &mesh;
};
} // namespace

RankedTensorType snug::localType(RankedTensorType whole, const TensorLayout &layout, const MeshExtents &mesh) {
  SmallVector<int64_t> shape(whole.getShape());
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (layout[axis].kind == AxisLayout::Cut)
      shape[layout[axis].dim] /= mesh[axis];
  return RankedTensorType::get(shape, whole.getElementType());
}

Value snug::reshard(OpBuilder &builder, Location loc, Value local, const TensorLayout &from, const TensorLayout &to,
                    const MeshExtents &mesh) {
  Resharding steps(builder, loc, mesh);
  TensorLayout now = from;
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    local = steps.apply(step, local, segmentsFor(step.axis, step.from, now, mesh), segmentsFor(step.axis, step.to, now, mesh));
    now = after(now, step);
  }
  return local;
}
