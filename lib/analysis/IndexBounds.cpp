// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/IndexBounds.h"
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

namespace {
using Bound = std::optional<Interval>;

// An interval from the corners of an operation that is monotonic in each argument; overflow makes it unknown.
template <class Fn> Bound corners(Bound a, Bound b, Fn fn) {
  if (!a || !b)
    return std::nullopt;
  Bound result;
  for (int64_t x : {a->min, a->max})
    for (int64_t y : {b->min, b->max}) {
      std::optional<int64_t> value = fn(x, y);
      if (!value)
        return std::nullopt;
      result =
          result ? Interval{std::min(result->min, *value), std::max(result->max, *value)} : Interval{*value, *value};
    }
  return result;
}
Bound add(Bound a, Bound b) { return corners(a, b, llvm::checkedAdd<int64_t>); }
Bound sub(Bound a, Bound b) { return corners(a, b, llvm::checkedSub<int64_t>); }
Bound mul(Bound a, Bound b) { return corners(a, b, llvm::checkedMul<int64_t>); }
Bound positive(Bound b) { return b && b->min >= 1 ? b : std::nullopt; }
Bound floorDiv(Bound a, Bound b) {
  return corners(a, positive(b), [](int64_t x, int64_t y) { return std::optional(llvm::divideFloorSigned(x, y)); });
}
Bound ceilDiv(Bound a, Bound b) {
  return corners(a, positive(b), [](int64_t x, int64_t y) { return std::optional(llvm::divideCeilSigned(x, y)); });
}
Bound truncDiv(Bound a, Bound b) {
  return corners(a, positive(b), [](int64_t x, int64_t y) { return std::optional(x / y); });
}
// Also known where only the divisor or only one side is: sizes of chunks are min(chunk, what is left).
Bound remainder(Bound a, Bound b) {
  if (!(b = positive(b)))
    return std::nullopt;
  if (a && a->min >= 0)
    return Interval{0, std::min(a->max, b->max - 1)};
  return Interval{1 - b->max, b->max - 1};
}
Bound minimum(Bound a, Bound b) {
  return corners(a, b, [](int64_t x, int64_t y) { return std::optional(std::min(x, y)); });
}
Bound maximum(Bound a, Bound b) {
  return corners(a, b, [](int64_t x, int64_t y) { return std::optional(std::max(x, y)); });
}
Bound join(Bound a, Bound b) {
  if (!a || !b)
    return std::nullopt;
  return Interval{std::min(a->min, b->min), std::max(a->max, b->max)};
}

Bound ofAffine(AffineExpr expr, ArrayRef<Bound> dims, ArrayRef<Bound> symbols) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return Interval{constant.getValue(), constant.getValue()};
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return symbols[symbol.getPosition()];
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Bound a = ofAffine(binary.getLHS(), dims, symbols), b = ofAffine(binary.getRHS(), dims, symbols);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return add(a, b);
  case AffineExprKind::Mul:
    return mul(a, b);
  case AffineExprKind::FloorDiv:
    return floorDiv(a, b);
  case AffineExprKind::CeilDiv:
    return ceilDiv(a, b);
  default: // mod is never negative
    return positive(b) ? Bound(Interval{0, a && a->min >= 0 ? std::min(a->max, b->max - 1) : b->max - 1})
                       : std::nullopt;
  }
}

// sum := product (('+' | '-') product)*, product := atom (('*' | '/') atom)*,
// atom := int | name | '(' sum ')' | ('max' | 'min') '(' sum ',' sum ')'
struct ExpressionParser {
  StringRef rest;
  const llvm::StringMap<Interval> &dims;
  int depth = 0;

