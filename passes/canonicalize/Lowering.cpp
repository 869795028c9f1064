// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

// --- the node at hand ---------------------------------------------------------------------------------------------

bool Lowering::hasInput(unsigned index) {
  return index < current->getNumOperands() && !isa<NoneType>(current->getOperand(index).getType());
}
LoweredValue &Lowering::input(unsigned index) {
  if (hasInput(index))
    return values[current->getOperand(index)];
  if (!isInputMissing)
    error() << "the node has no input " << index << ", which the op needs";
  isInputMissing = true;
  missingValue = splatValue(b.getF32FloatAttr(0), {});
  return missingValue;
}

LogicalResult Lowering::lowerNode(onnx::NodeOp node) {
  current = node;
  isInputMissing = false;
  StringRef type = node.getOpType();
  for (Value operand : node->getOperands())
    if (values[operand].isSequence && !type.contains("Sequence") && type != "Identity")
      return error() << "sequences are supported only where the model takes them apart again";
  LoweringFunction lower = LoweringTable::get().find(node.getDomain(), type, node.getOpset());
  if (!lower) // inside a branch, which was not looked at before
    return error() << "the op of opset " << node.getOpset() << " is not supported";
  LogicalResult result = lower(*this);
  if (failed(result) || isInputMissing)
    return failure();
  for (Value output : node->getResults())
    if (!output.use_empty() && !values.count(output))
      return error() << "output " << cast<OpResult>(output).getResultNumber() << " is not supported";
  return success();
}

int64_t Lowering::intAttr(StringRef name, int64_t fallback) {
  auto value = dyn_cast_or_null<IntegerAttr>(attr(name));
  return value ? value.getInt() : fallback;
}
double Lowering::floatAttr(StringRef name, double fallback) {
  auto value = dyn_cast_or_null<FloatAttr>(attr(name));
  return value ? value.getValueAsDouble() : fallback;
}
StringRef Lowering::stringAttr(StringRef name, StringRef fallback) {
  auto value = dyn_cast_or_null<StringAttr>(attr(name));
  return value ? value.getValue() : fallback;
}
std::optional<SmallVector<int64_t>> Lowering::intsAttr(StringRef name) {
  auto value = dyn_cast_or_null<DenseI64ArrayAttr>(attr(name));
  if (!value)
    return std::nullopt;
  return SmallVector<int64_t>(value.asArrayRef());
}
InFlightDiagnostic Lowering::error() { return emitError(loc()) << current.getOpType() << ": "; }
void Lowering::define(unsigned index, LoweredValue value) {
  if (index < current->getNumResults())
    values[current->getResult(index)] = std::move(value);
}

std::optional<int64_t> Lowering::normalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    error() << "axis " << axis << " is outside a tensor of rank " << rank;
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

// --- values -------------------------------------------------------------------------------------------------------

LoweredValue Lowering::tensorValue(Value tensor, Extents shape) {
  LoweredValue value;
  value.elementType = cast<RankedTensorType>(tensor.getType()).getElementType();
  value.shape = std::move(shape);
  value.tensor = tensor;
  tensorShapes[tensor] = value.shape;
  return value;
}

std::optional<Extents> Lowering::shapeOf(Value tensor) {
  auto known = tensorShapes.find(tensor);
  return known == tensorShapes.end() ? std::nullopt : std::optional<Extents>(known->second);
}

LoweredValue Lowering::weightValue(FlatSymbolRefAttr data, RankedTensorType type) {
  Extents shape;
  for (int64_t size : type.getShape())
    shape.push_back(constant(size));
  return tensorValue(nn::WeightOp::create(b, b.getUnknownLoc(), type, data, b.getArrayAttr({})), shape);
}

LoweredValue Lowering::initializerValue(onnx::InitializerOp initializer, Value onnxValue) {
  if (auto dense = dyn_cast_or_null<DenseElementsAttr>(initializer.getValueAttr()))
    return denseValue(dense, onnxValue);
  auto type = cast<RankedTensorType>(initializer.getType());
  std::string name = ("weight_" + initializer.getSymName()).str();
  OpBuilder::InsertionGuard guard(b);
  if (!module.lookupSymbol<nn::DataOp>(name)) {
    b.setInsertionPoint(initializer);
    nn::DataOp::create(b, initializer.getLoc(), b.getStringAttr(name), TypeAttr::get(type), initializer.getFileAttr(),
                       initializer.getOffsetAttr(), initializer.getLengthAttr(), ElementsAttr());
  }
  b.setInsertionPointToStart(entry);
  return weightValue(FlatSymbolRefAttr::get(b.getContext(), name), type);
}

