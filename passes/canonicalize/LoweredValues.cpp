// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Values in their forms (splat, closed, table, weight, tensor), made from one another.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "llvm/Support/MathExtras.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/StringType.h"

using namespace mlir;
using namespace snug;

LoweredValue Lowering::tensorValue(Value tensor, Extents shape, Type elementType) {
  LoweredValue value;
  value.elementType = elementType ? elementType : cast<RankedTensorType>(tensor.getType()).getElementType();
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
  auto stored = type.clone(storedAs(type.getElementType()));
  return tensorValue(nn::WeightOp::create(b, b.getUnknownLoc(), stored, data, b.getArrayAttr({})), shape,
                     type.getElementType());
}

LoweredValue Lowering::initializerValue(onnx::InitializerOp initializer, Value onnxValue) {
  if (auto dense = dyn_cast_or_null<DenseElementsAttr>(initializer.getValueAttr()))
    return denseValue(dense, onnxValue);
  auto type = cast<RankedTensorType>(initializer.getType());
  std::string name = ("weight_" + initializer.getSymName()).str();
  OpBuilder::InsertionGuard guard(b);
  if (!module.lookupSymbol<nn::DataOp>(name)) {
    b.setInsertionPoint(initializer);
    // What is packed in the file stays so in the type, and is unpacked when it is read.
    Type element = type.getElementType();
    bool packed = isCode(element) && element.getIntOrFloatBitWidth() < 8;
    auto data = packed ? type : type.clone(storedAs(element));
    auto made = nn::DataOp::create(b, initializer.getLoc(), b.getStringAttr(name), TypeAttr::get(data), initializer.getFileAttr(),
                                   initializer.getOffsetAttr(), initializer.getLengthAttr(), ElementsAttr());
    if (Attribute pin = initializer->getAttr(onnx::kTensorPin))
      made->setAttr(onnx::kTensorPin, pin);
  }
  b.setInsertionPointToStart(entry);
  return weightValue(FlatSymbolRefAttr::get(b.getContext(), name), type);
}

// The numbers of a constant of integers; nothing where one of them is no int64.
static std::optional<SmallVector<int64_t>> integersOf(DenseElementsAttr value) {
  bool isNatural = isUnsigned(value.getElementType());
  SmallVector<int64_t> elements;
  for (const APInt &element : value.getValues<APInt>()) {
    if (isNatural && element.getActiveBits() > 63)
      return std::nullopt;
    elements.push_back(isNatural ? static_cast<int64_t>(element.getZExtValue()) : element.getSExtValue());
  }
  return elements;
}

// Positions (arange, and grids of them) as an expression of the index, if the constant is one.
static std::optional<AffineExpr> positionsOf(DenseElementsAttr value) {
  auto type = cast<RankedTensorType>(value.getType());
  MLIRContext *context = value.getContext();
  SmallVector<int64_t> elements = *integersOf(value);
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
  if (isString(type.getElementType())) // an address: known when the library is loaded
    return dataValue(value);
  // An empty tensor has no elements to be equal.
  if (value.isSplat() && type.getNumElements() > 0 && !(type.getRank() == 1 && isa<IntegerType>(type.getElementType())))
    return splatValue(cast<TypedAttr>(value.getSplatValue<Attribute>()), shape);
  Type element = type.getElementType();
  bool isNumber = isa<IntegerType>(element) && !element.isInteger(1) && !isCode(element);
  if (isNumber && type.getRank() <= 1 && type.getNumElements() <= 64)
    if (auto numbers = integersOf(value)) {
      Extents elements = llvm::map_to_vector<6>(*numbers, [&](int64_t number) { return constant(number); });
      return intsValue(element, elements, type.getRank() == 0);
    }
  if (isNumber && type.getNumElements() > 0 && integersOf(value))
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
  // Strings stay what they are in the attribute: only the linker knows where their bytes are.
  DenseElementsAttr stored = isString(type.getElementType()) ? value : storedAttr(value);
  Type storedType = type.clone(storedAs(type.getElementType()));
  nn::DataOp::create(b, b.getUnknownLoc(), name, TypeAttr::get(storedType), StringAttr(), IntegerAttr(), IntegerAttr(),
                     stored);
  b.setInsertionPointToStart(entry);
  return weightValue(FlatSymbolRefAttr::get(name), type);
}

