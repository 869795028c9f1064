// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What more than one family of ops is lowered with: elementwise ops, and ops that move elements.
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "passes/canonicalize/Lowering.h"

using namespace mlir;
using namespace snug;

Value Lowering::scalarOf(OpBuilder &builder, Location l, AffineExpr expr, Type elementType) {
  elementType = storedAs(elementType);
  if (auto number = dyn_cast<AffineConstantExpr>(expr)) {
    APInt value = APInt(64, number.getValue(), /*isSigned=*/true).trunc(elementType.getIntOrFloatBitWidth());
    return arith::ConstantOp::create(builder, l, IntegerAttr::get(elementType, value));
  }
  SmallVector<Value> indices;
  unsigned used = 0;
  expr.walk([&](AffineExpr e) {
    if (auto dim = dyn_cast<AffineDimExpr>(e))
      used = std::max(used, dim.getPosition() + 1);
  });
  for (unsigned dim = 0; dim < used; ++dim)
    indices.push_back(expr.isFunctionOfDim(dim) ? Value(linalg::IndexOp::create(builder, l, dim)) : Value());
  Value value = affine::expandAffineExpr(builder, l, expr, indices, symbolValues);
  return arith::IndexCastOp::create(builder, l, elementType, value);
}

Value Lowering::generic(ArrayRef<Value> inputs, ArrayRef<AffineMap> maps, ArrayRef<AffineExpr> shape, Type resultType,
                        Body body) {
  SmallVector<AffineMap> allMaps(maps);
  allMaps.push_back(AffineMap::getMultiDimIdentityMap(shape.size(), b.getContext()));
  SmallVector<utils::IteratorType> iterators(shape.size(), utils::IteratorType::parallel);
  Value init = empty(shape, resultType);
  auto op = linalg::GenericOp::create(b, loc(), init.getType(), inputs, init, allMaps, iterators,
                                      [&](OpBuilder &builder, Location l, ValueRange args) {
                                        Value value = body(builder, l, args.drop_back());
                                        linalg::YieldOp::create(builder, l, value);
                                      });
  return op.getResult(0);
}

std::optional<LoweredValue> Lowering::elementwiseConstants(ArrayRef<LoweredValue *> inputs, ArrayRef<AffineExpr> shape,
                                                           Type resultType, function_ref<TypedAttr(ArrayRef<TypedAttr>)> computed) {
  if (!resultType.isIntOrFloat() || storedAs(resultType) != resultType)
    return std::nullopt;
  std::vector<SmallVector<Attribute>> elements;
  for (LoweredValue *in : inputs)
    if (auto known = constantElements(*in))
      elements.push_back(*known);
    else
      return std::nullopt;
  // Row-major places, of inputs where they are repeated along dims of one.
  SmallVector<Attribute> results;
  auto sizeOf = [](AffineExpr extent) { return cast<AffineConstantExpr>(extent).getValue(); };
  int64_t count = 1;
  for (AffineExpr extent : shape)
    count *= sizeOf(extent);
  constexpr int64_t kMost = 64;
  if (count == 0 || count > kMost)
    return std::nullopt;
  for (int64_t place = 0; place < count; ++place) {
    SmallVector<TypedAttr> scalars;
    for (auto [in, own] : llvm::zip_equal(inputs, elements)) {
      int64_t rest = place, at = 0, stride = 1;
      for (int64_t back = 1; back <= in->rank(); ++back) {
        int64_t size = sizeOf(in->shape[in->rank() - back]), whole = sizeOf(shape[shape.size() - back]);
        at += size == 1 ? 0 : rest % whole * stride;
        rest /= whole;
        stride *= size;
      }
      scalars.push_back(cast<TypedAttr>(own[at]));
    }
    TypedAttr result = computed(scalars);
    if (!result || result.getType() != resultType)
      return std::nullopt;
    results.push_back(result);
  }
  return constantValue(results, shape, resultType);
}