// Positions (arange, and grids of them) as an expression of the index, if the constant is one.
static std::optional<AffineExpr> positionsOf(DenseElementsAttr value) {
  auto type = cast<RankedTensorType>(value.getType());
  MLIRContext *context = value.getContext();
  SmallVector<int64_t> elements =
      llvm::map_to_vector(value.getValues<APInt>(), [](const APInt &element) { return element.getSExtValue(); });
  SmallVector<int64_t> strides(type.getRank(), 1), steps(type.getRank(), 0);
  for (int64_t dim = type.getRank() - 2; dim >= 0; --dim)
    strides[dim] = strides[dim + 1] * type.getDimSize(dim + 1);
  AffineExpr expr = getAffineConstantExpr(elements[0], context);
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    if (type.getDimSize(dim) > 1 && llvm::SubOverflow(elements[strides[dim]], elements[0], steps[dim]))
      return std::nullopt;
    expr = expr + getAffineDimExpr(dim, context) * steps[dim];
  }
  for (int64_t i = 0, count = elements.size(); i < count; ++i) {
    int64_t expected = elements[0];
    for (int64_t dim = 0; dim < type.getRank(); ++dim) {
      int64_t part;
      if (llvm::MulOverflow(i / strides[dim] % type.getDimSize(dim), steps[dim], part) ||
          llvm::AddOverflow(expected, part, expected))
        return std::nullopt;
    }
    if (elements[i] != expected)
      return std::nullopt;
  }
  return expr;
}

LoweredValue Lowering::denseValue(DenseElementsAttr value, Value onnxValue) {
  auto type = cast<RankedTensorType>(value.getType());
  Extents shape;
  for (int64_t size : type.getShape())
    shape.push_back(constant(size));
  // An empty tensor has no elements to be equal.
  if (value.isSplat() && type.getNumElements() > 0 && !(type.getRank() == 1 && isa<IntegerType>(type.getElementType())))
    return splatValue(cast<TypedAttr>(value.getSplatValue<Attribute>()), shape);
  bool list = isa<IntegerType>(type.getElementType()) && !type.getElementType().isInteger(1) && type.getRank() <= 1;
  if (list && type.getNumElements() <= 64) {
    Extents elements;
    for (const APInt &element : value.getValues<APInt>())
      elements.push_back(constant(element.getSExtValue()));
    return intsValue(type.getElementType(), elements, type.getRank() == 0);
  }
  if (isa<IntegerType>(type.getElementType()) && !type.getElementType().isInteger(1) && type.getNumElements() > 0)
    if (auto positions = positionsOf(value)) {
      LoweredValue result;
      result.elementType = type.getElementType();
      result.shape = shape;
      result.closed = {*positions};
      return result;
    }
  return dataValue(value);
}

LoweredValue Lowering::dataValue(DenseElementsAttr value) {
  auto type = cast<RankedTensorType>(value.getType());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(module.getBody());
  auto name = b.getStringAttr("constant_" + Twine(numDenseData++));
  nn::DataOp::create(b, b.getUnknownLoc(), name, TypeAttr::get(type), StringAttr(), IntegerAttr(), IntegerAttr(), value);
  b.setInsertionPointToStart(entry);
  return weightValue(FlatSymbolRefAttr::get(name), type);
}

std::optional<SmallVector<double>> Lowering::constantFloats(const LoweredValue &value) {
  if (value.rank() > 1)
    return std::nullopt;
  auto count = value.rank() ? dyn_cast<AffineConstantExpr>(value.shape[0]) : cast<AffineConstantExpr>(constant(1));
  if (auto splat = dyn_cast_or_null<FloatAttr>(value.splat); splat && count)
    return SmallVector<double>(count.getValue(), splat.getValueAsDouble());
  auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr;
  auto data = weight && weight.getRecipe().empty() ? module.lookupSymbol<nn::DataOp>(weight.getData()) : nullptr;
  auto dense = data ? dyn_cast_or_null<DenseFPElementsAttr>(data.getValueAttr()) : nullptr;
  if (!dense)
    return std::nullopt;
  return llvm::map_to_vector(dense.getValues<APFloat>(), [](APFloat element) {
    bool lost;
    element.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    return element.convertToDouble();
  });
}

LoweredValue Lowering::splatValue(TypedAttr constant, Extents shape) {
  LoweredValue value;
  value.elementType = constant.getType();
  value.shape = std::move(shape);
  value.splat = constant;
  if (auto integer = dyn_cast<IntegerAttr>(constant); integer && !constant.getType().isInteger(1))
    value.closed = {getAffineConstantExpr(integer.getInt(), b.getContext())};
  return value;
}

