// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/GraphImporter.h"

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/NodeSchemas.h"

using namespace mlir;
using google::protobuf::RepeatedPtrField;

namespace snug {

/// Subgraphs in subgraphs: far above what models have, well below protobuf's own limit on nesting (100 messages, three
/// a level), so that the message can name the node.
static constexpr unsigned kDeepestSubgraph = 24;

/// How messages name a node.
static std::string describe(const ::onnx::NodeProto &node) {
  if (!node.name().empty())
    return "node '" + node.name() + "' (" + node.op_type() + ")";
  std::string output = node.output_size() ? " that makes '" + node.output(0) + "'" : "";
  return "the unnamed " + node.op_type() + " node" + output;
}

GraphImporter::GraphImporter(ModuleOp module, const OnnxSource &source, bool dataMayBeMissing, ImportError &error)
    : module(module), builder(module.getContext()), tensors(*module.getContext(), source, dataMayBeMissing, error) {}

//===----------------------------------------------------------------------===//
// Values and symbols
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::define(StringRef name, Value value, Scope &scope, const Twine &owner) {
  if (!scope.values.try_emplace(name, value).second)
    return tensors.fail(2, owner + " defines '" + name + "', which is already defined in the same graph");
  return success();
}

FailureOr<Value> GraphImporter::lookup(StringRef name, const Scope &scope, const Twine &owner) {
  for (const Scope *at = &scope; at; at = at->parent)
    if (auto found = at->values.find(name); found != at->values.end())
      return found->second;
  for (const Scope *at = &scope; at; at = at->parent)
    for (const ::onnx::NodeProto &node : *at->nodes)
      if (llvm::is_contained(node.output(), name))
        return tensors.fail(2, owner + " uses '" + name + "' before " + describe(node) +
                                   " defines it: the graph has a cycle or is not sorted");
  return tensors.fail(2, owner + " uses '" + name + "', which nothing defines");
}

FailureOr<Type> GraphImporter::resultType(StringRef name, const Scope &scope) {
  if (name.empty())
    return Type(builder.getNoneType());
  if (auto known = scope.types.find(name); known != scope.types.end())
    return tensors.type(*known->second, "value '" + name + "'");
  return Type(snug::onnx::UnknownType::get(builder.getContext()));
}

Value GraphImporter::none() {
  if (!noneValue) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(entry);
    noneValue = snug::onnx::NoneOp::create(builder, module.getLoc(), builder.getNoneType());
  }
  return noneValue;
}

Location GraphImporter::locate(const ::onnx::NodeProto &node) {
  std::string name = node.name();
  if (name.empty())
    name = node.op_type() + ":" + (node.output_size() ? node.output(0) : "");
  return NameLoc::get(builder.getStringAttr(name));
}

std::string GraphImporter::uniqueSymbol(StringRef name) {
  std::string symbol = name.str();
  for (unsigned i = 0; !symbols.insert(symbol).second; ++i)
    symbol = (name + "_" + Twine(i)).str();
  return symbol;
}

//===----------------------------------------------------------------------===//
// Initializers
//===----------------------------------------------------------------------===//

FailureOr<snug::onnx::InitializerOp> GraphImporter::addInitializer(const ::onnx::TensorProto &tensor, StringRef name,
                                                                   const Twine &owner) {
  FailureOr<RankedTensorType> type = tensors.type(tensor, owner);
  if (failed(type))
    return failure();
  StringAttr file;
  IntegerAttr offset, length;
  ElementsAttr value;
  if (TensorImporter::isExternal(tensor)) {
    FailureOr<TensorPlace> place = tensors.place(tensor, owner);
    if (failed(place))
      return failure();
    if (TensorImporter::isSmall(*type, *place)) {
      FailureOr<DenseElementsAttr> elements = tensors.elements(tensor, *place, owner);
      if (failed(elements))
        return failure();
      return insertInitializer(name, *type, nullptr, nullptr, nullptr, *elements);
    }
    file = builder.getStringAttr(place->file);
    offset = builder.getI64IntegerAttr(place->offset);
    length = builder.getI64IntegerAttr(place->length);
  } else {
    FailureOr<DenseElementsAttr> elements = tensors.elements(tensor, owner);
    if (failed(elements))
      return failure();
    value = *elements;
  }
  return insertInitializer(name, *type, file, offset, length, value);
}

