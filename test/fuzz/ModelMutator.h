// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Changes of an ONNX model that leave it a protobuf message, but seldom a valid model.
#ifndef SNUG_TEST_FUZZ_MODELMUTATOR_H
#define SNUG_TEST_FUZZ_MODELMUTATOR_H

#include "onnx-ml.pb.h"
#include <random>

namespace snug::fuzz {

class ModelMutator {
public:
  ModelMutator(onnx::ModelProto &model, unsigned seed);
  // One change, of what is chosen at random.
  void mutate();
  // Takes a node of another model over.
  void takeNodeOf(const onnx::ModelProto &other);

private:
  void mutateNode(onnx::NodeProto &node);
  void mutateEdges(onnx::NodeProto &node);
  void mutateAttribute(onnx::AttributeProto &attribute);
  void mutateTensor(onnx::TensorProto &tensor);
  void mutateInput(onnx::ValueInfoProto &info);
  void mutateGraph(onnx::GraphProto &graph);
  void mutateModel();
  void collect(onnx::GraphProto &graph, int depth);
  void collect(google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes, int depth);

  unsigned below(size_t n) { return n ? static_cast<unsigned>(random() % n) : 0; }
  template <class C> auto &any(C &choices) { return choices[below(choices.size())]; }
  int64_t number();
  std::string name();

  onnx::ModelProto &model;
  std::mt19937 random;
  std::vector<onnx::GraphProto *> graphs;
  std::vector<google::protobuf::RepeatedPtrField<onnx::NodeProto> *> bodies; // of graphs and functions
  std::vector<onnx::NodeProto *> nodes;
  std::vector<onnx::AttributeProto *> attributes;
  std::vector<onnx::TensorProto *> tensors;
  std::vector<std::string> names, ops;
};

} // namespace snug::fuzz

#endif
