// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/fuzz/ModelMutator.h"

#include <cstdint>
#include <limits>

using namespace snug::fuzz;
using google::protobuf::RepeatedPtrField;

namespace {
// Bodies that are nested deeper are passed over: the importer refuses them.
constexpr int kDepth = 20;
// A model that grows without bound takes the time of many.
constexpr int kMostNodes = 60;

const char *const kNames[] = {"",      "x",           "../x", "a\"b", "a\nb",                "\xff\xfe",
                              "%s%n",  "${HOME}",     "a b",  "9",    "batch + 1",            "a*b*c",
                              "a/0",   "(((((1)))))", "a%0",  "-1",   "99999999999999999999", "a*a*a*a*a*a*a*a"};
} // namespace

ModelMutator::ModelMutator(onnx::ModelProto &model, unsigned seed) : model(model), random(seed) {
  collect(*model.mutable_graph(), 0);
  for (onnx::FunctionProto &function : *model.mutable_functions())
    collect(*function.mutable_node(), 0);
}

void ModelMutator::collect(onnx::GraphProto &graph, int depth) {
  graphs.push_back(&graph);
  for (const onnx::ValueInfoProto &info : graph.input())
    names.push_back(info.name());
  for (onnx::TensorProto &tensor : *graph.mutable_initializer()) {
    names.push_back(tensor.name());
    tensors.push_back(&tensor);
  }
  collect(*graph.mutable_node(), depth);
}

void ModelMutator::collect(RepeatedPtrField<onnx::NodeProto> &body, int depth) {
  bodies.push_back(&body);
  for (onnx::NodeProto &node : body) {
    nodes.push_back(&node);
    ops.push_back(node.op_type());
    names.insert(names.end(), node.output().begin(), node.output().end());
    for (onnx::AttributeProto &attribute : *node.mutable_attribute()) {
      attributes.push_back(&attribute);
      if (attribute.has_t())
        tensors.push_back(attribute.mutable_t());
      if (attribute.has_g() && depth < kDepth)
        collect(*attribute.mutable_g(), depth + 1);
    }
  }
}

int64_t ModelMutator::number() {
  using Limits = std::numeric_limits<int64_t>;
  constexpr int64_t interesting[] = {
      -1,  0,   1,       2,
      3,   -2,  7,       100,
      1000000, 1000000000, 1l << 31, (1l << 31) - 1,
      -(1l << 31), 1l << 32, 1l << 40, Limits::max(),
      Limits::min(), Limits::max() / 2 + 1};
  return interesting[below(std::size(interesting))];
}

std::string ModelMutator::name() {
  if (!names.empty() && below(4))
    return any(names);
  if (below(8) == 0)
    return std::string("a\0b", 3);
  return kNames[below(std::size(kNames))];
}

void ModelMutator::mutate() {
  switch (below(12)) {
  case 0:
  case 1:
  case 2:
    return nodes.empty() ? mutateModel() : mutateNode(*any(nodes));
  case 3:
  case 4:
    return nodes.empty() ? mutateModel() : mutateEdges(*any(nodes));
  case 5:
  case 6:
    return attributes.empty() ? mutateModel() : mutateAttribute(*any(attributes));
  case 7:
  case 8:
    return tensors.empty() ? mutateModel() : mutateTensor(*any(tensors));
  case 9: {
    onnx::GraphProto &graph = *any(graphs);
    return graph.input_size() ? mutateInput(*graph.mutable_input(below(graph.input_size()))) : mutateModel();
  }
  case 10:
    return mutateGraph(*any(graphs));
  default:
    return mutateModel();
  }
}