snug::onnx::InitializerOp GraphImporter::insertInitializer(StringRef name, Type type, StringAttr file,
                                                           IntegerAttr offset, IntegerAttr length, ElementsAttr value) {
  OpBuilder::InsertionGuard guard(builder);
  if (lastInitializer)
    builder.setInsertionPointAfter(lastInitializer);
  else
    builder.setInsertionPointToStart(module.getBody());
  auto op = snug::onnx::InitializerOp::create(builder, NameLoc::get(builder.getStringAttr(name)), uniqueSymbol(name),
                                              type, file, offset, length, value);
  lastInitializer = op;
  return op;
}

LogicalResult GraphImporter::importInitializers(const ::onnx::GraphProto &graph, Scope &scope) {
  auto get = [&](snug::onnx::InitializerOp initializer, StringRef name, const Twine &owner) {
    Value value = snug::onnx::GetOp::create(builder, initializer.getLoc(), initializer.getType(),
                                            FlatSymbolRefAttr::get(initializer.getSymNameAttr()));
    return define(name, value, scope, owner);
  };
  for (const ::onnx::TensorProto &tensor : graph.initializer()) {
    if (tensor.name().empty())
      return tensors.fail(2, "an initializer has no name");
    std::string owner = "initializer '" + tensor.name() + "'";
    FailureOr<snug::onnx::InitializerOp> initializer = addInitializer(tensor, tensor.name(), owner);
    if (failed(initializer) || failed(get(*initializer, tensor.name(), owner)))
      return failure();
  }
  for (const ::onnx::SparseTensorProto &sparse : graph.sparse_initializer()) {
    StringRef name = sparse.values().name();
    if (name.empty())
      return tensors.fail(2, "a sparse initializer has no name");
    std::string owner = ("sparse initializer '" + name + "'").str();
    FailureOr<SparseElementsAttr> elements = tensors.elements(sparse, owner);
    if (failed(elements))
      return failure();
    if (failed(get(insertInitializer(name, elements->getType(), {}, {}, {}, *elements), name, owner)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::importNodes(const RepeatedPtrField<::onnx::NodeProto> &nodes, Scope &scope) {
  scope.nodes = &nodes;
  for (const ::onnx::NodeProto &node : nodes)
    if (failed(importNode(node, scope)))
      return failure();
  return success();
}

LogicalResult GraphImporter::importNode(const ::onnx::NodeProto &node, Scope &scope) {
  std::string owner = describe(node);
  Location loc = locate(node);
  if (node.op_type().empty())
    return tensors.fail(2, owner + " has no operator type");

  SmallVector<Value> inputs;
  for (const std::string &name : node.input()) {
    FailureOr<Value> value = name.empty() ? FailureOr<Value>(none()) : lookup(name, scope, owner);
    if (failed(value))
      return failure();
    inputs.push_back(*value);
  }
  SmallVector<Type> types;
  for (const std::string &name : node.output()) {
    FailureOr<Type> type = resultType(name, scope);
    if (failed(type))
      return failure();
    types.push_back(*type);
  }

  StringRef domain = node.domain() == "ai.onnx" ? "" : StringRef(node.domain());
  auto opset = opsets.find(domain);
  if (opset == opsets.end() && domain.empty())
    return tensors.fail(2, owner + " is of the default domain, whose opset version the model does not state");

  int64_t version = opset == opsets.end() ? 0 : opset->second;
  if (seenOps.insert((domain + "::" + node.op_type() + "::" + Twine(version)).str()).second)
    usedOps.push_back({domain.str(), node.op_type(), version});

  // What symbols of this node's tensors are named after: results have unique names, nodes may have none.
  StringRef label = node.output_size() && !node.output(0).empty() ? StringRef(node.output(0)) : StringRef(node.name());
  // A large constant is a weight that an exporter put into a node; as one it needs no second way to be read.
  if (domain.empty() && node.op_type() == "Constant" && node.output_size() == 1 && node.attribute_size() == 1 &&
      node.attribute(0).name() == "value" && TensorImporter::isExternal(node.attribute(0).t()) && !label.empty()) {
    FailureOr<snug::onnx::InitializerOp> initializer = addInitializer(node.attribute(0).t(), label, owner);
    if (failed(initializer))
      return failure();
    Value value = snug::onnx::GetOp::create(builder, loc, initializer->getType(),
                                            FlatSymbolRefAttr::get(initializer->getSymNameAttr()));
    return define(node.output(0), value, scope, owner);
  }

  DictionaryAttr attributes;
  SmallVector<const ::onnx::GraphProto *> bodies;
  SmallVector<Attribute> bodyNames;
  if (failed(importAttributes(node.attribute(), label, owner, attributes, bodies, bodyNames)))
    return failure();
  // A function of the model comes before an op of its name.
  if (!symbols.contains(snug::onnx::functionSymbol(domain, node.op_type(), node.overload())))
    if (std::string violation = schemaViolation(node, domain, version); !violation.empty())
      return tensors.fail(2, owner + " " + violation);
  if (!bodies.empty() && scope.depth == kDeepestSubgraph)
    return tensors.fail(2, owner + " nests subgraphs deeper than " + Twine(kDeepestSubgraph) +
                               " levels, which Snug refuses");

  auto op = snug::onnx::NodeOp::create(builder, loc, types, inputs, builder.getStringAttr(node.op_type()),
                                       builder.getStringAttr(domain), builder.getStringAttr(node.overload()),
                                       builder.getI64IntegerAttr(version), attributes,
                                       builder.getArrayAttr(bodyNames), bodies.size());
  for (auto [graph, body] : llvm::zip_equal(bodies, op.getBodies()))
    if (failed(importSubgraph(*graph, body, scope, owner)))
      return failure();
  for (auto [name, value] : llvm::zip_equal(node.output(), op.getOutputs()))
    if (!name.empty() && failed(define(name, value, scope, owner)))
      return failure();
  return success();
}

LogicalResult GraphImporter::importSubgraph(const ::onnx::GraphProto &graph, Region &body, const Scope &outer,
                                            const Twine &owner) {
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&body);
  Scope scope{&outer, outer.depth + 1};
  std::string graphOwner = ("graph '" + graph.name() + "' in " + owner).str();
  for (const ::onnx::ValueInfoProto &input : graph.input()) {
    FailureOr<Type> type = tensors.type(input.type(), "input '" + input.name() + "' of " + graphOwner);
    if (failed(type))
      return failure();
    Value argument = block->addArgument(*type, NameLoc::get(builder.getStringAttr(input.name())));
    if (failed(define(input.name(), argument, scope, graphOwner)))
      return failure();
  }
  for (const auto *infos : {&graph.value_info(), &graph.output()})
    for (const ::onnx::ValueInfoProto &info : *infos)
      scope.types[info.name()] = &info.type();
  scope.nodes = &graph.node();
  if (failed(importInitializers(graph, scope)) || failed(importNodes(graph.node(), scope)))
    return failure();
  SmallVector<Value> results;
  for (const ::onnx::ValueInfoProto &output : graph.output()) {
    FailureOr<Value> value = lookup(output.name(), scope, graphOwner);
    if (failed(value))
      return failure();
    results.push_back(*value);
  }
  snug::onnx::YieldOp::create(builder, body.getLoc(), results);
  return success();
}

} // namespace snug