  bool eat(char c) {
    rest = rest.ltrim();
    return rest.consume_front(StringRef(&c, 1));
  }
  Bound atom() {
    rest = rest.ltrim();
    bool larger = rest.consume_front("max("), smaller = !larger && rest.consume_front("min(");
    if (larger || smaller || eat('(')) {
      if (++depth > 64) // untrusted text: no deep recursion
        return std::nullopt;
      Bound inner = sum();
      if (inner && (larger || smaller))
        inner = !eat(',') ? std::nullopt : larger ? maximum(inner, sum()) : minimum(inner, sum());
      --depth;
      return eat(')') ? inner : std::nullopt;
    }
    rest = rest.ltrim();
    StringRef word = rest.take_while([](char c) { return llvm::isAlnum(c) || c == '_' || c == '.' || c == ':'; });
    rest = rest.drop_front(word.size());
    int64_t number;
    if (!word.getAsInteger(10, number))
      return Interval{number, number};
    auto found = dims.find(word);
    return found == dims.end() ? std::nullopt : Bound(found->second);
  }
  // operand ((first | second) operand)*
  struct Operator {
    char symbol;
    Bound (*apply)(Bound, Bound);
  };
  Bound chain(Bound (ExpressionParser::*operand)(), Operator first, Operator second) {
    Bound value = (this->*operand)();
    while (value) {
      if (eat(first.symbol))
        value = first.apply(value, (this->*operand)());
      else if (eat(second.symbol))
        value = second.apply(value, (this->*operand)());
      else
        break;
    }
    return value;
  }
  Bound product() { return chain(&ExpressionParser::atom, {'*', mul}, {'/', floorDiv}); }
  Bound sum() { return chain(&ExpressionParser::product, {'+', add}, {'-', sub}); }
};
} // namespace

int64_t snug::elementBytes(Type type) {
  if (isa<IndexType>(type))
    return 8;
  if (auto complex = dyn_cast<ComplexType>(type))
    return 2 * elementBytes(complex.getElementType());
  return type.isIntOrFloat() ? static_cast<int64_t>(llvm::divideCeil(type.getIntOrFloatBitWidth(), 8)) : 0;
}

IndexBounds::IndexBounds(ModuleOp module, ArrayRef<int64_t> atMost) {
  if (auto around = module ? Mesh::of(module) : FailureOr<std::optional<Mesh>>(failure()); succeeded(around) && *around)
    mesh = (*around)->extents;
  auto attr = module ? module->getAttrOfType<ArrayAttr>("snug.dims") : ArrayAttr();
  if (!attr)
    return;
  for (auto [index, dim] : llvm::enumerate(attr.getAsRange<DictionaryAttr>())) {
    auto name = dim.getAs<StringAttr>("name");
    auto min = dim.getAs<IntegerAttr>("min"), max = dim.getAs<IntegerAttr>("max");
    if (name && min && max)
      dims[name.getValue()] = {min.getInt(), index < atMost.size() ? std::min(max.getInt(), atMost[index]) : max.getInt()};
  }
}

Bound IndexBounds::ofExpression(StringRef text) {
  // A dim may carry the very name of an expression.
  if (auto found = dims.find(text.trim()); found != dims.end())
    return found->second;
  ExpressionParser parser{text, dims};
  Bound value = parser.sum();
  return parser.rest.trim().empty() ? value : std::nullopt;
}

Bound IndexBounds::of(Value value) {
  auto [entry, inserted] = cache.try_emplace(value, std::nullopt); // nullopt also ends cycles through loops
  if (!inserted)
    return entry->second;
  Bound result = compute(value);
  cache[value] = result;
  return result;
}