void ModelMutator::mutateNode(onnx::NodeProto &node) {
  // Of an op the name of another one, which finds other attributes and numbers of inputs than it expects.
  static const char *const known[] = {
      "Add",       "Mul",       "MatMul",    "Gemm",      "Conv",        "ConvTranspose", "Reshape",  "Transpose", "Concat",
      "Split",     "Slice",     "Gather",    "Expand",    "Pad",         "Resize",        "Softmax",  "Attention", "Einsum",
      "Cast",      "Range",     "Tile",      "If",        "Loop",        "Scan",          "LSTM",     "TopK",      "OneHot",
      "MaxPool",   "ReduceSum", "Squeeze",   "Unsqueeze", "Where",       "Constant",      "ConstantOfShape", "Shape",
      "QuantizeLinear", "DequantizeLinear", "SequenceConstruct", "SplitToSequence", "ConcatFromSequence",
      "LayerNormalization", "GroupNormalization", "RotaryEmbedding", "ScatterND", "GatherND", "CumSum", "DepthToSpace"};
  switch (below(6)) {
  case 0:
    node.set_op_type(below(2) ? known[below(std::size(known))] : any(ops));
    break;
  case 1:
    node.set_domain(below(2) ? "" : name());
    break;
  case 2:
    node.add_input(name());
    break;
  case 3:
    node.add_output(below(3) ? "new" + std::to_string(below(1000)) : name());
    break;
  case 4:
    if (node.attribute_size())
      node.mutable_attribute()->DeleteSubrange(below(node.attribute_size()), 1);
    break;
  default:
    if (!attributes.empty()) {
      onnx::AttributeProto copy = *any(attributes);
      *node.add_attribute() = copy;
    }
  }
  // What was collected of this node may be gone.
  attributes.clear();
  tensors.clear();
}

void ModelMutator::mutateEdges(onnx::NodeProto &node) {
  bool input = below(3) != 0;
  auto &edges = input ? *node.mutable_input() : *node.mutable_output();
  if (edges.empty())
    return;
  unsigned index = below(edges.size());
  switch (below(3)) {
  case 0:
    edges.DeleteSubrange(index, 1);
    break;
  default:
    *edges.Mutable(index) = name(); // of another value, of none, or of a later one: a circle
  }
}

void ModelMutator::mutateAttribute(onnx::AttributeProto &attribute) {
  switch (below(8)) {
  case 0:
    attribute.set_type(static_cast<onnx::AttributeProto::AttributeType>(below(15)));
    break;
  case 1:
    attribute.set_name(below(2) && !attributes.empty() ? any(attributes)->name() : name());
    break;
  case 2:
    attribute.set_f(below(3) ? 1e30f : std::numeric_limits<float>::quiet_NaN());
    break;
  case 3:
    attribute.set_s(name());
    break;
  case 4:
    attribute.add_ints(number());
    break;
  case 5:
    if (attribute.ints_size())
      attribute.mutable_ints()->RemoveLast();
    break;
  case 6:
    if (attribute.ints_size()) {
      attribute.set_ints(below(attribute.ints_size()), number());
      break;
    }
    [[fallthrough]];
  default:
    attribute.set_i(number());
  }
}

void ModelMutator::mutateTensor(onnx::TensorProto &tensor) {
  switch (below(7)) {
  case 0:
    if (tensor.dims_size())
      tensor.set_dims(below(tensor.dims_size()), number());
    break;
  case 1:
    for (unsigned i = below(70); i; --i)
      tensor.add_dims(below(2) ? 1 : number());
    break;
  case 2:
    tensor.set_data_type(static_cast<int>(below(30)) - 1);
    break;
  case 3:
    if (tensor.has_raw_data())
      tensor.mutable_raw_data()->resize(below(tensor.raw_data().size() + 9));
    else
      tensor.add_int64_data(number());
    break;
  case 4: {
    auto add = [&](const char *key, const std::string &value) {
      onnx::StringStringEntryProto &entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    };
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    add("location", below(2) ? name() : "/etc/passwd");
    add("offset", std::to_string(number()));
    add("length", std::to_string(number()));
    break;
  }
  case 5:
    tensor.set_name(name());
    break;
  default:
    if (tensor.has_raw_data() && tensor.raw_data().size() >= 8) {
      int64_t value = number();
      tensor.mutable_raw_data()->replace(8 * below(tensor.raw_data().size() / 8), 8, reinterpret_cast<char *>(&value), 8);
    }
  }
}

