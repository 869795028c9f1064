// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/Importer.h"

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/GraphImporter.h"
#include "lib/import/onnx/ModelFile.h"
#include "lib/import/onnx/SchemaFunctions.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using google::protobuf::RepeatedPtrField;

namespace snug {

LogicalResult GraphImporter::importModel(const ::onnx::ModelProto &model, IsKnownOp isKnown, TensorPins *pins) {
  // Before IR version 3 a model stated no opsets and meant the first.
  if (model.opset_import_size() == 0 && model.ir_version() < 3)
    opsets[""] = 1;
  if (failed(importOpsets(model.opset_import(), opsets)))
    return failure();
  importMetadata(model);

  // Functions take their symbols first: nodes refer to them by these very names.
  symbols.insert("main");
  for (const ::onnx::FunctionProto &function : model.functions())
    if (!symbols.insert(snug::onnx::functionSymbol(function.domain(), function.name(), function.overload())).second)
      return tensors.fail(2, "function '" + function.domain() + "::" + function.name() + "' is defined twice");
  if (failed(importMain(model.graph(), pins)))
    return failure();
  for (const ::onnx::FunctionProto &function : model.functions())
    if (failed(importFunction(function)))
      return failure();
  return isKnown ? importSchemaFunctions(isKnown) : success();
}

// Bodies use operators that may have bodies themselves.
LogicalResult GraphImporter::importSchemaFunctions(IsKnownOp isKnown) {
  for (size_t i = 0; i < usedOps.size(); ++i) {
    auto [domain, name, opset] = usedOps[i];
    const ::onnx::FunctionProto *body = isKnown(domain, name, opset) ? nullptr : schemaFunction(domain, name, opset);
    if (!body || symbols.contains(snug::onnx::functionSymbol(domain, name)))
      continue;
    ::onnx::FunctionProto function = *body;
    function.set_overload(snug::onnx::schemaOverload(opset));
    if (symbols.insert(snug::onnx::functionSymbol(domain, name, function.overload())).second &&
        failed(importFunction(function)))
      return failure();
  }
  return success();
}

LogicalResult GraphImporter::importOpsets(const RepeatedPtrField<::onnx::OperatorSetIdProto> &imports, Opsets &result) {
  for (const ::onnx::OperatorSetIdProto &import : imports) {
    StringRef domain = import.domain() == "ai.onnx" ? "" : StringRef(import.domain());
    auto [known, isNew] = result.try_emplace(domain, import.version());
    if (import.version() < 1 || (!isNew && known->second != import.version()))
      return tensors.fail(2, "the model imports opset version " + Twine(import.version()) + " of domain '" + domain +
                                 "'" + (isNew ? ", which is no version" : ", and another one as well"));
  }
  return success();
}

void GraphImporter::importMetadata(const ::onnx::ModelProto &model) {
  module->setAttr(snug::onnx::kModelName, builder.getStringAttr(model.graph().name()));
  module->setAttr(snug::onnx::kIrVersion, builder.getI64IntegerAttr(model.ir_version()));
  NamedAttrList versions;
  for (const auto &[domain, version] : opsets)
    versions.append(domain.empty() ? StringRef("ai.onnx") : domain, builder.getI64IntegerAttr(version));
  module->setAttr(snug::onnx::kOpsets, versions.getDictionary(builder.getContext()));
  if (!model.producer_name().empty())
    module->setAttr(snug::onnx::kProducer,
                    builder.getStringAttr(Twine(model.producer_name()) + (model.producer_version().empty() ? "" : " ") +
                                          model.producer_version()));
}

void GraphImporter::pinValues(func::FuncOp main, const Scope &scope, TensorPins &pins) {
  auto take = [&](StringRef name, llvm::function_ref<void(Attribute)> mark) {
    auto pin = pins.find(name.str());
    if (pin == pins.end())
      return;
    mark(builder.getDenseI64ArrayAttr(pin->second));
    pins.erase(pin);
  };
  auto nameOf = [](DictionaryAttr attributes) { return attributes.getAs<StringAttr>(snug::onnx::kTensorName).getValue(); };
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    take(nameOf(main.getArgAttrDict(i)), [&](Attribute pin) { main.setArgAttr(i, snug::onnx::kTensorPin, pin); });
  for (unsigned i = 0; i < main.getNumResults(); ++i)
    take(nameOf(main.getResultAttrDict(i)), [&](Attribute pin) { main.setResultAttr(i, snug::onnx::kTensorPin, pin); });
  for (const auto &entry : scope.values)
    take(entry.first(), [&](Attribute pin) {
      Value value = entry.second;
      if (auto get = value.getDefiningOp<snug::onnx::GetOp>()) {
        module.lookupSymbol(get.getInitializer())->setAttr(snug::onnx::kTensorPin, pin);
        return;
      }
      builder.setInsertionPointAfterValue(value);
      Location loc = NameLoc::get(builder.getStringAttr(entry.first()));
      auto pinned = snug::onnx::PinOp::create(builder, loc, value.getType(), value, cast<DenseI64ArrayAttr>(pin));
      value.replaceAllUsesExcept(pinned, pinned);
    });
}

LogicalResult GraphImporter::importMain(const ::onnx::GraphProto &graph, TensorPins *pins) {
  // What an input and output are called; both are part of the compiled library's interface.
  auto describeTensor = [&](const ::onnx::ValueInfoProto &info) {
    NamedAttrList attributes;
    attributes.append(snug::onnx::kTensorName, builder.getStringAttr(info.name()));
    if (ArrayAttr dims = tensors.dims(info.type(), info.name()))
      attributes.append(snug::onnx::kTensorDims, dims);
    return attributes.getDictionary(builder.getContext());
  };

  llvm::StringSet<> constants;
  for (const ::onnx::TensorProto &tensor : graph.initializer())
    constants.insert(tensor.name());
  for (const ::onnx::SparseTensorProto &tensor : graph.sparse_initializer())
    constants.insert(tensor.values().name());
  SmallVector<Type> inputTypes;
  SmallVector<DictionaryAttr> inputAttributes;
  SmallVector<const ::onnx::ValueInfoProto *> inputs;
  for (const ::onnx::ValueInfoProto &input : graph.input()) {
    if (constants.contains(input.name()))
      continue;
    FailureOr<Type> type = tensors.type(input.type(), "input '" + input.name() + "'");
    if (failed(type))
      return failure();
    inputs.push_back(&input);
    inputTypes.push_back(*type);
    inputAttributes.push_back(describeTensor(input));
  }

  builder.setInsertionPointToEnd(module.getBody());
  auto main = func::FuncOp::create(builder, module.getLoc(), "main", builder.getFunctionType(inputTypes, {}));
  main.setAllArgAttrs(inputAttributes);
  entry = main.addEntryBlock();
  noneValue = {};
  builder.setInsertionPointToStart(entry);
  Scope scope;
  scope.nodes = &graph.node();
  for (auto [input, argument] : llvm::zip_equal(inputs, main.getArguments())) {
    argument.setLoc(NameLoc::get(builder.getStringAttr(input->name())));
    if (failed(define(input->name(), argument, scope, "the graph's input list")))
      return failure();
  }
  for (const auto *infos : {&graph.value_info(), &graph.output()})
    for (const ::onnx::ValueInfoProto &info : *infos)
      scope.types[info.name()] = &info.type();
  if (failed(importInitializers(graph, scope)) || failed(importNodes(graph.node(), scope)))
    return failure();

  SmallVector<Value> results;
  SmallVector<DictionaryAttr> resultAttributes;
  llvm::StringSet<> names;
  for (const ::onnx::ValueInfoProto &output : graph.output()) {
    if (!names.insert(output.name()).second)
      return tensors.fail(2, "the graph's output '" + output.name() + "' is listed twice");
    FailureOr<Value> value = lookup(output.name(), scope, "the graph's output list");
    if (failed(value))
      return failure();
    results.push_back(*value);
    resultAttributes.push_back(describeTensor(output));
  }
  func::ReturnOp::create(builder, module.getLoc(), results);
  main.setType(builder.getFunctionType(inputTypes, ValueRange(results).getTypes()));
  main.setAllResultAttrs(resultAttributes);
  if (pins)
    pinValues(main, scope, *pins);
  return success();
}

LogicalResult GraphImporter::importFunction(const ::onnx::FunctionProto &function) {
  std::string symbol = snug::onnx::functionSymbol(function.domain(), function.name(), function.overload());
  std::string owner = "function '" + symbol + "'";
  Opsets own;
  if (failed(importOpsets(function.opset_import(), own)))
    return failure();
  opsets.swap(own);

  Scope scope;
  scope.nodes = &function.node();
  for (const ::onnx::ValueInfoProto &info : function.value_info())
    scope.types[info.name()] = &info.type();
  SmallVector<Type> inputTypes;
  for (const std::string &input : function.input()) {
    FailureOr<Type> type = resultType(input, scope);
    if (failed(type))
      return failure();
    inputTypes.push_back(*type);
  }
  DictionaryAttr defaults;
  SmallVector<const ::onnx::GraphProto *> bodies;
  SmallVector<Attribute> bodyNames;
  if (failed(importAttributes(function.attribute_proto(), symbol, owner, defaults, bodies, bodyNames)))
    return failure();
  if (!bodies.empty())
    return tensors.fail(3, owner + " has a graph as an attribute's default, which Snug does not support");

  builder.setInsertionPointToEnd(module.getBody());
  auto op = func::FuncOp::create(builder, NameLoc::get(builder.getStringAttr(symbol)), symbol,
                                 builder.getFunctionType(inputTypes, {}));
  op.setPrivate();
  op->setAttr(snug::onnx::kFunctionDomain, builder.getStringAttr(function.domain()));
  op->setAttr(snug::onnx::kFunctionOpType, builder.getStringAttr(function.name()));
  SmallVector<StringRef> attributeNames(function.attribute().begin(), function.attribute().end());
  op->setAttr(snug::onnx::kFunctionAttributes, builder.getStrArrayAttr(attributeNames));
  op->setAttr(snug::onnx::kFunctionDefaults, defaults);
  entry = op.addEntryBlock();
  noneValue = {};
  builder.setInsertionPointToStart(entry);
  for (auto [name, argument] : llvm::zip_equal(function.input(), op.getArguments())) {
    argument.setLoc(NameLoc::get(builder.getStringAttr(name)));
    if (failed(define(name, argument, scope, owner)))
      return failure();
  }
  if (failed(importNodes(function.node(), scope)))
    return failure();
  SmallVector<Value> results;
  for (const std::string &name : function.output()) {
    FailureOr<Value> value = lookup(name, scope, owner);
    if (failed(value))
      return failure();
    results.push_back(*value);
  }
  func::ReturnOp::create(builder, op.getLoc(), results);
  op.setType(builder.getFunctionType(inputTypes, ValueRange(results).getTypes()));
  opsets.swap(own);
  return success();
}

FailureOr<OwningOpRef<ModuleOp>> importOnnx(MLIRContext &context, const OnnxSource &source, ImportError &error,
                                            bool dataMayBeMissing, IsKnownOp isKnown, TensorPins *pins) {
  context.loadDialect<snug::onnx::OnnxDialect, func::FuncDialect>();
  ::onnx::ModelProto model;
  if (failed(readModelFile(source, ExternalData(source).modelName(), model, error)))
    return failure();
  OwningOpRef<ModuleOp> module = ModuleOp::create(FileLineColLoc::get(&context, source.path, 0, 0));
  if (failed(GraphImporter(*module, source, dataMayBeMissing, error).importModel(model, isKnown, pins)))
    return failure();

  // Whatever a file holds must have been refused above with a message of its own.
  std::string problem;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    problem = diagnostic.str();
    return success();
  });
  if (failed(verify(*module))) {
    error = {70, ("'" + source.path + "' was imported to IR that does not hold together (" + problem +
                  "); this is a fault of Snug: please report it with the model")
                     .str()};
    return failure();
  }
  return module;
}

} // namespace snug
