// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/onnx/OnnxDialect.h"

#include "llvm/Support/Path.h"

using namespace mlir;

namespace snug::onnx {

//===----------------------------------------------------------------------===//
// NodeOp
//===----------------------------------------------------------------------===//

/// Reads `keyword "text"` if it is there.
static ParseResult parseOptionalText(OpAsmParser &parser, StringRef keyword, StringAttr &text) {
  if (failed(parser.parseOptionalKeyword(keyword)))
    return success();
  std::string value;
  if (parser.parseString(&value))
    return failure();
  text = parser.getBuilder().getStringAttr(value);
  return success();
}

ParseResult NodeOp::parse(OpAsmParser &parser, OperationState &result) {
  Builder &builder = parser.getBuilder();
  auto &properties = result.getOrAddProperties<NodeOp::Properties>();
  std::string opType;
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  if (parser.parseString(&opType) || parser.parseOperandList(operands, OpAsmParser::Delimiter::Paren))
    return failure();
  NamedAttrList attributes;
  int64_t opset;
  if (parser.parseOptionalAttrDict(attributes) || parser.parseKeyword("opset") || parser.parseInteger(opset) ||
      parseOptionalText(parser, "domain", properties.domain) ||
      parseOptionalText(parser, "overload", properties.overload) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  properties.op_type = builder.getStringAttr(opType);
  properties.node_attrs = attributes.getDictionary(builder.getContext());
  properties.opset = builder.getI64IntegerAttr(opset);

  FunctionType type;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseColonType(type) || parser.addTypesToList(type.getResults(), result.types) ||
      parser.resolveOperands(operands, type.getInputs(), loc, result.operands))
    return failure();

  SmallVector<Attribute> names;
  while (succeeded(parser.parseOptionalKeyword("body"))) {
    std::string name;
    if (parser.parseString(&name) || parser.parseRegion(*result.addRegion()))
      return failure();
    names.push_back(builder.getStringAttr(name));
  }
  if (!names.empty())
    properties.region_names = builder.getArrayAttr(names);
  return success();
}

void NodeOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printString(getOpType());
  printer << '(' << getInputs() << ") ";
  // An empty dictionary is printed too, so that "opset" always follows the same thing.
  printer.printAttribute(getNodeAttrsAttr());
  printer << " opset " << getOpset();
  for (auto [keyword, text] : {std::pair("domain", getDomain()), std::pair("overload", getOverload())}) {
    if (text.empty())
      continue;
    printer << ' ' << keyword << ' ';
    printer.printString(text);
  }
  printer.printOptionalAttrDictWithKeyword((*this)->getDiscardableAttrDictionary().getValue());
  printer << " : ";
  printer.printFunctionalType(getOperation());
  for (auto [name, body] : llvm::zip_equal(getRegionNames().getAsValueRange<StringAttr>(), getBodies())) {
    printer << " body ";
    printer.printString(name);
    printer << ' ';
    printer.printRegion(body);
  }
}

LogicalResult NodeOp::verify() {
  if (getRegionNames().size() != getBodies().size())
    return emitOpError() << "has " << getBodies().size() << " bodies but " << getRegionNames().size()
                         << " names of them";
  if (getOpType().empty())
    return emitOpError("has an empty operator type");
  for (Region &body : getBodies())
    if (!isa<YieldOp>(body.front().getTerminator()))
      return emitOpError("has a body that does not end with snug_onnx.yield");
  return success();
}

Region *NodeOp::getBody(StringRef name) {
  for (auto [regionName, body] : llvm::zip(getRegionNames().getAsValueRange<StringAttr>(), getBodies()))
    if (regionName == name)
      return &body;
  return nullptr;
}

std::string NodeOp::getQualifiedOpType() {
  return getDomain().empty() ? getOpType().str() : (getDomain() + "::" + getOpType()).str();
}

