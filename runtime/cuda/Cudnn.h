// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NVIDIA's cuDNN, version 9, opened when the first model needs it. As in Driver.h, what is used of it is declared here as its public
// ABI has it: the backend of its graph API, where all is descriptors with attributes, which are complete once they are finalized.
#ifndef SNUG_RUNTIME_CUDA_CUDNN_H
#define SNUG_RUNTIME_CUDA_CUDNN_H

#include "runtime/core/Error.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace snug::cudnn {

using Status = int;          // cudnnStatus_t
using Handle = void *;       // cudnnHandle_t
using BackendDesc = void *;  // cudnnBackendDescriptor_t

// Errors come in thousands, with the particulars below.
enum : Status { kSuccess = 0, kNotInitialized = 1001, kBadParam = 2000, kNotFinalized = 2004, kNotSupported = 3000, kInternalError = 4000, kExecutionFailed = 5000 };
enum DataType : int { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 9 };
enum Kind : int {
  kPointwise = 0,
  kConvolution = 1,
  kEngine = 2,
  kEngineConfig = 3,
  kHeuristic = 4,
  kPlan = 5,
  kConvolutionForward = 10,
  kPointwiseOperation = 13,
  kGraph = 15,
  kVariantPack = 16,
  kTensor = 17,
};
enum Type : int {
  kTypeHandle = 0,
  kTypeDataType = 1,
  kTypeBool = 2,
  kTypeInt64 = 3,
  kTypeFloat = 4,
  kTypePointer = 6,
  kTypeConvolutionMode = 7,
  kTypeHeuristicMode = 8,
  kTypeNumericalNote = 11,
  kTypePointwiseMode = 14,
  kTypeDescriptor = 15,
};
enum Attribute : int {
  kPointwiseMode = 0,
  kPointwisePrecision = 1,
  kConvolutionType = 100,
  kConvolutionMode = 101,
  kConvolutionDilations = 102,
  kConvolutionStrides = 103,
  kConvolutionPaddingAfter = 104,
  kConvolutionPaddingBefore = 105,
  kConvolutionSpatialDims = 106,
  kHeuristicMode = 200,
  kHeuristicGraph = 201,
  kHeuristicResults = 202,
  kConfigEngine = 300,
  kPlanHandle = 400,
  kPlanConfig = 401,
  kPlanWorkspaceBytes = 402,
  kForwardAlpha = 700,
  kForwardBeta = 701,
  kForwardConvolution = 702,
  kForwardFilters = 703,
  kForwardInput = 704,
  kForwardResult = 705,
  kOperationPointwise = 750,
  kOperationInput = 751,
  kOperationOther = 752,
  kOperationResult = 753,
  kOperationOtherAlpha = 755,
  kGraphHandle = 800,
  kGraphOperations = 801,
  kTensorAlignment = 900,
  kTensorType = 901,
  kTensorExtents = 902,
  kTensorStrides = 903,
  kTensorId = 906,
  kTensorIsVirtual = 907,
  kPackIds = 1000,
  kPackAddresses = 1001,
  kPackWorkspace = 1003,
  kEngineNotes = 1303,
};
enum ConvolutionModes : int { kCrossCorrelation = 1 };
enum PointwiseModes : int { kAdd = 0, kRelu = 100 };
enum HeuristicModes : int { kFallback = 2, kModeA = 3 };
enum NumericalNote : int {
  kTensorCore = 0,
  kDownConvertInputs = 1,
  kReducedPrecisionReduction = 2,
  kFft = 3,
  kNondeterministic = 4,
  kWinograd = 5,
  kWinogradTile4x4 = 6,
};

// X(name in cuDNN's header, parameters)
#define SNUG_CUDNN_FUNCTIONS(X)                                                                                        \
  X(cudnnCreate, (Handle * handle))                                                                                    \
  X(cudnnDestroy, (Handle handle))                                                                                     \
  X(cudnnSetStream, (Handle handle, void *stream))                                                                     \
  X(cudnnBackendCreateDescriptor, (Kind kind, BackendDesc *descriptor))                                                \
  X(cudnnBackendDestroyDescriptor, (BackendDesc descriptor))                                                           \
  X(cudnnBackendFinalize, (BackendDesc descriptor))                                                                    \
  X(cudnnBackendSetAttribute, (BackendDesc descriptor, Attribute attribute, Type type, int64_t count, const void *values)) \
  X(cudnnBackendGetAttribute, (BackendDesc descriptor, Attribute attribute, Type type, int64_t asked, int64_t *count, void *values)) \
  X(cudnnBackendExecute, (Handle handle, BackendDesc plan, BackendDesc pack))

struct Library {
#define SNUG_CUDNN_MEMBER(name, parameters) Status(*name) parameters;
  SNUG_CUDNN_FUNCTIONS(SNUG_CUDNN_MEMBER)
#undef SNUG_CUDNN_MEMBER
  const char *(*cudnnGetErrorString)(Status status);
};

// The library of this machine, opened by the first call and kept until the process ends. Any thread. Throws where there is none,
// and tries again on the next call.
const Library &library();

// "CUDNN_STATUS_NOT_SUPPORTED (3000)"
std::string errorText(Status status);

} // namespace snug::cudnn

#endif