LoweredValue Lowering::intsValue(Type elementType, Extents elements, bool scalar) {
  LoweredValue value;
  value.elementType = elementType;
  if (!scalar)
    value.shape = {constant(elements.size())};
  value.closed = std::move(elements);
  value.closedVector = !scalar && value.closed.size() != 1; // one element is an expression like a scalar
  if (value.closed.size() == 1)
    if (auto number = dyn_cast<AffineConstantExpr>(value.closed[0]))
      value.splat = b.getIntegerAttr(elementType, number.getValue());
  return value;
}

std::optional<Extents> Lowering::ints(const LoweredValue &value) {
  if (auto boolean = dyn_cast_or_null<IntegerAttr>(value.splat);
      boolean && value.elementType.isInteger(1) && !value.isClosed() && value.rank() == 0)
    return Extents{constant(boolean.getValue().getZExtValue())};
  if (!value.isClosed() || value.rank() > 1)
    return std::nullopt;
  if (value.rank() == 0 || value.closedVector)
    return value.closed;
  auto count = dyn_cast<AffineConstantExpr>(value.shape[0]);
  if (!count || count.getValue() > 64)
    return std::nullopt;
  Extents elements;
  for (int64_t i = 0; i < count.getValue(); ++i)
    elements.push_back(simplifyAffineExpr(value.closed[0].replaceDims({constant(i)}), 0, dims.symbols().size()));
  return elements;
}

std::optional<Extents> Lowering::list(const LoweredValue &value) {
  bool grid = value.rank() == 1 && value.isClosed() && !value.closedVector && !value.splat && value.shape[0] != constant(1);
  return grid ? std::nullopt : ints(value);
}

std::optional<SmallVector<int64_t>> Lowering::constantInts(const LoweredValue &value) {
  auto elements = ints(value);
  if (!elements)
    return std::nullopt;
  SmallVector<int64_t> result;
  for (AffineExpr element : *elements) {
    auto number = dyn_cast<AffineConstantExpr>(element);
    if (!number)
      return std::nullopt;
    result.push_back(number.getValue());
  }
  return result;
}

Value Lowering::tensor(LoweredValue &value) {
  if (value.tensor)
    return value.tensor;
  if (value.closedVector && value.closed.empty())
    return value.tensor = empty(value.shape, value.elementType);
  if (value.closedVector) {
    // One element a component: selects on the last index.
    auto body = [&](OpBuilder &builder, Location l, ValueRange) -> Value {
      Value last = linalg::IndexOp::create(builder, l, value.rank() - 1);
      Value result = scalarOf(builder, l, value.closed.back(), value.elementType);
      for (int64_t i = static_cast<int64_t>(value.closed.size()) - 2; i >= 0; --i) {
        Value here = arith::CmpIOp::create(builder, l, arith::CmpIPredicate::eq, last,
                                           arith::ConstantIndexOp::create(builder, l, i));
        result = arith::SelectOp::create(builder, l, here, scalarOf(builder, l, value.closed[i], value.elementType), result);
      }
      return result;
    };
    return value.tensor = generic({}, {}, value.shape, value.elementType, body);
  }
  auto body = [&](OpBuilder &builder, Location l, ValueRange) -> Value {
    if (value.splat)
      return arith::ConstantOp::create(builder, l, value.splat);
    return scalarOf(builder, l, value.closed[0], value.elementType);
  };
  return value.tensor = generic({}, {}, value.shape, value.elementType, body);
}

// --- shapes -------------------------------------------------------------------------------------------------------

std::optional<Extents> Lowering::broadcast(ArrayRef<AffineExpr> left, ArrayRef<AffineExpr> right) {
  if (left.size() < right.size())
    std::swap(left, right);
  Extents result(left);
  size_t shift = left.size() - right.size();
  for (auto [index, extent] : llvm::enumerate(right)) {
    AffineExpr &other = result[shift + index];
    if (other == extent || extent == constant(1))
      continue;
    if (other != constant(1) && !same(other, extent)) {
      error() << "cannot broadcast shapes " << print(left) << " and " << print(right);
      return std::nullopt;
    }
    other = extent;
  }
  return result;
}

std::optional<AffineExpr> Lowering::extremum(AffineExpr left, AffineExpr right, bool larger) {
  AffineExpr difference = larger ? left - right : right - left;
  if (auto low = dims.lowerBound(difference); low && *low >= 0)
    return left;
  if (auto high = dims.upperBound(difference); high && *high <= 0)
    return right;
  return std::nullopt;
}

RankedTensorType Lowering::tensorType(ArrayRef<AffineExpr> shape, Type elementType) {
  SmallVector<int64_t> sizes;
  for (AffineExpr extent : shape) {
    auto number = dyn_cast<AffineConstantExpr>(extent);
    sizes.push_back(number ? number.getValue() : ShapedType::kDynamic);
  }
  return RankedTensorType::get(sizes, elementType);
}

