// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Lowering.h"
#include "dialects/mesh/MeshDialect.h"
#include "passes/canonicalize/ElementCount.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/OpSchemas.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include "llvm/ADT/ScopeExit.h"

using namespace mlir;
using namespace snug;

// --- the node at hand ---------------------------------------------------------------------------------------------

bool Lowering::hasInput(unsigned index) {
  return index < current->getNumOperands() && !isa<NoneType>(current->getOperand(index).getType());
}
LoweredValue &Lowering::input(unsigned index) {
  if (hasInput(index))
    return values[current->getOperand(index)];
  if (!isRefused)
    error() << "the node has no input " << index << ", which the op needs";
  isRefused = true;
  missingValue = splatValue(b.getF32FloatAttr(0), {});
  return missingValue;
}

LogicalResult Lowering::lowerOp(Operation *op) {
  if (auto get = dyn_cast<onnx::GetOp>(op)) {
    auto initializer = module.lookupSymbol<onnx::InitializerOp>(get.getInitializer());
    map(get.getResult(), initializerValue(initializer, get.getResult()));
    return success();
  }
  if (auto pin = dyn_cast<onnx::PinOp>(op)) {
    LoweredValue &value = lookup(pin.getInput());
    if (!value.isTensor() || value.parts)
      return pin.emitError() << "is no tensor, so devices cannot have parts of it";
    if (isa<IntegerType>(value.elementType) && (value.rank() <= 1 || value.isClosed())) { // sizes may follow from it, which have to be known here
      module->setAttr(kPinnedSizes, cast<NameLoc>(pin.getLoc()).getName());
      map(pin.getResult(), value);
      return success();
    }
    Value made = tensor(value);
    made = mesh::PinOp::create(b, pin.getLoc(), made.getType(), made, pin.getDims());
    map(pin.getResult(), tensorValue(made, value.shape, value.elementType));
    return success();
  }
  auto node = dyn_cast<onnx::NodeOp>(op);
  return node ? lowerNode(node) : success();
}

FailureOr<LoweredValues> Lowering::lowerBody(Region &body, ArrayRef<LoweredValue> arguments) {
  // A body is lowered anew for each iteration that is written out, and loops in loops multiply.
  constexpr unsigned kMostBodies = 4096;
  if (++numBodies > kMostBodies)
    return error() << "the model's loops and branches have to be written out more than " << kMostBodies << " times";
  llvm::scope_exit restore([this, around = current, schemaAround = schema, lacksInput = isRefused] {
    current = around;
    schema = schemaAround;
    isRefused = lacksInput;
  });
  Block &block = body.front();
  if (block.getNumArguments() != arguments.size())
    return error() << "the subgraph has " << block.getNumArguments() << " inputs, given are " << arguments.size();
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments))
    map(argument, value);
  for (Operation &op : block.without_terminator())
    if (failed(lowerOp(&op)))
      return failure();
  LoweredValues results;
  for (Value value : block.getTerminator()->getOperands()) {
    results.push_back(lookup(value));
    if (results.back().parts)
      return error() << kOpenSequence;
  }
  return results;
}

LogicalResult Lowering::lowerNode(onnx::NodeOp node) {
  if (node->getNumResults() == 0) // nobody reads what it computes
    return success();
  current = node;
  schema = OpSchema::find(node.getDomain(), node.getOpType(), node.getOpset());
  isRefused = false;
  StringRef type = node.getOpType();
  for (Value operand : node->getOperands())
    if (values[operand].isSequence && !type.contains("Sequence") && !type.contains("Optional") &&
        !llvm::is_contained({"Identity", "Loop", "Scan"}, type))
      return error() << "takes no sequence";
  for (Value operand : node->getOperands())
    if (values[operand].isAbsent && !type.contains("Optional") && !llvm::is_contained({"Identity", "Loop"}, type))
      return error() << "takes no optional without a value";
  for (Value operand : node->getOperands())
    if (values[operand].parts && !llvm::is_contained({"SequenceAt", "SequenceLength", "ConcatFromSequence", "Identity"}, type))
      return error() << kOpenSequence;
  const LoweringTable::Entry *entry = LoweringTable::get().find(node.getDomain(), type, node.getOpset());
  if (!entry) // inside a branch, which was not looked at before
    return error() << "the op of opset " << node.getOpset() << " is not supported";
  if (failed(checkTypes(entry->types)))
    return failure();
  LogicalResult result = entry->function(*this);
  if (failed(result) || isRefused)
    return failure();
  for (Value output : node->getResults())
    if (!output.use_empty() && !values.count(output))
      return error() << "output " << cast<OpResult>(output).getResultNumber() << " is not supported";
  return success();
}