Bound IndexBounds::compute(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp());
    if (!loop || argument != loop.getInductionVar())
      return std::nullopt;
    Bound low = of(loop.getLowerBound()), high = sub(of(loop.getUpperBound()), Interval{1, 1});
    return low && high ? Bound(Interval{low->min, std::max(low->min, high->max)}) : std::nullopt;
  }
  Operation *op = value.getDefiningOp();
  auto operand = [&](unsigned i) { return of(op->getOperand(i)); };
  // Where data is cut off at a bound, nothing is known of it before.
  auto orAny = [](Bound bound) {
    return bound ? bound : Bound(Interval{std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()});
  };
  auto ofMap = [&](AffineMap map, Bound (*merge)(Bound, Bound)) -> Bound {
    SmallVector<Bound> all = llvm::map_to_vector(op->getOperands(), [&](Value v) { return of(v); });
    ArrayRef<Bound> inputs = all;
    Bound merged;
    bool first = true;
    for (AffineExpr expr : map.getResults()) {
      Bound b = ofAffine(expr, inputs.take_front(map.getNumDims()), inputs.drop_front(map.getNumDims()));
      merged = first ? b : merge(merged, b);
      first = false;
    }
    return merged;
  };
  return llvm::TypeSwitch<Operation *, Bound>(op)
      .Case<arith::ConstantOp>([&](auto constant) -> Bound {
        auto integer = dyn_cast<IntegerAttr>(constant.getValue());
        if (!integer || integer.getValue().getSignificantBits() > 64)
          return std::nullopt;
        return Interval{integer.getValue().getSExtValue(), integer.getValue().getSExtValue()};
      })
      .Case<tensor::DimOp, memref::DimOp>([&](auto dim) -> Bound {
        std::optional<int64_t> index = dim.getConstantIndex();
        return index ? ofDim(dim.getSource(), *index) : std::nullopt;
      })
      .Case<tensor::ExtractOp, memref::LoadOp>([&](Operation *) { return ofElement(op); })
      .Case<mesh::IndexOp>([&](auto index) -> Bound {
        return mesh ? Bound(Interval{0, (*mesh)[index.getAxis()] - 1}) : std::nullopt;
      })
      .Case<arith::AddIOp>([&](auto) { return add(operand(0), operand(1)); })
      .Case<arith::SubIOp>([&](auto) { return sub(operand(0), operand(1)); })
      .Case<arith::MulIOp>([&](auto) { return mul(operand(0), operand(1)); })
      .Case<arith::DivSIOp>([&](auto) { return truncDiv(operand(0), operand(1)); })
      .Case<arith::FloorDivSIOp>([&](auto) { return floorDiv(operand(0), operand(1)); })
      .Case<arith::CeilDivSIOp>([&](auto) { return ceilDiv(operand(0), operand(1)); })
      .Case<arith::RemSIOp>([&](auto) { return remainder(operand(0), operand(1)); })
      .Case<arith::MinSIOp>([&](auto) { return minimum(orAny(operand(0)), orAny(operand(1))); })
      .Case<arith::MaxSIOp>([&](auto) { return maximum(orAny(operand(0)), orAny(operand(1))); })
      .Case<arith::DivUIOp, arith::CeilDivUIOp, arith::RemUIOp, arith::MinUIOp, arith::MaxUIOp>(
          [&](Operation *) -> Bound {
            Bound a = operand(0), b = operand(1); // the same as signed where both are known not to be negative
            if (!a || !b || a->min < 0 || b->min < 0)
              return std::nullopt;
            if (isa<arith::DivUIOp>(op))
              return floorDiv(a, b);
            if (isa<arith::CeilDivUIOp>(op))
              return ceilDiv(a, b);
            if (isa<arith::RemUIOp>(op))
              return remainder(a, b);
            return isa<arith::MinUIOp>(op) ? minimum(a, b) : maximum(a, b);
          })
      .Case<arith::IndexCastOp, arith::ExtSIOp>([&](Operation *) { return operand(0); })
      .Case<arith::SelectOp>([&](auto) { return join(operand(1), operand(2)); })
      .Case<affine::AffineApplyOp>([&](auto apply) { return ofMap(apply.getAffineMap(), minimum); })
      .Case<affine::AffineMinOp>([&](auto min) { return ofMap(min.getAffineMap(), minimum); })
      .Case<affine::AffineMaxOp>([&](auto max) { return ofMap(max.getAffineMap(), maximum); })
      .Default([](Operation *) { return std::nullopt; });
}

// An element of an input is known where it is a dim.
Bound IndexBounds::ofElement(Operation *op) {
  auto argument = dyn_cast<BlockArgument>(op->getOperand(0));
  auto function = argument ? dyn_cast<FunctionOpInterface>(argument.getOwner()->getParentOp()) : nullptr;
  auto names = function ? function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kValueDims) : ArrayAttr();
  std::optional<int64_t> place = op->getNumOperands() > 1 ? getConstantIntValue(op->getOperand(1)) : 0;
  if (!names || !place || *place < 0 || *place >= static_cast<int64_t>(names.size()) || op->getNumOperands() > 2)
    return std::nullopt;
  auto found = dims.find(cast<StringAttr>(names[*place]).getValue());
  return found == dims.end() ? std::nullopt : Bound(found->second);
}