void ModelMutator::mutateInput(onnx::ValueInfoProto &info) {
  onnx::TypeProto::Tensor &type = *info.mutable_type()->mutable_tensor_type();
  onnx::TensorShapeProto &shape = *type.mutable_shape();
  switch (below(6)) {
  case 0:
    type.set_elem_type(static_cast<int>(below(30)) - 1);
    break;
  case 1:
    type.clear_shape();
    break;
  case 2:
    info.set_name(name());
    break;
  case 3:
    for (unsigned i = below(4); i; --i)
      shape.add_dim()->set_dim_value(below(2) ? 1 : number());
    break;
  default:
    if (!shape.dim_size())
      break;
    if (onnx::TensorShapeProto::Dimension &dim = *shape.mutable_dim(below(shape.dim_size())); below(2))
      dim.set_dim_param(name());
    else
      dim.set_dim_value(number());
  }
}

void ModelMutator::mutateGraph(onnx::GraphProto &graph) {
  RepeatedPtrField<onnx::NodeProto> &body = *any(bodies);
  switch (below(7)) {
  case 0:
    if (!body.empty() && body.size() < kMostNodes)
      *body.Add() = onnx::NodeProto(body.Get(below(body.size())));
    break;
  case 1:
    if (!body.empty())
      body.DeleteSubrange(below(body.size()), 1);
    break;
  case 2:
    if (body.size() > 1)
      body.SwapElements(below(body.size()), below(body.size()));
    break;
  case 3:
    if (graph.output_size())
      graph.mutable_output(below(graph.output_size()))->set_name(name());
    break;
  case 4:
    if (graph.initializer_size() && graph.initializer_size() < kMostNodes)
      *graph.add_initializer() = onnx::TensorProto(graph.initializer(below(graph.initializer_size())));
    break;
  case 5:
    if (graph.input_size())
      graph.mutable_input()->DeleteSubrange(below(graph.input_size()), 1);
    break;
  default: { // the graph itself as the body of a node in it
    if (graph.ByteSizeLong() > 4096 || body.empty())
      break;
    onnx::GraphProto copy = graph;
    onnx::NodeProto &node = *body.Mutable(below(body.size()));
    node.set_op_type(below(2) ? "If" : "Loop");
    for (const char *branch : {"then_branch", "else_branch", "body"}) {
      onnx::AttributeProto &attribute = *node.add_attribute();
      attribute.set_name(branch);
      attribute.set_type(onnx::AttributeProto::GRAPH);
      *attribute.mutable_g() = copy;
    }
  }
  }
  nodes.clear();
  attributes.clear();
  tensors.clear();
}

void ModelMutator::mutateModel() {
  switch (below(4)) {
  case 0:
    if (model.opset_import_size())
      model.mutable_opset_import(below(model.opset_import_size()))->set_version(below(3) ? 1 + below(30) : number());
    break;
  case 1:
    model.add_opset_import()->set_domain(name());
    break;
  case 2: { // a function that calls itself, under the name of an op
    onnx::FunctionProto &function = *model.add_functions();
    function.set_name(ops.empty() ? "f" : any(ops));
    function.set_domain(below(2) ? "" : "local");
    function.add_input("x");
    function.add_output("y");
    onnx::NodeProto &node = *function.add_node();
    node.set_op_type(function.name());
    node.set_domain(function.domain());
    node.add_input("x");
    node.add_output("y");
    break;
  }
  default:
    model.set_ir_version(below(2) ? below(15) : number());
  }
}

void ModelMutator::takeNodeOf(const onnx::ModelProto &other) {
  if (other.graph().node_size() && model.graph().node_size() < kMostNodes)
    *model.mutable_graph()->add_node() = other.graph().node(below(other.graph().node_size()));
}