FailureOr<LoweredValues> Lowering::call(StringRef opType, ArrayRef<LoweredValue *> inputs, unsigned numResults,
                                        ArrayRef<NamedAttribute> attributes) {
  // A node for as long as it is lowered, with something before it that gives its inputs and something behind it that needs
  // its outputs.
  constexpr int64_t newest = 1000;
  auto make = [&](StringRef type, ValueRange operands, ArrayRef<Type> results, DictionaryAttr attrs) {
    return onnx::NodeOp::create(b, loc(), results, operands, b.getStringAttr(type), b.getStringAttr(""), b.getStringAttr(""),
                                b.getI64IntegerAttr(newest), attrs, b.getArrayAttr({}), 0);
  };
  Type unknown = onnx::UnknownType::get(b.getContext()), none = b.getNoneType();
  SmallVector<Type> given = llvm::map_to_vector(inputs, [&](LoweredValue *input) { return input ? unknown : none; });
  onnx::NodeOp before = make("Inputs", {}, given, b.getDictionaryAttr({}));
  onnx::NodeOp node = make(opType, before->getResults(), SmallVector<Type>(numResults, unknown), b.getDictionaryAttr(attributes));
  onnx::NodeOp behind = make("Outputs", node->getResults(), {}, b.getDictionaryAttr({}));
  for (auto [value, input] : llvm::zip_equal(before->getResults(), inputs))
    if (input)
      map(value, *input);
  llvm::scope_exit restore([this, around = current, schemaAround = schema, callerAround = caller,
                            lacksInput = isRefused] {
    current = around;
    schema = schemaAround;
    caller = callerAround;
    isRefused = lacksInput;
  });
  if (!caller)
    caller = current;
  LogicalResult lowered = lowerNode(node);
  LoweredValues results;
  for (Value output : node->getResults())
    if (auto found = values.find(output); found != values.end())
      results.push_back(found->second);
    else
      results.emplace_back();
  for (onnx::NodeOp op : {behind, node, before}) {
    for (Value result : op->getResults())
      values.erase(result);
    op->erase();
  }
  if (failed(lowered))
    return failure();
  return results;
}

FailureOr<LoweredValue> Lowering::call(StringRef opType, ArrayRef<LoweredValue *> inputs, ArrayRef<NamedAttribute> attributes) {
  auto results = call(opType, inputs, 1, attributes);
  if (failed(results))
    return failure();
  return results->front();
}

// Element types that the op takes, by the standard and by Snug, and that inputs of one type have one.
LogicalResult Lowering::checkTypes(TypeSet types) {
  // Files use what a later version of an op allows.
  const OpSchema *newest = OpSchema::find(current.getDomain(), current.getOpType(), INT64_MAX);
  llvm::SmallDenseMap<char, std::pair<unsigned, Type>> known;
  for (unsigned i = 0; i < numInputs(); ++i) {
    Type type = hasInput(i) ? values[current->getOperand(i)].elementType : Type();
    if (!type)
      continue;
    TypeSet allowed = types;
    if (schema) { // a row that leaves nothing of an input's types (axes, of one that takes floats) does not speak of it
      TypeSet standard = schema->set(schema->inputLetter(i)) | newest->set(newest->inputLetter(i));
      allowed = standard & types ? standard & types : standard;
    }
    if (!(allowed >> codeOf(type) & 1)) {
      InFlightDiagnostic message = error();
      message << "input " << i << " of element type " << nameOf(type) << " is not supported";
      if (allowed)
        message << ", only " << namesOf(allowed) << "; cast it to one of them";
      return failure();
    }
    char letter = schema ? schema->inputLetter(i) : 0;
    bool mayDiffer = !letter || (schema->mixes && i + 1 >= StringRef(schema->inputs).size());
    auto [other, isFirst] = known.try_emplace(letter, i, type);
    if (!mayDiffer && !isFirst && other->second.second != type)
      return error() << "inputs " << other->second.first << " and " << i << " have element types "
                     << nameOf(other->second.second) << " and " << nameOf(type) << ", where the op takes one; cast one of them";
  }
  return success();
}