Bound IndexBounds::ofDim(Value shaped, int64_t dim) {
  auto type = cast<ShapedType>(shaped.getType());
  if (!type.hasRank() || dim < 0 || dim >= type.getRank())
    return std::nullopt;
  if (!type.isDynamicDim(dim))
    return Interval{type.getDimSize(dim), type.getDimSize(dim)};
  auto ofMixed = [&](OpFoldResult size) -> Bound {
    if (auto attr = dyn_cast<Attribute>(size))
      return Interval{cast<IntegerAttr>(attr).getInt(), cast<IntegerAttr>(attr).getInt()};
    return of(cast<Value>(size));
  };
  if (auto argument = dyn_cast<BlockArgument>(shaped)) {
    Operation *parent = argument.getOwner()->getParentOp();
    if (auto loop = dyn_cast<scf::ForOp>(parent))
      return ofDim(loop.getTiedLoopInit(argument)->get(), dim); // a loop keeps the shape of what it carries
    auto function = dyn_cast<FunctionOpInterface>(parent);
    if (!function)
      return std::nullopt;
    auto names = function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims");
    if (!names || static_cast<int64_t>(names.size()) != type.getRank())
      return std::nullopt;
    auto name = dyn_cast<StringAttr>(names[dim]);
    return name ? ofExpression(name.getValue()) : std::nullopt;
  }
  Operation *op = shaped.getDefiningOp();
  auto dynamicSize = [&](ValueRange sizes) { return of(sizes[type.getDynamicDimIndex(dim)]); };
  return llvm::TypeSwitch<Operation *, Bound>(op)
      .Case<tensor::EmptyOp, memref::AllocOp, bufferization::AllocTensorOp>(
          [&](auto empty) { return dynamicSize(empty.getDynamicSizes()); })
      .Case<memref::ViewOp>([&](auto view) { return dynamicSize(view.getSizes()); })
      .Case<tensor::CastOp, memref::CastOp>([&](auto cast) { return ofDim(cast.getSource(), dim); })
      .Case<mesh::PinOp>([&](auto pin) { return ofDim(pin.getInput(), dim); })
      .Case<tensor::ExpandShapeOp, memref::ExpandShapeOp>(
          [&](auto expand) { return ofMixed(expand.getMixedOutputShape()[dim]); })
      .Case<tensor::CollapseShapeOp, memref::CollapseShapeOp>([&](auto collapse) {
        Bound product = Interval{1, 1};
        SmallVector<ReassociationIndices> groups = collapse.getReassociationIndices(); // outlives the loop
        for (int64_t source : groups[dim])
          product = mul(product, ofDim(collapse.getSrc(), source));
        return product;
      })
      .Case<tensor::ExtractSliceOp, memref::SubViewOp>([&](auto slice) -> Bound {
        // A slice may drop unit dims; the kept ones stand in order.
        llvm::SmallBitVector dropped = slice.getDroppedDims();
        int64_t kept = -1;
        for (auto [i, size] : llvm::enumerate(slice.getMixedSizes()))
          if (!dropped.test(i) && ++kept == dim)
            return ofMixed(size);
        return std::nullopt;
      })
      .Case<scf::ForOp>(
          [&](auto loop) { return ofDim(loop.getInitArgs()[cast<OpResult>(shaped).getResultNumber()], dim); })
      .Case<scf::IfOp>([&](auto branch) {
        unsigned index = cast<OpResult>(shaped).getResultNumber();
        return join(ofDim(branch.thenYield().getOperand(index), dim), ofDim(branch.elseYield().getOperand(index), dim));
      })
      .Default([&](Operation *) -> Bound {
        auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
        OpOperand *init = kernel ? kernel.getTiedOpOperand(cast<OpResult>(shaped)) : nullptr;
        return init ? ofDim(init->get(), dim) : std::nullopt;
      });
}