Value Lowering::materialize(AffineExpr extent) {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(extent))
    return symbolValues[symbol.getPosition()];
  Value &value = materialized[extent];
  if (!value) {
    OpBuilder::InsertionGuard guard(b);
    if (symbolValues.empty())
      b.setInsertionPointToStart(entry);
    else
      b.setInsertionPointAfterValue(symbolValues.back());
    if (auto number = dyn_cast<AffineConstantExpr>(extent))
      value = arith::ConstantIndexOp::create(b, b.getUnknownLoc(), number.getValue());
    else
      value = affine::expandAffineExpr(b, b.getUnknownLoc(), extent, {}, symbolValues);
  }
  return value;
}

OpFoldResult Lowering::fold(AffineExpr extent) {
  if (auto number = dyn_cast<AffineConstantExpr>(extent))
    return b.getIndexAttr(number.getValue());
  return materialize(extent);
}

Value Lowering::empty(ArrayRef<AffineExpr> shape, Type elementType) {
  SmallVector<OpFoldResult> sizes = llvm::map_to_vector(shape, [&](AffineExpr e) { return fold(e); });
  return tensor::EmptyOp::create(b, loc(), sizes, elementType);
}

std::string Lowering::print(ArrayRef<AffineExpr> shape) {
  std::string text = "[";
  for (AffineExpr extent : shape)
    text += (text.size() > 1 ? ", " : "") + dims.print(extent);
  return text + "]";
}

// --- building blocks ----------------------------------------------------------------------------------------------

Value Lowering::scalarOf(OpBuilder &builder, Location l, AffineExpr expr, Type elementType) {
  if (auto number = dyn_cast<AffineConstantExpr>(expr))
    return arith::ConstantOp::create(builder, l, builder.getIntegerAttr(elementType, number.getValue()));
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

FailureOr<LoweredValue> Lowering::elementwise(ArrayRef<LoweredValue *> inputs, Type resultType, Body body) {
  Extents shape;
  for (LoweredValue *in : inputs) {
    auto merged = broadcast(shape, in->shape);
    if (!merged)
      return failure();
    shape = *merged;
  }
  // Constants stay constants.
  if (llvm::all_of(inputs, [](LoweredValue *in) { return in->splat != nullptr; })) {
    OpBuilder::InsertionGuard guard(b);
    SmallVector<Value> scalars;
    for (LoweredValue *in : inputs)
      scalars.push_back(arith::ConstantOp::create(b, loc(), in->splat));
    Value folded = body(b, loc(), scalars);
    Attribute constantAttr;
    if (matchPattern(folded, m_Constant(&constantAttr)))
      return splatValue(cast<TypedAttr>(constantAttr), shape);
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
  return tensorValue(generic(operands, maps, shape, resultType, wrapped), shape);
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
    return splatValue(value.splat, shape);
  if (auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr)
    return tensorValue(withRecipeStep(weight, nn::RecipeTransposeAttr::get(b.getContext(), permutation),
                                      tensorType(shape, value.elementType).getShape()),
                       shape);
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
                     shape);
}

LoweredValue Lowering::slice(LoweredValue &value, ArrayRef<AffineExpr> offsets, ArrayRef<AffineExpr> sizes,
                             ArrayRef<int64_t> steps) {
  bool whole = llvm::equal(sizes, value.shape) && llvm::all_of(offsets, [&](AffineExpr e) { return e == constant(0); }) &&
               llvm::all_of(steps, [](int64_t s) { return s == 1; });
  if (whole)
    return value;
  if (value.splat)
    return splatValue(value.splat, Extents(sizes));
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
  if (auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr;
      weight && unit && allConstant(offsets) && allConstant(sizes)) {
    auto numbers = [](ArrayRef<AffineExpr> exprs) {
      return llvm::map_to_vector(exprs, [](AffineExpr e) { return cast<AffineConstantExpr>(e).getValue(); });
    };
    return tensorValue(withRecipeStep(weight, nn::RecipeSliceAttr::get(b.getContext(), numbers(offsets), numbers(sizes)),
                                      numbers(sizes)),
                       Extents(sizes));
  }
  SmallVector<OpFoldResult> o, s, t;
  for (auto [offset, size, step] : llvm::zip(offsets, sizes, steps)) {
    o.push_back(fold(offset));
    s.push_back(fold(size));
    t.push_back(b.getIndexAttr(step));
  }
  return tensorValue(tensor::ExtractSliceOp::create(b, loc(), tensor(value), o, s, t), Extents(sizes));
}
