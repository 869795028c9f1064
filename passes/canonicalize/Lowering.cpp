// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

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

LogicalResult Lowering::lowerOp(Operation *op) {
  if (auto get = dyn_cast<onnx::GetOp>(op)) {
    auto initializer = module.lookupSymbol<onnx::InitializerOp>(get.getInitializer());
    map(get.getResult(), initializerValue(initializer, get.getResult()));
    return success();
  }
  auto node = dyn_cast<onnx::NodeOp>(op);
  return node ? lowerNode(node) : success();
}

FailureOr<LoweredValues> Lowering::lowerBody(Region &body, ArrayRef<LoweredValue> arguments) {
  onnx::NodeOp around = current;
  bool lacksInput = isInputMissing;
  Block &block = body.front();
  if (block.getNumArguments() != arguments.size())
    return error() << "the subgraph has " << block.getNumArguments() << " inputs, given are " << arguments.size();
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments))
    map(argument, value);
  for (Operation &op : block.without_terminator())
    if (failed(lowerOp(&op)))
      return failure();
  current = around;
  isInputMissing = lacksInput;
  LoweredValues results;
  for (Value value : block.getTerminator()->getOperands())
    results.push_back(lookup(value));
  return results;
}

LogicalResult Lowering::lowerNode(onnx::NodeOp node) {
  current = node;
  isInputMissing = false;
  StringRef type = node.getOpType();
  for (Value operand : node->getOperands())
    if (values[operand].isSequence && !type.contains("Sequence") && !type.contains("Optional") &&
        !llvm::is_contained({"Identity", "Loop", "Scan"}, type))
      return error() << "takes no sequence";
  LoweringFunction lower = LoweringTable::get().find(node.getDomain(), type, node.getOpset());
  if (!lower) // inside a branch, which was not looked at before
    return error() << "the op of opset " << node.getOpset() << " is not supported";
  LogicalResult result = lower(*this);
  current = node;
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
  if (index >= current->getNumResults())
    return;
  for (AffineExpr &extent : value.shape)
    extent = normalExtent(extent);
  for (AffineExpr &element : value.closed) // of shape lists; positions are left as they are
    element = element.isSymbolicOrConstant() ? normalExtent(element) : element;
  values[current->getResult(index)] = std::move(value);
}

std::optional<int64_t> Lowering::normalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    error() << "axis " << axis << " is outside a tensor of rank " << rank;
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

Type Lowering::dataType(int64_t code) {
  switch (code) {
  case 1: return b.getF32Type();
  case 2: case 3: return b.getIntegerType(8);
  case 4: case 5: return b.getIntegerType(16);
  case 6: case 12: return b.getI32Type();
  case 7: case 13: return b.getI64Type();
  case 9: return b.getI1Type();
  case 10: return b.getF16Type();
  case 11: return b.getF64Type();
  case 16: return b.getBF16Type();
  default: return Type();
  }
}

TypedAttr Lowering::oneOf(Type type) {
  if (isa<FloatType>(type))
    return b.getFloatAttr(type, 1);
  return b.getIntegerAttr(type, 1);
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
    // After all dims, or where the innermost iteration that it is of begins.
    Value last;
    for (unsigned symbol = 0; symbol < symbolValues.size(); ++symbol)
      if (!dims.ranges()[dims.symbols()[symbol]].isIteration || extent.isFunctionOfSymbol(symbol))
        last = symbolValues[symbol];
    if (last)
      b.setInsertionPointAfterValue(last);
    else
      b.setInsertionPointToStart(entry);
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

