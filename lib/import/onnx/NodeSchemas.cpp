// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/NodeSchemas.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/ErrorHandling.h"
#include "onnx-ml.pb.h"
#include <vector>

using namespace llvm;
using ::onnx::AttributeProto;

namespace {
constexpr int kAny = 1 << 30; // of a variadic parameter

struct NodeSchema {
  const char *domain, *opType;
  int since;
  int minInputs, maxInputs, minOutputs, maxOutputs;
  const char *inputs;     // one letter a formal parameter: s(ingle), o(ptional), v(ariadic)
  const char *attributes; // "NAME:TYPE" and a space each, "NAME:TYPE!" where the node must have it
};

constexpr NodeSchema kSchemas[] = {
#include "NodeSchemas.inc"
};

struct AttributeSchema {
  int type;
  bool isRequired;
};

const NodeSchema *find(StringRef domain, StringRef opType, int64_t opset) {
  static const StringMap<std::vector<const NodeSchema *>> byName = [] { // versions of an op, oldest first
    StringMap<std::vector<const NodeSchema *>> map;
    for (const NodeSchema &schema : kSchemas)
      map[(Twine(schema.domain) + "::" + schema.opType).str()].push_back(&schema);
    return map;
  }();
  auto versions = byName.find((Twine(domain) + "::" + opType).str());
  const NodeSchema *found = nullptr;
  if (versions != byName.end())
    for (const NodeSchema *schema : versions->second)
      if (schema->since <= opset)
        found = schema;
  return found;
}

StringMap<AttributeSchema> attributesOf(const NodeSchema &schema) {
  StringMap<AttributeSchema> attributes;
  SmallVector<StringRef> entries;
  StringRef(schema.attributes).split(entries, ' ', -1, /*KeepEmpty=*/false);
  for (StringRef entry : entries) {
    auto [name, type] = entry.split(':');
    AttributeSchema attribute = {0, type.consume_back("!")};
    if (type.getAsInteger(10, attribute.type))
      llvm_unreachable("node_schemas.py writes numbers");
    attributes[name] = attribute;
  }
  return attributes;
}

std::string typeName(int type) {
  return StringRef(::onnx::AttributeProto_AttributeType_Name(static_cast<AttributeProto::AttributeType>(type))).lower();
}

std::string countViolation(int count, int least, int most, StringRef what, const Twine &op) {
  if (count >= least && count <= most)
    return {};
  std::string allowed = most == kAny ? "at least " + std::to_string(least) : std::to_string(least);
  if (most != kAny && most != least)
    allowed += " to " + std::to_string(most);
  return ("has " + Twine(count) + " " + what + (count == 1 ? "" : "s") + ", where " + op + " has " + allowed).str();
}
} // namespace

int snug::attributeType(const AttributeProto &a) {
  if (a.type() != AttributeProto::UNDEFINED)
    return a.type();
  return a.has_f()          ? AttributeProto::FLOAT
         : a.has_i()        ? AttributeProto::INT
         : a.has_s()        ? AttributeProto::STRING
         : a.has_t()        ? AttributeProto::TENSOR
         : a.has_g()        ? AttributeProto::GRAPH
         : a.floats_size()  ? AttributeProto::FLOATS
         : a.ints_size()    ? AttributeProto::INTS
         : a.strings_size() ? AttributeProto::STRINGS
         : a.tensors_size() ? AttributeProto::TENSORS
         : a.graphs_size()  ? AttributeProto::GRAPHS
                            : AttributeProto::UNDEFINED;
}

std::string snug::schemaViolation(const ::onnx::NodeProto &node, StringRef domain, int64_t opset) {
  const NodeSchema *schema = find(domain, node.op_type(), opset);
  if (!schema)
    return {};
  std::string op = (Twine(node.op_type()) + " of opset " + Twine(opset)).str();
  StringRef inputs = schema->inputs;
  if (std::string text = countViolation(node.input_size(), schema->minInputs, schema->maxInputs, "input", op); !text.empty())
    return text;
  if (std::string text = countViolation(node.output_size(), schema->minOutputs, schema->maxOutputs, "output", op);
      !text.empty())
    return text;
  for (int i = 0; i < node.input_size() && i < static_cast<int>(inputs.size()); ++i)
    if (inputs[i] == 's' && node.input(i).empty())
      return "leaves out input " + std::to_string(i) + ", which " + op + " must have";

  StringMap<AttributeSchema> known = attributesOf(*schema);
  StringSet<> given;
  for (const AttributeProto &attribute : node.attribute()) {
    given.insert(attribute.name());
    auto found = known.find(attribute.name());
    if (found == known.end())
      return "has attribute '" + attribute.name() + "', which " + op + " does not know";
    int type = attributeType(attribute);
    if (type != found->second.type)
      return "has attribute '" + attribute.name() + "' of type " + typeName(type) + ", where " + op + " has one of type " +
             typeName(found->second.type);
  }
  for (const auto &entry : known)
    if (entry.second.isRequired && !given.contains(entry.first()))
      return ("lacks attribute '" + entry.first() + "', which " + op + " must have").str();
  return {};
}