std::string IndexBounds::symbolOf(Value shaped, int64_t dim) {
  auto type = cast<ShapedType>(shaped.getType());
  if (!type.isDynamicDim(dim))
    return std::to_string(type.getDimSize(dim));
  auto opaque = [](Value value, int64_t part) {
    return "%" + llvm::utohexstr(reinterpret_cast<uintptr_t>(value.getAsOpaquePointer())) + "." + std::to_string(part);
  };
  auto ofMixed = [&](OpFoldResult size) {
    if (auto constant = getConstantIntValue(size))
      return std::to_string(*constant);
    auto value = cast<Value>(size);
    if (auto inner = value.getDefiningOp<tensor::DimOp>(); inner && inner.getConstantIndex())
      return symbolOf(inner.getSource(), *inner.getConstantIndex());
    return opaque(value, 0);
  };
  if (auto argument = dyn_cast<BlockArgument>(shaped)) {
    if (auto function = dyn_cast<FunctionOpInterface>(argument.getOwner()->getParentOp()))
      if (auto texts = function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
        if (auto text = dim < static_cast<int64_t>(texts.size()) ? dyn_cast<StringAttr>(texts[dim]) : StringAttr())
          return text.str();
    return opaque(shaped, dim);
  }
  return llvm::TypeSwitch<Operation *, std::string>(shaped.getDefiningOp())
      .Case<tensor::EmptyOp>([&](auto empty) { return ofMixed(empty.getMixedSizes()[dim]); })
      .Case<tensor::CastOp>([&](auto cast) { return symbolOf(cast.getSource(), dim); })
      .Case<mesh::PinOp>([&](auto pin) { return symbolOf(pin.getInput(), dim); })
      .Case<tensor::ExpandShapeOp>([&](auto expand) { return ofMixed(expand.getMixedOutputShape()[dim]); })
      .Case<tensor::CollapseShapeOp>([&](auto collapse) {
        std::string product;
        SmallVector<ReassociationIndices> groups = collapse.getReassociationIndices(); // outlives the loop
        for (int64_t source : groups[dim])
          if (std::string factor = symbolOf(collapse.getSrc(), source); factor != "1")
            product += (product.empty() ? "" : "*") + factor;
        return product;
      })
      .Case<tensor::ExtractSliceOp>([&](auto slice) {
        llvm::SmallBitVector dropped = slice.getDroppedDims();
        int64_t kept = -1;
        for (auto [i, size] : llvm::enumerate(slice.getMixedSizes()))
          if (!dropped.test(i) && ++kept == dim)
            return ofMixed(size);
        return opaque(slice, dim);
      })
      .Case<scf::ForOp>([&](auto loop) {
        return symbolOf(loop.getInitArgs()[cast<OpResult>(shaped).getResultNumber()], dim);
      })
      .Default([&](Operation *op) {
        auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
        OpOperand *init = kernel ? kernel.getTiedOpOperand(cast<OpResult>(shaped)) : nullptr;
        return init ? symbolOf(init->get(), dim) : opaque(shaped, dim);
      });
}

std::optional<int64_t> IndexBounds::bytes(ShapedType type, ValueRange dynamicSizes) {
  std::optional<int64_t> total = elementBytes(type.getElementType());
  if (*total == 0)
    return std::nullopt;
  auto next = dynamicSizes.begin();
  for (int64_t extent : type.getShape()) {
    if (ShapedType::isDynamic(extent)) {
      Bound bound = of(*next++);
      if (!bound)
        return std::nullopt;
      extent = std::max<int64_t>(bound->max, 0);
    }
    if (!(total = llvm::checkedMul<int64_t>(*total, extent)))
      return std::nullopt;
  }
  return total;
}

std::optional<int64_t> snug::tensorBytes(Value value, IndexBounds &bounds) {
  auto type = cast<ShapedType>(value.getType());
  int64_t bytes = elementBytes(type.getElementType());
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    std::optional<Interval> extent = bounds.ofDim(value, dim);
    if (!extent || extent->max < 0 || llvm::MulOverflow(bytes, extent->max, bytes))
      return std::nullopt;
  }
  return bytes;
}
