// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NVIDIA's cuBLASLt, opened when the first model needs it. As in Driver.h, what is used of it is declared here as its public ABI
// has it, which is the same in versions 12 and 13.
#ifndef SNUG_RUNTIME_CUDA_CUBLAS_LT_H
#define SNUG_RUNTIME_CUDA_CUBLAS_LT_H

#include "runtime/core/Error.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace snug::cublaslt {

using Status = int;           // cublasStatus_t
using Handle = void *;        // cublasLtHandle_t, and so on
using MatmulDesc = void *;
using MatrixLayout = void *;
using Preference = void *;
struct Algorithm { // cublasLtMatmulAlgo_t: plain data, which may be kept
  uint64_t data[8];
};
struct HeuristicResult { // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspaceBytes;
  Status state; // the others are valid where it is kSuccess
  float waves;
  int reserved[4];
};

enum : Status { kSuccess = 0, kNotInitialized = 1, kAllocFailed = 3, kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15 };
enum DataType : int32_t { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14 }; // cudaDataType
enum ComputeType : int32_t { kCompute32F = 68, kCompute64F = 70, kCompute32FFastTF32 = 77 };
enum Operation : int32_t { kPlain = 0, kTransposed = 1 };                             // cublasOperation_t
enum Epilogue : uint32_t { kDefault = 1, kRelu = 2, kBias = 4, kGelu = 32 };          // the sum of what is wanted beside kDefault
enum DescAttribute : int { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };
enum PreferenceAttribute : int { kMaxWorkspaceBytes = 1, kReductionSchemes = 3, kAlignmentA = 5, kAlignmentB = 6, kAlignmentC = 7, kAlignmentD = 8 };
enum ReductionScheme : uint32_t { kInComputeType = 2, kAnyScheme = 7 }; // of parts of a sum; without parts is always allowed

// X(name in cuBLASLt's header, parameters)
#define SNUG_CUBLASLT_FUNCTIONS(X)                                                                                     \
  X(cublasLtCreate, (Handle * handle))                                                                                 \
  X(cublasLtDestroy, (Handle handle))                                                                                  \
  X(cublasLtMatmulDescCreate, (MatmulDesc * desc, ComputeType compute, DataType scale))                                \
  X(cublasLtMatmulDescDestroy, (MatmulDesc desc))                                                                      \
  X(cublasLtMatmulDescSetAttribute, (MatmulDesc desc, DescAttribute attribute, const void *value, size_t bytes))       \
  X(cublasLtMatrixLayoutCreate, (MatrixLayout * layout, DataType type, uint64_t rows, uint64_t columns, int64_t ld))   \
  X(cublasLtMatrixLayoutDestroy, (MatrixLayout layout))                                                                \
  X(cublasLtMatrixLayoutSetAttribute, (MatrixLayout layout, LayoutAttribute attribute, const void *value, size_t bytes)) \
  X(cublasLtMatmulPreferenceCreate, (Preference * preference))                                                         \
  X(cublasLtMatmulPreferenceDestroy, (Preference preference))                                                          \
  X(cublasLtMatmulPreferenceSetAttribute, (Preference preference, PreferenceAttribute attribute, const void *value, size_t bytes)) \
  X(cublasLtMatmulAlgoGetHeuristic, (Handle handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c,   \
                                     MatrixLayout d, Preference preference, int asked, HeuristicResult *results, int *found)) \
  X(cublasLtMatmulAlgoCheck, (Handle handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d, \
                              const Algorithm *algorithm, HeuristicResult *result))                                    \
  X(cublasLtMatmul, (Handle handle, MatmulDesc desc, const void *alpha, const void *a, MatrixLayout layoutA,           \
                     const void *b, MatrixLayout layoutB, const void *beta, const void *c, MatrixLayout layoutC, void *d, \
                     MatrixLayout layoutD, const Algorithm *algorithm, void *workspace, size_t workspaceBytes, void *stream))

struct Library {
#define SNUG_CUBLASLT_MEMBER(name, parameters) Status(*name) parameters;
  SNUG_CUBLASLT_FUNCTIONS(SNUG_CUBLASLT_MEMBER)
#undef SNUG_CUBLASLT_MEMBER
  const char *(*cublasLtGetStatusName)(Status status);
  size_t (*cublasLtGetVersion)();
};

// The library of this machine, opened by the first call and kept until the process ends. Any thread. Throws where there is none,
// and tries again on the next call.
const Library &library();

// "CUBLAS_STATUS_NOT_SUPPORTED (15)"
std::string errorText(Status status);

} // namespace snug::cublaslt

#endif
