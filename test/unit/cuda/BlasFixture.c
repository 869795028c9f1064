// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a GPU with a product that a library may do, written by hand as the code generator would export it:
//   y[n, 8] = max(x[n, 8] w[8, 8] + b[8], 0),   with n in 1..64,
// where w[k, j] = k - j / 2 and b[j] = j; else by the kernel product_0 of CudaKernels.c. FIXTURE_CONVOLUTION: as a convolution of n
// instances of one place.
#include "snug/ModelABI.h"

#include <stddef.h>

enum { kWidth = 8, kMaxRows = 64, kBytes = kMaxRows * kWidth * 4, kThreads = 128, kWorkspace = 8192 };
#include "test/unit/cuda/FixtureParts.h"

static const snug_dim_info dims[] = {{"n", 1, kMaxRows, 1}};
static const snug_extent rows[] = {{0, 0, 1, 0, "n"}, {-1, 0, 0, kWidth, "8"}};
static const snug_value_info inputs[] = {{"x", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};
static const snug_value_info outputs[] = {{"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};

static void run(const snug_run_args *args) {
  const snug_runtime_table *runtime = args->runtime;
  int64_t n = args->dims[0], x = (int64_t)args->inputs[0], y = (int64_t)args->outputs[0], w = (int64_t)args->weights, b = w + 64 * 4;
  int64_t kernel[] = {x, w, b, y, n * kWidth};
  // A matrix of rows is one of columns to BLAS, transposed: y' = w' x'.
#ifdef FIXTURE_CONVOLUTION
  snug_convolution_shape shape = {.batch = n, .channels = kWidth, .filters = kWidth, .groups = 1, .in = {1, 1, 1}, .window = {1, 1, 1},
                                  .out = {1, 1, 1}, .step = {1, 1, 1}, .dilation = {1, 1, 1}, .strides_a = {kWidth, 1},
                                  .strides_b = {kWidth, 1}, .strides_d = {kWidth, 1}, .a = x, .b = b + 8 * 4, .d = y, .bias = b,
                                  .workspace = (int64_t)args->arena};
#else
  snug_contraction_shape shape = {.m = kWidth, .n = n, .k = kWidth, .batch = 1, .ld_a = kWidth, .ld_b = kWidth, .ld_d = kWidth,
                                  .a = w, .b = x, .d = y, .bias = b, .workspace = (int64_t)args->arena};
#endif
  runtime->contract(runtime->device_state, 0, 0, &shape, 0, (n * kWidth + kThreads - 1) / kThreads, kernel);
}

#define ROW(k) k, k - 0.5f, k - 1.0f, k - 1.5f, k - 2.0f, k - 2.5f, k - 3.0f, k - 3.5f
#define COLUMN(j) -j / 2.0f, 1 - j / 2.0f, 2 - j / 2.0f, 3 - j / 2.0f, 4 - j / 2.0f, 5 - j / 2.0f, 6 - j / 2.0f, 7 - j / 2.0f
static const float weights[136] __attribute__((aligned(64))) = {ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7),
                                                                 0, 1, 2, 3, 4, 5, 6, 7, // and the filters
                                                                COLUMN(0), COLUMN(1), COLUMN(2), COLUMN(3), COLUMN(4), COLUMN(5), COLUMN(6), COLUMN(7)};
static const snug_launch_info launches[] = {{"product_0", "MatMul_0, Relu_1"}};
static const snug_gpu_kernel kernels[] = {{"product_0", kThreads, 0, 5, 0}};
#ifdef FIXTURE_CONVOLUTION
enum { kSpatial = 1 };
#else
enum { kSpatial = 0 };
#endif
static const snug_contraction contractions[] = {
    {{2, 32, 1}, {2, 32, 1}, SNUG_CONTRACTION_BIAS | SNUG_CONTRACTION_RELU, kSpatial, 1, 0}};

static const snug_model_header header = {
    .abi_version = 5,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "fixture",
    .target = "cuda:sm_90",
    .num_dims = 1,
    .num_inputs = 1,
    .num_outputs = 1,
    .num_threads = 1,
    .dims = dims,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {sizeof(weights), kWorkspace, 256, 0, kBytes, kBytes},
    .weights_data = (const uint8_t *)weights,
    .shapes = shapesOfBoth,
    .run = run,
    .num_launches = 1,
    .launches = launches,
    .device = SNUG_DEVICE_CUDA,
    .num_gpu_kernels = 1,
    .gpu_kernels = kernels,
    .gpu_image = (const uint8_t *)&emptyImage,
    .gpu_image_bytes = sizeof(emptyImage),
    .workspace_bytes = kWorkspace,
    .num_contractions = 1,
#ifndef FIXTURE_NO_CONTRACTIONS
    .contractions = contractions,
#endif
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= 5 ? &header : NULL;
}