FailureOr<LoweredValue> Lowering::elementwise(ArrayRef<LoweredValue *> inputs, Type resultType, Body body) {
  Extents shape;
  for (LoweredValue *in : inputs) {
    auto merged = broadcast(shape, in->shape);
    if (!merged)
      return failure();
    shape = *merged;
  }
  // Constants stay constants.
  auto computed = [&](ArrayRef<TypedAttr> scalars) {
    OpBuilder::InsertionGuard guard(b);
    SmallVector<Value> values;
    for (TypedAttr scalar : scalars)
      values.push_back(arith::ConstantOp::create(b, loc(), scalar));
    Attribute result;
    return matchPattern(body(b, loc(), values), m_Constant(&result)) ? dyn_cast<TypedAttr>(result) : TypedAttr();
  };
  if (llvm::all_of(inputs, [](LoweredValue *in) { return in->splat != nullptr; })) {
    if (TypedAttr known = computed(llvm::map_to_vector(inputs, [](LoweredValue *in) { return in->splat; })))
      return splatValue(known, shape, resultType);
  } else if (auto known = elementwiseConstants(inputs, shape, resultType, computed)) {
    return *known;
  }
  SmallVector<Value> operands;
  SmallVector<AffineMap> maps;
  SmallVector<int> operandOf; // per input: operand number or -1
  for (LoweredValue *in : inputs) {
    bool inBody = in->splat || (in->isClosed() && !in->closedVector);
    if (inBody) {
      operandOf.push_back(-1);
      continue;
    }
    SmallVector<AffineExpr> exprs;
    int64_t shift = shape.size() - in->shape.size();
    for (auto [index, extent] : llvm::enumerate(in->shape))
      exprs.push_back(extent == constant(1) && shape[shift + index] != constant(1)
                          ? constant(0)
                          : getAffineDimExpr(shift + index, b.getContext()));
    operandOf.push_back(operands.size());
    operands.push_back(tensor(*in));
    maps.push_back(AffineMap::get(shape.size(), 0, exprs, b.getContext()));
  }
  auto wrapped = [&](OpBuilder &builder, Location l, ValueRange args) -> Value {
    SmallVector<Value> scalars;
    for (auto [in, operand] : llvm::zip(inputs, operandOf)) {
      if (operand >= 0)
        scalars.push_back(args[operand]);
      else if (in->splat)
        scalars.push_back(arith::ConstantOp::create(builder, l, in->splat));
      else
        scalars.push_back(scalarOf(builder, l, in->closed[0].shiftDims(in->rank(), shape.size() - in->rank()),
                                   in->elementType));
    }
    return body(builder, l, scalars);
  };
  return tensorValue(generic(operands, maps, shape, resultType, wrapped), shape, resultType);
}

Value Lowering::withRecipeStep(nn::WeightOp weight, Attribute step, ArrayRef<int64_t> shape) {
  SmallVector<Attribute> steps(weight.getRecipe().getValue());
  steps.push_back(step);
  auto type = RankedTensorType::get(shape, cast<ShapedType>(weight.getType()).getElementType());
  return nn::WeightOp::create(b, loc(), type, weight.getDataAttr(), b.getArrayAttr(steps));
}

