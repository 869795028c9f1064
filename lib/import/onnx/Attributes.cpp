// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX attributes as MLIR attributes: the table is in dialects/onnx/OnnxOps.td.

#include "lib/import/onnx/GraphImporter.h"

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/NodeSchemas.h"

using namespace mlir;
using google::protobuf::RepeatedPtrField;
using ::onnx::AttributeProto;

namespace snug {

LogicalResult GraphImporter::importAttributes(const RepeatedPtrField<AttributeProto> &attributes, StringRef name,
                                              const Twine &owner, DictionaryAttr &result,
                                              SmallVectorImpl<const ::onnx::GraphProto *> &bodies,
                                              SmallVectorImpl<Attribute> &bodyNames) {
  NamedAttrList list;
  llvm::StringSet<> seen;
  for (const AttributeProto &attribute : attributes) {
    if (attribute.name().empty())
      return tensors.fail(2, owner + " has an attribute without a name");
    if (!seen.insert(attribute.name()).second)
      return tensors.fail(2, owner + " has attribute '" + attribute.name() + "' twice");
    StringAttr attributeName = builder.getStringAttr(attribute.name());
    int type = attributeType(attribute);
    bool isReference = !attribute.ref_attr_name().empty();
    if (!isReference && (type == AttributeProto::GRAPH || type == AttributeProto::GRAPHS)) {
      if (type == AttributeProto::GRAPH)
        bodies.push_back(&attribute.g());
      for (const ::onnx::GraphProto &graph : attribute.graphs())
        bodies.push_back(&graph);
      bodyNames.resize(bodies.size(), attributeName);
      continue;
    }
    FailureOr<Attribute> value =
        importAttribute(attribute, type, name, "attribute '" + Twine(attribute.name()) + "' of " + owner);
    if (failed(value))
      return failure();
    list.append(attributeName, *value);
  }
  result = list.getDictionary(builder.getContext());
  return success();
}

FailureOr<Attribute> GraphImporter::importAttribute(const AttributeProto &attribute, int type, StringRef name,
                                                    const Twine &owner) {
  MLIRContext *context = builder.getContext();
  if (!attribute.ref_attr_name().empty()) {
    const std::string &kind = ::onnx::AttributeProto_AttributeType_Name(type);
    return Attribute(snug::onnx::RefAttr::get(context, attribute.ref_attr_name(), kind));
  }
  // Several of one kind, as an array; the first failure ends it.
  auto array = [&](const auto &list, auto import) -> FailureOr<Attribute> {
    SmallVector<Attribute> elements;
    for (const auto &element : list) {
      FailureOr<Attribute> imported = import(element);
      if (failed(imported))
        return failure();
      elements.push_back(*imported);
    }
    return Attribute(builder.getArrayAttr(elements));
  };
  auto tensor = [&](const ::onnx::TensorProto &value) { return importTensor(value, name, owner); };
  auto sparse = [&](const ::onnx::SparseTensorProto &value) -> FailureOr<Attribute> {
    FailureOr<SparseElementsAttr> elements = tensors.elements(value, owner);
    return failed(elements) ? FailureOr<Attribute>(failure()) : Attribute(*elements);
  };
  auto typeProto = [&](const ::onnx::TypeProto &value) -> FailureOr<Attribute> {
    FailureOr<Type> imported = tensors.type(value, owner);
    return failed(imported) ? FailureOr<Attribute>(failure()) : Attribute(TypeAttr::get(*imported));
  };
  switch (type) {
  case AttributeProto::FLOAT:
    return Attribute(builder.getF32FloatAttr(attribute.f()));
  case AttributeProto::INT:
    return Attribute(builder.getI64IntegerAttr(attribute.i()));
  case AttributeProto::STRING:
    return Attribute(builder.getStringAttr(attribute.s()));
  case AttributeProto::FLOATS:
    return Attribute(builder.getDenseF32ArrayAttr(ArrayRef(attribute.floats().data(), attribute.floats_size())));
  case AttributeProto::INTS:
    return Attribute(
        DenseI64ArrayAttr::get(context, SmallVector<int64_t>(attribute.ints().begin(), attribute.ints().end())));
  case AttributeProto::STRINGS:
    return array(attribute.strings(), [&](const std::string &text) -> FailureOr<Attribute> {
      return Attribute(builder.getStringAttr(text));
    });
  case AttributeProto::TENSOR:
    return tensor(attribute.t());
  case AttributeProto::TENSORS:
    return array(attribute.tensors(), tensor);
  case AttributeProto::SPARSE_TENSOR:
    return sparse(attribute.sparse_tensor());
  case AttributeProto::SPARSE_TENSORS:
    return array(attribute.sparse_tensors(), sparse);
  case AttributeProto::TYPE_PROTO:
    return typeProto(attribute.tp());
  case AttributeProto::TYPE_PROTOS:
    return array(attribute.type_protos(), typeProto);
  case AttributeProto::GRAPH:
  case AttributeProto::GRAPHS:
    return tensors.fail(3, owner + " is a graph where Snug does not support one");
  default:
    return tensors.fail(2, owner + " has no valid type");
  }
}

FailureOr<Attribute> GraphImporter::importTensor(const ::onnx::TensorProto &tensor, StringRef name,
                                                 const Twine &owner) {
  if (!TensorImporter::isExternal(tensor)) {
    FailureOr<DenseElementsAttr> elements = tensors.elements(tensor, owner);
    return failed(elements) ? FailureOr<Attribute>(failure()) : Attribute(*elements);
  }
  FailureOr<snug::onnx::InitializerOp> initializer = addInitializer(tensor, name.empty() ? "tensor" : name, owner);
  if (failed(initializer))
    return failure();
  return Attribute(FlatSymbolRefAttr::get(initializer->getSymNameAttr()));
}

} // namespace snug
