// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What runtime/cuda/CublasLt.h declares, against NVIDIA's own header: built where that is installed.

#include <cublasLt.h>

#include "runtime/cuda/CublasLt.h"
#include "test/unit/cuda/AlikeTypes.h"

#include <gtest/gtest.h>

namespace ours = snug::cublaslt;

TEST(CublasLtHeader, DeclaresTheSameFunctions) {
#define CHECK(name, parameters) EXPECT_TRUE(areAlike(decltype(ours::Library::name)(nullptr), static_cast<decltype(&::name)>(nullptr))) << #name;
  SNUG_CUBLASLT_FUNCTIONS(CHECK)
  EXPECT_TRUE((std::is_same_v<decltype(ours::Library::cublasLtGetVersion), decltype(&::cublasLtGetVersion)>));
}

TEST(CublasLtHeader, HasTheSameNumbers) {
  EXPECT_EQ(int(ours::kSuccess), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(int(ours::kNotInitialized), CUBLAS_STATUS_NOT_INITIALIZED);
  EXPECT_EQ(int(ours::kAllocFailed), CUBLAS_STATUS_ALLOC_FAILED);
  EXPECT_EQ(int(ours::kInvalidValue), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(int(ours::kExecutionFailed), CUBLAS_STATUS_EXECUTION_FAILED);
  EXPECT_EQ(int(ours::kNotSupported), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(int(ours::kFloat32), CUDA_R_32F);
  EXPECT_EQ(int(ours::kFloat64), CUDA_R_64F);
  EXPECT_EQ(int(ours::kFloat16), CUDA_R_16F);
  EXPECT_EQ(int(ours::kBFloat16), CUDA_R_16BF);
  EXPECT_EQ(int(ours::kCompute32F), CUBLAS_COMPUTE_32F);
  EXPECT_EQ(int(ours::kCompute64F), CUBLAS_COMPUTE_64F);
  EXPECT_EQ(int(ours::kCompute32FFastTF32), CUBLAS_COMPUTE_32F_FAST_TF32);
  EXPECT_EQ(int(ours::kPlain), CUBLAS_OP_N);
  EXPECT_EQ(int(ours::kTransposed), CUBLAS_OP_T);
  EXPECT_EQ(unsigned(ours::kDefault), CUBLASLT_EPILOGUE_DEFAULT);
  EXPECT_EQ(unsigned(ours::kRelu), CUBLASLT_EPILOGUE_RELU);
  EXPECT_EQ(unsigned(ours::kBias), CUBLASLT_EPILOGUE_BIAS);
  EXPECT_EQ(unsigned(ours::kRelu | ours::kBias), CUBLASLT_EPILOGUE_RELU_BIAS);
  EXPECT_EQ(unsigned(ours::kGelu), CUBLASLT_EPILOGUE_GELU);
  EXPECT_EQ(unsigned(ours::kGelu | ours::kBias), CUBLASLT_EPILOGUE_GELU_BIAS);
  EXPECT_EQ(int(ours::kTransposeA), CUBLASLT_MATMUL_DESC_TRANSA);
  EXPECT_EQ(int(ours::kTransposeB), CUBLASLT_MATMUL_DESC_TRANSB);
  EXPECT_EQ(int(ours::kEpilogue), CUBLASLT_MATMUL_DESC_EPILOGUE);
  EXPECT_EQ(int(ours::kBiasPointer), CUBLASLT_MATMUL_DESC_BIAS_POINTER);
  EXPECT_EQ(int(ours::kBatchCount), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
  EXPECT_EQ(int(ours::kBatchStride), CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
  EXPECT_EQ(int(ours::kMaxWorkspaceBytes), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
  EXPECT_EQ(int(ours::kReductionSchemes), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
  EXPECT_EQ(int(ours::kAlignmentA), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
  EXPECT_EQ(int(ours::kAlignmentB), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
  EXPECT_EQ(int(ours::kAlignmentC), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
  EXPECT_EQ(int(ours::kAlignmentD), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
  EXPECT_EQ(unsigned(ours::kInComputeType), CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  EXPECT_EQ(unsigned(ours::kAnyScheme), CUBLASLT_REDUCTION_SCHEME_MASK);
  EXPECT_EQ(sizeof(ours::Algorithm), sizeof(cublasLtMatmulAlgo_t));
  EXPECT_EQ(sizeof(ours::HeuristicResult), sizeof(cublasLtMatmulHeuristicResult_t));
  EXPECT_EQ(offsetof(ours::HeuristicResult, workspaceBytes), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
  EXPECT_EQ(offsetof(ours::HeuristicResult, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
}