FailureOr<LoweredValue> Lowering::transpose(LoweredValue &value, ArrayRef<int64_t> permutation) {
  Extents shape;
  for (int64_t dim : permutation)
    shape.push_back(value.shape[dim]);
  if (value.splat)
    return splatValue(value.splat, shape, value.elementType);
  if (auto elements = value.table.empty() ? std::nullopt : table(value)) {
    SmallVector<int64_t> sizes, strides(permutation.size(), 1);
    for (AffineExpr extent : shape)
      sizes.push_back(cast<AffineConstantExpr>(extent).getValue());
    for (int64_t dim = static_cast<int64_t>(permutation.size()) - 2; dim >= 0; --dim)
      strides[dim] = strides[dim + 1] * elements->second[dim + 1];
    Extents moved;
    for (int64_t i = 0, count = value.table.size(); i < count; ++i) {
      int64_t rest = i, place = 0;
      for (int64_t dim = static_cast<int64_t>(permutation.size()) - 1; dim >= 0; --dim) {
        place += rest % sizes[dim] * strides[permutation[dim]];
        rest /= sizes[dim];
      }
      moved.push_back(value.table[place]);
    }
    return tableValue(value.elementType, moved, sizes);
  }
  if (auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr)
    return tensorValue(withRecipeStep(weight, nn::RecipeTransposeAttr::get(b.getContext(), permutation),
                                      tensorType(shape, value.elementType).getShape()),
                       shape, value.elementType);
  // input[inverse(d)]: source dim permutation[i] is read at result index i.
  SmallVector<AffineExpr> exprs(permutation.size());
  for (auto [result, source] : llvm::enumerate(permutation))
    exprs[source] = getAffineDimExpr(result, b.getContext());
  if (value.isClosed() && !value.closedVector) {
    LoweredValue out;
    out.elementType = value.elementType;
    out.shape = shape;
    out.closed = {value.closed[0].replaceDims(exprs)};
    return out;
  }
  Value in = tensor(value);
  auto map = AffineMap::get(permutation.size(), 0, exprs, b.getContext());
  return tensorValue(generic({in}, {map}, shape, value.elementType,
                             [](OpBuilder &, Location, ValueRange args) -> Value { return args[0]; }),
                     shape, value.elementType);
}

LoweredValue Lowering::slice(LoweredValue &value, ArrayRef<AffineExpr> offsets, ArrayRef<AffineExpr> sizes,
                             ArrayRef<int64_t> steps) {
  bool whole = llvm::equal(sizes, value.shape) && llvm::all_of(offsets, [&](AffineExpr e) { return e == constant(0); }) &&
               llvm::all_of(steps, [](int64_t s) { return s == 1; });
  if (whole)
    return value;
  if (value.splat)
    return splatValue(value.splat, Extents(sizes), value.elementType);
  if (llvm::is_contained(sizes, constant(0))) // wherever it begins
    return splatValue(numberAttr(value.elementType, 0), Extents(sizes), value.elementType);
  if (value.isClosed() && !value.closedVector) {
    SmallVector<AffineExpr> read;
    for (auto [dim, offset] : llvm::enumerate(offsets))
      read.push_back(getAffineDimExpr(dim, b.getContext()) * steps[dim] + offset);
    LoweredValue out;
    out.elementType = value.elementType;
    out.shape = Extents(sizes);
    out.closed = {value.closed[0].replaceDims(read)};
    return out;
  }
  bool unit = llvm::all_of(steps, [](int64_t s) { return s == 1; });
  auto allConstant = [](ArrayRef<AffineExpr> exprs) {
    return llvm::all_of(exprs, [](AffineExpr e) { return isa<AffineConstantExpr>(e); });
  };
  if (auto elements = value.rank() == 1 && unit && allConstant(offsets) && allConstant(sizes) ? list(value) : std::nullopt)
    return intsValue(value.elementType, Extents(ArrayRef(*elements).slice(cast<AffineConstantExpr>(offsets[0]).getValue(),
                                                                          cast<AffineConstantExpr>(sizes[0]).getValue())));
  if (auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr;
      weight && unit && allConstant(offsets) && allConstant(sizes)) {
    auto numbers = [](ArrayRef<AffineExpr> exprs) {
      return llvm::map_to_vector(exprs, [](AffineExpr e) { return cast<AffineConstantExpr>(e).getValue(); });
    };
    return tensorValue(withRecipeStep(weight, nn::RecipeSliceAttr::get(b.getContext(), numbers(offsets), numbers(sizes)),
                                      numbers(sizes)),
                       Extents(sizes), value.elementType);
  }
  SmallVector<OpFoldResult> o, s, t;
  for (auto [offset, size, step] : llvm::zip(offsets, sizes, steps)) {
    o.push_back(fold(offset));
    s.push_back(fold(size));
    t.push_back(b.getIndexAttr(step));
  }
  return tensorValue(tensor::ExtractSliceOp::create(b, loc(), tensor(value), o, s, t), Extents(sizes),
                     value.elementType);
}

