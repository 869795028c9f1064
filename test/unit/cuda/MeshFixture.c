// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a mesh of 2 x 2 GPUs, written by hand as the code generator would export it, with each kind of collective. On device
// r = 2 i + j, of x[n, 8] with n in 1..64, which all have:
//   y[n, 8] = 6 x + 10 + (j ? 200 : 400) + 100 (r + 1)
// In variants: FIXTURE_ORDER does two collectives in another order on the last rank; FIXTURE_SKIP leaves one out there;
// FIXTURE_NO_WAIT reads what is in flight; FIXTURE_TYPE combines integers of 16 bits.
#include "snug/ModelABI.h"

#include <stddef.h>

enum { kWidth = 8, kMaxRows = 64, kPart = kMaxRows * kWidth * 4, kThreads = 128, kParts = 9 };
#include "test/unit/cuda/FixtureParts.h"

static const snug_dim_info dims[] = {{"n", 1, kMaxRows, 1}};
static const snug_extent rows[] = {{0, 0, 1, 0, "n"}, {-1, 0, 0, kWidth, "8"}};
static const snug_value_info inputs[] = {{"x", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};
static const snug_value_info outputs[] = {{"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};

static void run(const snug_run_args *args) {
  const snug_runtime_table *t = args->runtime;
  int64_t rank = 2 * args->mesh_index[0] + args->mesh_index[1], count = args->dims[0] * kWidth;
  int64_t blocks = (count + kThreads - 1) / kThreads;
  uint8_t *a = args->arena, *b = a + kPart, *c = b + kPart, *d = c + kPart, *e = d + 2 * kPart, *f = e + kPart, *g = f + kPart;
  uint8_t *second = g + count * 4; // of g's two parts
  int64_t first[] = {(int64_t)args->inputs[0], (int64_t)a, count, bitsOf((float)(rank + 1))};
  t->launch(t->device_state, 0, 0, blocks, first);
  t->start(t->comm_state, 0, a, b, count); // b = 4 x + 10
  int64_t other[] = {(int64_t)args->inputs[0], (int64_t)c, count, bitsOf(100.0f * (float)(rank + 1))};
  t->launch(t->device_state, 1, 0, blocks, other);
  int64_t zero[] = {(int64_t)b, (int64_t)a, count, 0};
#ifdef FIXTURE_NO_WAIT
  t->launch(t->device_state, 2, 0, blocks, zero);
#endif
  t->collective(t->comm_state, 1, c, d, count); // d = x + 100 (j + 1), x + 100 (j + 3)
  t->wait(t->comm_state, 0);
#ifndef FIXTURE_NO_WAIT
  t->launch(t->device_state, 2, 0, blocks, zero); // a = b, while others are on their way
#endif
#ifdef FIXTURE_ORDER
  if (rank == 3) {
    t->collective(t->comm_state, 4, d, g, count);
    t->collective(t->comm_state, 1, c, d, count);
  } else {
    t->collective(t->comm_state, 1, c, d, count);
    t->collective(t->comm_state, 4, d, g, count);
  }
#endif
  t->collective(t->comm_state, 2, d, e, count); // e = x + (j ? 400 : 200)
  t->start(t->comm_state, 3, e, f, count);      // f = x + (j ? 200 : 400)
#ifdef FIXTURE_SKIP
  if (rank != 3)
#endif
    t->start(t->comm_state, 4, d, g, count);    // g = x + 100 (r + 1), twice
  t->wait(t->comm_state, 3);
  int64_t sum[] = {(int64_t)a, (int64_t)f, (int64_t)b, count};
  t->launch(t->device_state, 3, 1, blocks, sum);
  t->wait(t->comm_state, 4);
  int64_t last[] = {(int64_t)b, (int64_t)second, (int64_t)args->outputs[0], count};
  t->launch(t->device_state, 4, 1, blocks, last);
  t->collective(t->comm_state, 2, d, e, 0); // nothing
}

static const snug_launch_info launches[] = {{"shift_1", "Add_0"}, {"shift_1", "Add_1"}, {"shift_1", "Add_2"}, {"add_3", "Add_3"}, {"add_3", "Add_4"}};
static const snug_gpu_kernel kernels[] = {{"shift_1", kThreads, 0, 4, 0}, {"add_3", kThreads, 0, 4, 0}};
#ifdef FIXTURE_TYPE
#define ELEMENT {0, 16, 1}
#else
#define ELEMENT {2, 32, 1}
#endif
static const snug_collective_info collectives[] = {{SNUG_ALL_REDUCE, 3, SNUG_REDUCE_SUM, ELEMENT, "Sum_0"},
                                                   {SNUG_ALL_GATHER, 1, SNUG_REDUCE_SUM, {2, 32, 1}, "Gather_1"},
                                                   {SNUG_REDUCE_SCATTER, 2, SNUG_REDUCE_MAX, {2, 32, 1}, "Max_2"},
                                                   {SNUG_SHIFT, 3, SNUG_REDUCE_SUM, {2, 32, 1}, "Shift_3"},
                                                   {SNUG_ALL_TO_ALL, 1, SNUG_REDUCE_SUM, {2, 32, 1}, "Swap_4"}};

static const snug_model_header header = {
    .abi_version = 5,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "mesh fixture",
    .target = "cuda:sm_90",
    .num_dims = 1,
    .num_inputs = 1,
    .num_outputs = 1,
    .num_threads = 1,
    .dims = dims,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {0, kParts * kPart, 256, 0, kPart, kPart},
    .shapes = shapesOfBoth,
    .run = run,
    .num_launches = 5,
    .launches = launches,
    .mesh = {2, 2},
    .num_collectives = 5,
    .collectives = collectives,
    .device = SNUG_DEVICE_CUDA,
    .num_gpu_kernels = 2,
    .gpu_kernels = kernels,
    .gpu_image = (const uint8_t *)&emptyImage,
    .gpu_image_bytes = sizeof(emptyImage),
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= 5 ? &header : NULL;
}
