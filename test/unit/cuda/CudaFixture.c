// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a GPU, written by hand as the code generator would export it:
//   y[n, 8] = x[n, 8] * w[8] + 1,   with n in 1..64
// as two kernels (CudaKernels.c) with their product in the arena. In variants:
// FIXTURE_WEIGHTS=N has N floats of weights, of which those from FIXTURE_FIRST on are w; FIXTURE_DATA_SHAPE gives y the rows in front of the first
// one that starts with a negative number; with FIXTURE_READ it computes no others. FIXTURE_VALUE_DIM takes n from an input; FIXTURE_KERNEL is the name of the second
// kernel; FIXTURE_SHARED its dynamic shared memory; FIXTURE_LAUNCHES starts it that often if n is odd; FIXTURE_CHIP is the image's;
// FIXTURE_TEXT has strings.
#include "snug/ModelABI.h"

#include <stddef.h>

enum { kWidth = 8, kMaxRows = 64, kProduct = kMaxRows * kWidth * 4, kThreads = 128 };
#include "test/unit/cuda/FixtureParts.h"
#ifndef FIXTURE_WEIGHTS
#define FIXTURE_WEIGHTS kWidth
#endif
#ifndef FIXTURE_FIRST
#define FIXTURE_FIRST 0
#endif
#ifndef FIXTURE_KERNEL
#define FIXTURE_KERNEL "shift_1"
#endif
#ifndef FIXTURE_SHARED
#define FIXTURE_SHARED 0
#endif
#ifndef FIXTURE_LAUNCHES
#define FIXTURE_LAUNCHES 1
#endif

static const snug_dim_info dims[] = {{"n", 1, kMaxRows, 1}};
#ifdef FIXTURE_VALUE_DIM
static const snug_extent rows[] = {{-2, 0, 0, 0, "n"}, {-1, 0, 0, kWidth, "8"}};
#else
static const snug_extent rows[] = {{0, 0, 1, 0, "n"}, {-1, 0, 0, kWidth, "8"}};
#endif
#ifdef FIXTURE_DATA_SHAPE
enum { kFlagsOfY = SNUG_VALUE_DATA_SHAPE, kShapeBytes = 2 * 8 };
#else
enum { kFlagsOfY = 0, kShapeBytes = 0 };
#endif
#ifdef FIXTURE_TEXT
enum { kKindOfX = SNUG_VALUE_STRING_TENSOR };
#else
enum { kKindOfX = SNUG_VALUE_TENSOR };
#endif
static const snug_value_info inputs[] = {{"x", kKindOfX, {2, 32, 1}, 2, 0, rows}, {"rows", SNUG_VALUE_TENSOR, {0, 64, 1}, 0, 0, NULL}};
static const snug_value_info outputs[] = {{"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, kFlagsOfY, rows}};
#ifdef FIXTURE_VALUE_DIM
enum { kNumInputs = 2, kInputBytes = kProduct + 8 };
static const snug_value_dim valueDims[] = {{0, 1, 0}};
#else
enum { kNumInputs = 1, kInputBytes = kProduct };
#endif

static void run(const snug_run_args *args) {
  const snug_runtime_table *runtime = args->runtime;
  int64_t rows = args->dims[0];
#ifdef FIXTURE_DATA_SHAPE
  int64_t third[] = {(int64_t)args->inputs[0], (int64_t)args->outputs[1], args->dims[0]};
  runtime->launch(runtime->device_state, 2, 2, 1, third);
#endif
#ifdef FIXTURE_READ
  rows = runtime->read(runtime->device_state, args->outputs[1], 8);
#endif
  int64_t count = rows * kWidth, blocks = (count + kThreads - 1) / kThreads, product = (int64_t)args->arena;
  int64_t w = (int64_t)args->weights + FIXTURE_FIRST * 4;
  int64_t first[] = {(int64_t)args->inputs[0], w, product, count};
  runtime->launch(runtime->device_state, 0, 0, blocks, first);
  int64_t second[] = {product, (int64_t)args->outputs[0], count, bitsOf(1.0f)};
  for (int64_t i = 0; i < (args->dims[0] % 2 ? FIXTURE_LAUNCHES : 1); ++i)
    runtime->launch(runtime->device_state, 1, 1, blocks, second);
  runtime->launch(runtime->device_state, 0, 0, 0, first); // of no blocks: nothing is done
}

static const float weights[FIXTURE_WEIGHTS] __attribute__((aligned(64))) = {
    [FIXTURE_FIRST] = 1, 2, 3, 4, 5, 6, 7, 8};

static const snug_launch_info launches[] = {{"scale_0", "Mul_0"}, {FIXTURE_KERNEL, "Add_1"}, {"count_2", "Compress_2"}};
static const snug_gpu_kernel kernels[] = {
    {"scale_0", kThreads, 0, 4, 0}, {FIXTURE_KERNEL, kThreads, FIXTURE_SHARED, 4, 0}, {"count_2", 1, 0, 3, 0}};
#ifdef FIXTURE_DATA_SHAPE
enum { kNumKernels = 3 };
static const uint32_t dataShapes[] = {0};
#else
enum { kNumKernels = 2 };
#endif

static const snug_model_header header = {
    .abi_version = 5,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "fixture",
    .target = "cuda:sm_90",
    .num_dims = 1,
    .num_inputs = kNumInputs,
    .num_outputs = 1,
    .num_threads = 1,
    .dims = dims,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {FIXTURE_WEIGHTS * 4, kProduct, 256, kShapeBytes, kInputBytes, kProduct},
    .weights_data = (const uint8_t *)weights,
    .shapes = shapesOfBoth,
    .run = run,
    .num_launches = kNumKernels,
    .launches = launches,
#ifdef FIXTURE_DATA_SHAPE
    .num_data_shapes = 1,
    .data_shapes = dataShapes,
#endif
#ifdef FIXTURE_VALUE_DIM
    .num_value_dims = 1,
    .value_dims = valueDims,
#endif
    .device = SNUG_DEVICE_CUDA,
    .num_gpu_kernels = kNumKernels,
    .gpu_kernels = kernels,
#ifndef FIXTURE_NO_IMAGE
    .gpu_image = (const uint8_t *)&emptyImage,
#endif
    .gpu_image_bytes = sizeof(emptyImage),
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= 5 ? &header : NULL;
}