FailureOr<LoweredValue> Lowering::concat(MutableArrayRef<LoweredValue> parts, int64_t axis) {
  Type elementType = parts[0].elementType;
  Extents shape = parts[0].shape;
  int64_t rank = shape.size();
  // Shape lists.
  Extents elements;
  bool lists = rank == 1;
  for (LoweredValue &part : parts) {
    auto own = lists && part.rank() == 1 ? list(part) : std::nullopt;
    if ((lists = own.has_value()))
      llvm::append_range(elements, *own);
  }
  if (lists)
    return intsValue(elementType, elements);
  // Grids side by side along a last dim of 1 each: an index tuple for GatherND.
  bool grids = axis == rank - 1;
  for (LoweredValue &part : parts)
    grids &= part.isClosed() && !part.closedVector && part.shape.back() == constant(1);
  for (LoweredValue &part : parts.drop_front()) {
    for (int64_t dim = 0; dim < rank; ++dim)
      if (part.rank() != rank || (dim != axis && !same(part.shape[dim], shape[dim]))) {
        error() << "shapes " << print(parts[0].shape) << " and " << print(part.shape) << " differ outside axis " << axis;
        return failure();
      }
    if (part.elementType != elementType) {
      error() << "parts of element types " << nameOf(elementType) << " and " << nameOf(part.elementType);
      return failure();
    }
    shape[axis] = shape[axis] + part.shape[axis];
  }
  if (grids) {
    LoweredValue out;
    out.elementType = elementType;
    out.shape = shape;
    for (LoweredValue &part : parts)
      out.closed.push_back(part.closed[0]);
    out.closedVector = true;
    return out;
  }
  if (parts.size() == 1)
    return parts[0];
  if (rank == 1) { // numbers that shapes are computed from
    SmallVector<Attribute> known;
    if (llvm::all_of(parts, [&](LoweredValue &part) {
          auto own = constantElements(part);
          if (own)
            llvm::append_range(known, *own);
          return own.has_value();
        }))
      return constantValue(known, shape, elementType);
  }
  // Each part is copied into its place of the result.
  Value result = empty(shape, elementType);
  AffineExpr offset = constant(0);
  for (LoweredValue &part : parts) {
    if (part.shape[axis] == constant(0))
      continue;
    SmallVector<OpFoldResult> offsets(rank, b.getIndexAttr(0)), strides(rank, b.getIndexAttr(1));
    offsets[axis] = fold(offset);
    SmallVector<OpFoldResult> sizes = llvm::map_to_vector(part.shape, [&](AffineExpr e) { return fold(e); });
    result = tensor::InsertSliceOp::create(b, loc(), tensor(part), result, offsets, sizes, strides);
    offset = offset + part.shape[axis];
  }
  return tensorValue(result, shape, elementType);
}

FailureOr<LoweredValue> Lowering::pad(LoweredValue &value, ArrayRef<AffineExpr> before, ArrayRef<AffineExpr> after,
                                      TypedAttr filling) {
  AffineExpr zero = constant(0);
  auto isZero = [&](AffineExpr e) { return e == zero; };
  if (llvm::all_of(before, isZero) && llvm::all_of(after, isZero))
    return value;
  Extents shape;
  SmallVector<OpFoldResult> offsets, sizes, strides(value.rank(), b.getIndexAttr(1));
  for (auto [extent, low, high] : llvm::zip_equal(value.shape, before, after)) {
    if (!requireAtLeast(low, constant(0)) || !requireAtLeast(high, constant(0))) {
      error() << "pads " << dims.print(low) << " and " << dims.print(high) << " may be negative";
      return failure();
    }
    shape.push_back(normalExtent(extent + low + high)); // its bound is that of the buffer
    offsets.push_back(fold(low));
    sizes.push_back(fold(extent));
  }
  if (value.splat && value.splat == filling)
    return splatValue(filling, shape, value.elementType);
  Value scalar = arith::ConstantOp::create(b, loc(), filling);
  Value filled = linalg::FillOp::create(b, loc(), scalar, empty(shape, value.elementType)).getResult(0);
  return tensorValue(tensor::InsertSliceOp::create(b, loc(), tensor(value), filled, offsets, sizes, strides), shape,
                     value.elementType);
}