int64_t Lowering::wideIntAttr(StringRef name, int64_t fallback) {
  auto value = dyn_cast_or_null<IntegerAttr>(attr(name));
  return value ? value.getInt() : fallback;
}
int64_t Lowering::intAttr(StringRef name, int64_t fallback) {
  int64_t value = wideIntAttr(name, fallback);
  if (value >= INT32_MIN && value <= INT32_MAX)
    return value;
  if (!isRefused)
    error() << "attribute '" << name << "' is " << value << ", which is out of range";
  isRefused = true;
  return fallback;
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
Location Lowering::loc() { return current ? current.getLoc() : b.getUnknownLoc(); }

InFlightDiagnostic Lowering::error() {
  onnx::NodeOp node = caller ? caller : current;
  InFlightDiagnostic diagnostic = emitError(loc());
  if (node)
    diagnostic << node.getOpType() << ": ";
  return diagnostic;
}

void Lowering::define(unsigned index, LoweredValue value) {
  if (index >= current->getNumResults())
    return;
  // The standard says which input an output has its element type from: what was moved or computed as stored gets it back.
  if (char letter = schema && value.elementType ? schema->outputLetter(index) : 0) {
    Type meant;
    for (unsigned i = 0; i < numInputs() && !meant; ++i)
      if (hasInput(i) && schema->inputLetter(i) == letter)
        meant = values[current->getOperand(i)].elementType;
    if (TypeSet one = schema->set(letter); !meant && llvm::has_single_bit(one))
      meant = dataType(llvm::countr_zero(one));
    if (meant && value.elementType == storedAs(meant))
      value.elementType = meant;
  }
  for (AffineExpr &extent : value.shape)
    extent = normalExtent(extent);
  for (AffineExpr &element : value.closed) // of shape lists; positions are left as they are
    element = element.isSymbolicOrConstant() ? normalExtent(element) : element;
  if (isTooLarge(value.shape)) {
    error() << "output " << index << " of shape " << print(value.shape) << " has more than 2^48 elements";
    isRefused = true;
  }
  values[current->getResult(index)] = std::move(value);
}

std::optional<int64_t> Lowering::normalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    error() << "axis " << axis << " is outside a tensor of rank " << rank;
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
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
  AffineExpr difference = sumOfProducts(larger ? left - right : right - left);
  if (auto low = dims.lowerBound(difference); low && *low >= 0)
    return left;
  if (auto high = dims.upperBound(difference); high && *high <= 0)
    return right;
  // One of both for some values of the dims: found when a run begins, or where a size of data is known.
  if (!difference.isSymbolicOrConstant() || dims.isOfIteration(difference))
    return std::nullopt;
  AffineExpr most;
  if (dims.isOfData(difference)) {
    auto low = dims.lowerBound(left), otherLow = dims.lowerBound(right);
    auto known = extremum(dims.atMost(left), dims.atMost(right), larger);
    if (!known || !low || *low < 0 || !otherLow || *otherLow < 0) // a size of data is 0 or more
      return std::nullopt;
    most = *known;
  }
  AffineExpr found = dims.extremum(sumOfProducts(left), sumOfProducts(right), larger, most);
  if (symbolValues.size() == dims.symbols().size()) // known before
    return found;
  OpBuilder::InsertionGuard guard(b);
  setInsertionPointBehind(left + right);
  Value first = affine::expandAffineExpr(b, b.getUnknownLoc(), left, {}, symbolValues),
        second = affine::expandAffineExpr(b, b.getUnknownLoc(), right, {}, symbolValues);
  symbolValues.push_back(larger ? arith::MaxSIOp::create(b, b.getUnknownLoc(), first, second).getResult()
                                : arith::MinSIOp::create(b, b.getUnknownLoc(), first, second).getResult());
  return found;
}

RankedTensorType Lowering::tensorType(ArrayRef<AffineExpr> shape, Type elementType) {
  SmallVector<int64_t> sizes;
  for (AffineExpr extent : shape) {
    auto number = dyn_cast<AffineConstantExpr>(extent);
    sizes.push_back(number ? number.getValue() : ShapedType::kDynamic);
  }
  return RankedTensorType::get(sizes, storedAs(elementType));
}

void Lowering::setInsertionPointBehind(AffineExpr extent) {
  // After all dims and what is computed from them alone, or where the innermost iteration that it is of begins, or a size
  // of data is known.
  Value last;
  bool isInside = false;
  for (unsigned symbol = 0; symbol < symbolValues.size(); ++symbol) {
    const DimRange &range = dims.ranges()[dims.symbols()[symbol]];
    bool isInner = range.isIteration || range.bound, isUsed = isInner && extent.isFunctionOfSymbol(symbol);
    if (isInner ? isUsed : !isInside)
      last = symbolValues[symbol];
    isInside |= isUsed;
  }
  if (last)
    b.setInsertionPointAfterValue(last);
  else
    b.setInsertionPointToStart(entry);
}

Value Lowering::materialize(AffineExpr extent) {
  if (auto symbol = dyn_cast<AffineSymbolExpr>(extent))
    return symbolValues[symbol.getPosition()];
  Value &value = materialized[extent];
  if (!value) {
    OpBuilder::InsertionGuard guard(b);
    setInsertionPointBehind(extent);
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
  return tensor::EmptyOp::create(b, loc(), sizes, storedAs(elementType));
}

std::string Lowering::print(ArrayRef<AffineExpr> shape) {
  std::string text = "[";
  for (AffineExpr extent : shape)
    text += (text.size() > 1 ? ", " : "") + dims.print(extent);
  return text + "]";
}

LogicalResult snug::finish(Lowering &l, FailureOr<LoweredValue> value, unsigned result) {
  if (failed(value))
    return failure();
  l.define(result, *value);
  return success();
}