std::string NodeOp::getSchemaFunctionSymbol() {
  return functionSymbol(getDomain(), getOpType(), schemaOverload(getOpset()));
}
std::string NodeOp::getFunctionSymbol() { return functionSymbol(getDomain(), getOpType(), getOverload()); }

void NodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  // Named after the operator, so that a dump can be read without counting numbers.
  if (getNumResults() != 0)
    setName(getResult(0), getOpType());
}

//===----------------------------------------------------------------------===//
// NoneOp, GetOp
//===----------------------------------------------------------------------===//

void NoneOp::getAsmResultNames(OpAsmSetValueNameFn setName) { setName(getResult(), "none"); }

void GetOp::getAsmResultNames(OpAsmSetValueNameFn setName) { setName(getResult(), getInitializer()); }

LogicalResult GetOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto initializer = tables.lookupNearestSymbolFrom<InitializerOp>(*this, getInitializerAttr());
  if (!initializer)
    return emitOpError() << "refers to " << getInitializerAttr() << ", which is no snug_onnx.initializer";
  if (initializer.getType() != getResult().getType())
    return emitOpError() << "has type " << getResult().getType() << " but " << getInitializerAttr() << " is "
                         << initializer.getType();
  return success();
}

//===----------------------------------------------------------------------===//
// InitializerOp
//===----------------------------------------------------------------------===//

static ParseResult parseInitializerData(OpAsmParser &parser, TypeAttr &type, StringAttr &file, IntegerAttr &offset,
                                        IntegerAttr &length, ElementsAttr &value) {
  if (succeeded(parser.parseOptionalKeyword("value"))) {
    if (parser.parseAttribute(value))
      return failure();
    type = TypeAttr::get(value.getType());
    return success();
  }
  Builder &builder = parser.getBuilder();
  std::string name;
  int64_t begin, size;
  Type parsed;
  if (parser.parseKeyword("file") || parser.parseString(&name) || parser.parseKeyword("offset") ||
      parser.parseInteger(begin) || parser.parseKeyword("length") || parser.parseInteger(size) ||
      parser.parseColonType(parsed))
    return failure();
  file = builder.getStringAttr(name);
  offset = builder.getI64IntegerAttr(begin);
  length = builder.getI64IntegerAttr(size);
  type = TypeAttr::get(parsed);
  return success();
}

static void printInitializerData(OpAsmPrinter &printer, InitializerOp op, TypeAttr type, StringAttr file,
                                 IntegerAttr offset, IntegerAttr length, ElementsAttr value) {
  if (value) {
    printer << "value ";
    printer.printAttribute(value);
    return;
  }
  printer << "file ";
  printer.printString(file.getValue());
  printer << " offset " << offset.getInt() << " length " << length.getInt() << " : " << type.getValue();
}

LogicalResult InitializerOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape())
    return emitOpError() << "has type " << getType() << ", not a tensor of static shape";
  if (ElementsAttr value = getValueAttr()) {
    if (getFile() || getOffset() || getLength())
      return emitOpError("has both a value and a place in a file");
    if (value.getType() != type)
      return emitOpError() << "has type " << type << " but a value of " << value.getType();
    return success();
  }
  if (!getFile() || !getOffset() || !getLength())
    return emitOpError("has neither a value nor file, offset and length");
  // IR read from text is as untrusted as a model file: it must not reach out of the model's folder either.
  namespace path = llvm::sys::path;
  if (getFile()->empty() || path::is_absolute(*getFile()) ||
      llvm::is_contained(llvm::make_range(path::begin(*getFile()), path::end(*getFile())), StringRef("..")))
    return emitOpError() << "has file \"" << *getFile() << "\", which is not below the model's folder";
  if (static_cast<int64_t>(*getOffset()) < 0 || static_cast<int64_t>(*getLength()) < 0)
    return emitOpError("has a negative offset or length");
  return success();
}

} // namespace snug::onnx

using namespace snug::onnx;

#define GET_OP_CLASSES
#include "dialects/onnx/OnnxOps.cpp.inc"
