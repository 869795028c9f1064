// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX types and tensors as MLIR types and attributes.

#ifndef SNUG_LIB_IMPORT_ONNX_TENSORS_H
#define SNUG_LIB_IMPORT_ONNX_TENSORS_H

#include "lib/import/onnx/ExternalData.h"
#include "lib/import/onnx/Importer.h"
#include "onnx-ml.pb.h"

namespace snug {

/// Where a tensor's elements stand.
struct TensorPlace {
  std::string file; // relative to the model's folder
  uint64_t offset, length;
};

/// All functions take the name to blame as `owner` ("initializer 'w'") and fill the error on failure.
class TensorImporter {
public:
  TensorImporter(mlir::MLIRContext &context, const OnnxSource &source, bool dataMayBeMissing, ImportError &error)
      : context(context), modelPath(source.path), external(source, dataMayBeMissing), error(error) {}

  /// Sets the error; for use in return statements.
  mlir::LogicalResult fail(int exitCode, const llvm::Twine &message);

  mlir::FailureOr<mlir::Type> type(const ::onnx::TypeProto &type, const llvm::Twine &owner);
  mlir::FailureOr<mlir::Type> elementType(int dataType, const llvm::Twine &owner);
  /// The type of a tensor with data: static dims, whose bytes were checked for overflow.
  mlir::FailureOr<mlir::RankedTensorType> type(const ::onnx::TensorProto &tensor, const llvm::Twine &owner);

  static bool isExternal(const ::onnx::TensorProto &tensor) {
    return tensor.data_location() == ::onnx::TensorProto::EXTERNAL;
  }
  /// Place of an external tensor, checked against the file and the tensor's own size.
  mlir::FailureOr<TensorPlace> place(const ::onnx::TensorProto &tensor, const llvm::Twine &owner);
  /// Whether the external tensor is so small that it is better held by value.
  static bool isSmall(mlir::RankedTensorType type, const TensorPlace &place);
  /// Elements of an external tensor, read from its checked place.
  mlir::FailureOr<mlir::DenseElementsAttr> elements(const ::onnx::TensorProto &tensor, const TensorPlace &place,
                                                    const llvm::Twine &owner);
  /// Elements of a tensor that is not external.
  mlir::FailureOr<mlir::DenseElementsAttr> elements(const ::onnx::TensorProto &tensor, const llvm::Twine &owner);
  mlir::FailureOr<mlir::SparseElementsAttr> elements(const ::onnx::SparseTensorProto &tensor, const llvm::Twine &owner);

  /// The dims of a graph input or output as `snug.dims`; null without a shape. A dim without value or name is called
  /// after the tensor and its position, "x_dim0", so that it can be given a value.
  mlir::ArrayAttr dims(const ::onnx::TypeProto &type, llvm::StringRef name);

  const ExternalData &files() const { return external; }

private:
  mlir::FailureOr<mlir::Type> tensorType(int elementType, const ::onnx::TensorShapeProto *shape,
                                         const llvm::Twine &owner);

  mlir::MLIRContext &context;
  std::string modelPath;
  ExternalData external;
  ImportError &error;
};

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_TENSORS_H
