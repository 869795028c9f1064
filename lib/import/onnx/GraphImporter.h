// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Nodes, subgraphs and functions of one ONNX model as ops of snug_onnx.

#ifndef SNUG_LIB_IMPORT_ONNX_GRAPHIMPORTER_H
#define SNUG_LIB_IMPORT_ONNX_GRAPHIMPORTER_H

#include "dialects/onnx/OnnxDialect.h"
#include "lib/import/onnx/Tensors.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringSet.h"
#include <tuple>
#include <vector>

namespace snug {

class GraphImporter {
public:
  GraphImporter(mlir::ModuleOp module, const OnnxSource &source, bool dataMayBeMissing, ImportError &error);

  /// Fills the module, which must be empty. On failure the error is set and the module is to be thrown away.
  mlir::LogicalResult importModel(const ::onnx::ModelProto &model, IsKnownOp isKnown = nullptr, TensorPins *pins = nullptr);

private:
  using Opsets = llvm::StringMap<int64_t>; // domain, "" for ai.onnx -> version

  /// The values that a graph or function defines, by name; a subgraph sees its parents' as well.
  struct Scope {
    const Scope *parent = nullptr;
    unsigned depth = 0;
    llvm::StringMap<mlir::Value> values = {};
    llvm::StringMap<const ::onnx::TypeProto *> types = {}; // value_info and outputs
    const google::protobuf::RepeatedPtrField<::onnx::NodeProto> *nodes = nullptr;
  };

  // Importer.cpp
  mlir::LogicalResult importOpsets(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto> &imports,
                                   Opsets &opsets);
  mlir::LogicalResult importMain(const ::onnx::GraphProto &graph, TensorPins *pins);
  void pinValues(mlir::func::FuncOp main, const Scope &scope, TensorPins &pins);
  mlir::LogicalResult importFunction(const ::onnx::FunctionProto &function);
  mlir::LogicalResult importSchemaFunctions(IsKnownOp isKnown);
  void importMetadata(const ::onnx::ModelProto &model);

  // GraphImporter.cpp
  mlir::LogicalResult importInitializers(const ::onnx::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importNodes(const google::protobuf::RepeatedPtrField<::onnx::NodeProto> &nodes, Scope &scope);
  mlir::LogicalResult importNode(const ::onnx::NodeProto &node, Scope &scope);
  mlir::LogicalResult importSubgraph(const ::onnx::GraphProto &graph, mlir::Region &body, const Scope &outer,
                                     const llvm::Twine &owner);
  mlir::LogicalResult define(llvm::StringRef name, mlir::Value value, Scope &scope, const llvm::Twine &owner);
  mlir::FailureOr<mlir::Value> lookup(llvm::StringRef name, const Scope &scope, const llvm::Twine &owner);
  mlir::FailureOr<mlir::Type> resultType(llvm::StringRef name, const Scope &scope);
  mlir::Value none();
  mlir::Location locate(const ::onnx::NodeProto &node);
  /// A top-level initializer named `name` or, if that is taken, something near.
  mlir::FailureOr<snug::onnx::InitializerOp> addInitializer(const ::onnx::TensorProto &tensor, llvm::StringRef name,
                                                            const llvm::Twine &owner);
  snug::onnx::InitializerOp insertInitializer(llvm::StringRef name, mlir::Type type, mlir::StringAttr file,
                                              mlir::IntegerAttr offset, mlir::IntegerAttr length,
                                              mlir::ElementsAttr value);
  std::string uniqueSymbol(llvm::StringRef name);

  // Attributes.cpp
  mlir::LogicalResult importAttributes(const google::protobuf::RepeatedPtrField<::onnx::AttributeProto> &attributes,
                                       llvm::StringRef name, const llvm::Twine &owner, mlir::DictionaryAttr &result,
                                       llvm::SmallVectorImpl<const ::onnx::GraphProto *> &bodies,
                                       llvm::SmallVectorImpl<mlir::Attribute> &bodyNames);
  mlir::FailureOr<mlir::Attribute> importAttribute(const ::onnx::AttributeProto &attribute, int type,
                                                   llvm::StringRef name, const llvm::Twine &owner);
  mlir::FailureOr<mlir::Attribute> importTensor(const ::onnx::TensorProto &tensor, llvm::StringRef name,
                                                const llvm::Twine &owner);

  mlir::ModuleOp module;
  mlir::OpBuilder builder;
  TensorImporter tensors;
  Opsets opsets;                // of the model, or of the function at hand
  mlir::Block *entry = nullptr; // of the function at hand
  mlir::Value noneValue;        // in `entry`, made when first needed
  mlir::Operation *lastInitializer = nullptr;
  llvm::StringSet<> symbols;
  std::vector<std::tuple<std::string, std::string, int64_t>> usedOps; // domain, type and opset of each op, once
  llvm::StringSet<> seenOps;
};

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_GRAPHIMPORTER_H
