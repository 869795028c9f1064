// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model written by hand as the code generator would export it:
//   y[batch, n, 8] = x[batch, n, 8] * w[8] + 1 + shift[n + 1][row + 1],   pairs[n*n] = 0, 1, 2, ...
// with batch fixed at 1 and n in 2..64 by 2. FIXTURE_EMBEDDED puts the weights into the library, FIXTURE_FREE_DIM adds
// a dim that no input's shape determines (pairs has k*k elements then), FIXTURE_OVERWRITES makes a donated input of x,
// whose first element is lost, FIXTURE_BUCKETS has a smaller arena for n up to 16, FIXTURE_ABI pretends another version,
// FIXTURE_DEVICE another device, FIXTURE_ABI_4 is what a compiler of before devices wrote.
#include "snug/ModelABI.h"

#include <stddef.h>

#ifndef FIXTURE_ABI
#define FIXTURE_ABI SNUG_MODEL_ABI_VERSION
#endif

enum { kWidth = 8, kMaxRows = 64, kThreads = 4, kScratch = 64, kProduct = kMaxRows * kWidth * 4 };

static const snug_dim_info dims[] = {
    {"batch", 1, 1, 1},
    {"n", 2, kMaxRows, 2},
#ifdef FIXTURE_FREE_DIM
    {"k", 1, 4, 1},
#endif
};
enum { kNumDims = sizeof(dims) / sizeof(dims[0]) };

static const snug_extent rows[] = {{0, 0, 1, 0, "batch"}, {1, 0, 1, 0, "n"}, {-1, 0, 0, kWidth, "8"}};
static const snug_extent shiftExtents[] = {{1, 0, 1, 1, "n + 1"}};
static const snug_extent pairsExtents[] = {{-2, 0, 0, 0, "n*n"}};
#ifdef FIXTURE_OVERWRITES
enum { kFlagsOfX = SNUG_VALUE_OVERWRITTEN };
#else
enum { kFlagsOfX = 0 };
#endif
static const snug_value_info inputs[] = {{"x", SNUG_VALUE_TENSOR, {2, 32, 1}, 3, kFlagsOfX, rows},
                                         {"shift", SNUG_VALUE_TENSOR, {0, 64, 1}, 1, 0, shiftExtents}};
static const snug_value_info outputs[] = {{"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 3, 0, rows},
                                          {"pairs", SNUG_VALUE_TENSOR, {2, 32, 1}, 1, 0, pairsExtents}};

static int64_t pairSide(const int64_t *values) { return values[kNumDims - 1]; } // k where there is one, else n

static void shapes(const int64_t *values, int64_t *extents) {
  int64_t n = values[1];
  int64_t all[] = {values[0], n, kWidth, n + 1, values[0], n, kWidth, pairSide(values) * pairSide(values)};
  for (int i = 0; i < 8; ++i)
    extents[i] = all[i];
}

// args: x, w, product, scratch. Goes through the thread's scratch, so that two threads on one scratch give wrong
// values.
static void multiply(const int64_t *args, int64_t lo, int64_t hi, int64_t thread) {
  const float *x = (const float *)args[0], *w = (const float *)args[1];
  float *product = (float *)args[2];
  volatile float *scratch = (float *)((char *)args[3] + thread * kScratch);
  for (int64_t i = lo; i < hi; ++i) {
    for (int j = 0; j < kWidth; ++j)
      scratch[j] = x[i * kWidth + j] * w[j];
    for (int j = 0; j < kWidth; ++j)
      product[i * kWidth + j] = scratch[j];
  }
}

// args: product, shift, y
static void add(const int64_t *args, int64_t lo, int64_t hi, int64_t thread) {
  (void)thread;
  const float *product = (const float *)args[0];
  const int64_t *shift = (const int64_t *)args[1];
  float *y = (float *)args[2];
  for (int64_t i = lo; i < hi; ++i)
    for (int j = 0; j < kWidth; ++j)
      y[i * kWidth + j] = product[i * kWidth + j] + 1.0f + (float)shift[i + 1];
}

#ifdef FIXTURE_BUCKETS
enum { kShortRows = 16 };
static uint64_t arenaNeed(const int64_t *values) {
  return (values[1] <= kShortRows ? kShortRows * kWidth * 4 : kProduct) + kThreads * kScratch;
}
#define ARENA_NEED arenaNeed
#define PRODUCT_BYTES(values) ((int64_t)arenaNeed(values) - kThreads * kScratch)
#else
#define ARENA_NEED NULL
#define PRODUCT_BYTES(values) kProduct
#endif

static void run(const snug_run_args *args) {
  int64_t n = args->dims[1], side = pairSide(args->dims);
  int64_t product = (int64_t)args->arena;
  int64_t first[] = {0, (int64_t)args->inputs[0], (int64_t)args->weights, product,
                     product + PRODUCT_BYTES(args->dims)};
  args->runtime->parallel_for(args->runtime_state, multiply, first + 1, n, 2);
  int64_t second[] = {1, product, (int64_t)args->inputs[1], (int64_t)args->outputs[0]};
  args->runtime->parallel_for(args->runtime_state, add, second + 1, n, 2);
  for (int64_t i = 0; i < side * side; ++i)
    ((float *)args->outputs[1])[i] = (float)i;
  if (kFlagsOfX)
    *(float *)args->inputs[0] = -1.0f;
}

#ifdef FIXTURE_EMBEDDED
static const float weights[kWidth] __attribute__((aligned(64))) = {10, 20, 30, 40, 50, 60, 70, 80};
#define WEIGHTS (const uint8_t *)weights, NULL, 0, NULL
#else
// Fixture.h writes this file.
#define WEIGHTS NULL, "fixture.safetensors", 256, "0123456789abcdef"
#endif

static const snug_launch_info launches[] = {{"multiply", "scale"}, {"add", "shift, add"}};

#ifdef FIXTURE_ABI_4
#define VERSION 4, offsetof(snug_model_header, device)
#else
#define VERSION SNUG_MODEL_ABI_VERSION, sizeof(snug_model_header)
#endif

static const snug_model_header header = {
    VERSION,
    "0.1.0",
    "fixture",
    "cpu",
    kNumDims,
    2,
    2,
    kThreads,
    dims,
    inputs,
    outputs,
    {kWidth * 4, kProduct + kThreads * kScratch, 64, 1000, kMaxRows * kWidth * 4 + (kMaxRows + 1) * 8,
     kMaxRows * kWidth * 4 + kMaxRows * kMaxRows * 4},
    WEIGHTS,
    shapes,
    run,
    2,
    0,
    launches,
    ARENA_NEED,
#ifdef FIXTURE_DEVICE
    .device = FIXTURE_DEVICE,
#endif
};

#ifndef FIXTURE_NO_QUERY
__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= FIXTURE_ABI ? &header : NULL;
}
#else
const snug_model_header *const unused = &header;
#endif