std::optional<SmallVector<Attribute>> Lowering::constantElements(const LoweredValue &value) {
  constexpr int64_t kMost = 64; // shape arithmetic has few; others are better computed where they are used
  Type type = value.elementType;
  if (!value.isTensor() || !type || !type.isIntOrFloat() || storedAs(type) != type)
    return std::nullopt;
  int64_t count = 1;
  for (AffineExpr extent : value.shape) {
    auto number = dyn_cast<AffineConstantExpr>(extent);
    if (!number || number.getValue() > kMost || (count *= number.getValue()) > kMost)
      return std::nullopt;
  }
  if (value.splat)
    return SmallVector<Attribute>(count, value.splat);
  if (auto weight = value.tensor ? value.tensor.getDefiningOp<nn::WeightOp>() : nullptr; weight && weight.getRecipe().empty()) {
    auto data = module.lookupSymbol<nn::DataOp>(weight.getData());
    auto dense = data ? dyn_cast_or_null<DenseElementsAttr>(data.getValueAttr()) : nullptr;
    if (dense && dense.getElementType() == type)
      return SmallVector<Attribute>(dense.getValues<Attribute>());
  }
  auto numbers = constantInts(value);
  if (!numbers || static_cast<int64_t>(numbers->size()) != count)
    return std::nullopt;
  return SmallVector<Attribute>(llvm::map_range(*numbers, [&](int64_t number) { return numberAttr(type, number); }));
}

LoweredValue Lowering::constantValue(ArrayRef<Attribute> elements, ArrayRef<AffineExpr> shape, Type type) {
  SmallVector<int64_t> sizes;
  for (AffineExpr extent : shape)
    sizes.push_back(cast<AffineConstantExpr>(extent).getValue());
  return denseValue(DenseElementsAttr::get(RankedTensorType::get(sizes, type), elements), Value());
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

LoweredValue Lowering::splatValue(TypedAttr constant, Extents shape, Type elementType) {
  LoweredValue value;
  value.elementType = elementType ? elementType : constant.getType();
  value.shape = std::move(shape);
  value.splat = storedAttr(constant);
  auto integer = dyn_cast<IntegerAttr>(value.splat);
  if (!integer || integer.getType().isInteger(1) || isCode(value.elementType))
    return value;
  APInt number = integer.getValue();
  if (!isUnsigned(value.elementType) || !number.isNegative())
    value.closed = {getAffineConstantExpr(number.getSExtValue(), b.getContext())};
  else if (number.getBitWidth() < 64)
    value.closed = {getAffineConstantExpr(static_cast<int64_t>(number.getZExtValue()), b.getContext())};
  return value;
}

static TypedAttr integerAttr(Type elementType, int64_t number) {
  Type stored = storedAs(elementType);
  return IntegerAttr::get(stored, APInt(64, number, /*isSigned=*/true).trunc(stored.getIntOrFloatBitWidth()));
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
      value.splat = integerAttr(elementType, number.getValue());
  return value;
}

LoweredValue Lowering::tableValue(Type elementType, Extents elements, ArrayRef<int64_t> shape) {
  if (shape.size() < 2)
    return intsValue(elementType, std::move(elements), shape.empty());
  LoweredValue value;
  value.elementType = elementType;
  for (int64_t size : shape)
    value.shape.push_back(constant(size));
  value.table = std::move(elements);
  return value;
}

std::optional<std::pair<Extents, SmallVector<int64_t>>> Lowering::table(const LoweredValue &value) {
  auto elements = value.table.empty() && value.rank() == 1 ? list(value) : std::optional<Extents>(value.table);
  if (!elements || elements->empty())
    return std::nullopt;
  SmallVector<int64_t> shape;
  for (AffineExpr extent : value.shape)
    shape.push_back(cast<AffineConstantExpr>(extent).getValue());
  return std::pair(*elements, shape);
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
  // What was made inside a loop or branch is not there outside of it, and is made anew.
  bool isMadeHere = value.splat || value.isClosed() || !value.table.empty();
  if (value.tensor && (!isMadeHere || value.tensor.getParentRegion()->isAncestor(b.getInsertionBlock()->getParent())))
    return value.tensor;
  if (value.closedVector && value.closed.empty())
    return value.tensor = empty(value.shape, value.elementType);
  if (value.closedVector || !value.table.empty()) {
    // One element a component: selects on the last index, or in a table on the place.
    auto body = [&](OpBuilder &builder, Location l, ValueRange) -> Value {
      ArrayRef<AffineExpr> elements = value.closedVector ? value.closed : value.table;
      AffineExpr place = constant(0);
      if (value.closedVector)
        place = getAffineDimExpr(value.rank() - 1, builder.getContext());
      for (int64_t dim = 0; dim < value.rank() && !value.closedVector; ++dim)
        place = place * value.shape[dim] + getAffineDimExpr(dim, builder.getContext());
      Value last = scalarOf(builder, l, place, builder.getI64Type());
      Value result = scalarOf(builder, l, elements.back(), value.elementType);
      for (int64_t i = static_cast<int64_t>(elements.size()) - 2; i >= 0; --i) {
        Value here = arith::CmpIOp::create(builder, l, arith::CmpIPredicate::eq, last,
                                           arith::ConstantOp::create(builder, l, builder.getI64IntegerAttr(i)));
        result = arith::SelectOp::create(builder, l, here, scalarOf(builder, l, elements[i], value.elementType), result);
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
