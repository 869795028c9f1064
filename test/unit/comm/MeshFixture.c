// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a mesh of MESH_0 x MESH_1 devices, written by hand as the code generator would export it. With this
// rank's weights w[4] and mesh indices i, j:
//   total[n, 4]  = sum over all devices of x * w
//   rows[4]      = largest over the first axis of w;  columns[4] = sum over the second axis of w
//   each[d, 4]   = w of all d devices
//   place[2]     = i, j
// x is read, n is 1..64, weights of rank r are in mesh.r.safetensors. A rank that the environment variable SNUG_TEST_DIE
// names is killed in the middle of a run, one that SNUG_TEST_STUCK names stands still in it; FIXTURE_DIMS bounds n otherwise,
// FIXTURE_SALT makes another file of the same model, FIXTURE_ONE_LESS leaves the last
// collective out, FIXTURE_ONE_FILE has the weights of two ranks in one file, FIXTURE_STARTS has the first two collectives in
// flight while that happens, FIXTURE_PARTS calls x a part of so many columns along the first axis, and total one along both.
#include "snug/ModelABI.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FIXTURE_DIMS
#define FIXTURE_DIMS 64
#endif
enum { kWidth = 4, kMaxRows = FIXTURE_DIMS, kDevices = MESH_0 * MESH_1, kArena = kMaxRows * kWidth * 4 };

static const snug_dim_info dims[] = {{"n", 1, kMaxRows, 1}};
static const snug_extent rows[] = {{0, 0, 1, 0, "n"}, {-1, 0, 0, kWidth, "4"}};
static const snug_extent width[] = {{-1, 0, 0, kWidth, "4"}};
static const snug_extent all[] = {{-1, 0, 0, kDevices, "d"}, {-1, 0, 0, kWidth, "4"}};
static const snug_extent two[] = {{-1, 0, 0, 2, "2"}};
static const snug_value_info inputs[] = {{"x", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};
static const snug_value_info outputs[] = {{"total", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows},
                                          {"rows", SNUG_VALUE_TENSOR, {2, 32, 1}, 1, 0, width},
                                          {"columns", SNUG_VALUE_TENSOR, {2, 32, 1}, 1, 0, width},
                                          {"each", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, all},
                                          {"place", SNUG_VALUE_TENSOR, {0, 64, 1}, 1, 0, two}};

static const snug_collective_info collectives[] = {
    {SNUG_ALL_REDUCE, 3, SNUG_REDUCE_SUM, {2, 32, 1}, "total"},
    {SNUG_ALL_REDUCE, 1, SNUG_REDUCE_MAX, {2, 32, 1}, "rows"},
    {SNUG_ALL_REDUCE, 2, SNUG_REDUCE_SUM, {2, 32, 1}, "columns"},
#ifndef FIXTURE_ONE_LESS
    {SNUG_ALL_GATHER, 3, 0, {2, 32, 1}, "each"},
#endif
};

#ifdef FIXTURE_PARTS
static const snug_value_cut inputCuts[] = {{{1, -1}, {FIXTURE_PARTS, 0}}};
static const snug_value_cut outputCuts[] = {{{1, 1}, {kWidth * kDevices, kWidth * kDevices}}, {{-1, -1}}, {{-1, -1}}, {{-1, -1}}, {{-1, -1}}};
#endif

static void shapes(const int64_t *values, int64_t *extents) {
  int64_t found[] = {values[0], kWidth, values[0], kWidth, kWidth, kWidth, kDevices, kWidth, 2};
  memcpy(extents, found, sizeof(found));
}

static void run(const snug_run_args *args) {
  const float *x = args->inputs[0], *w = (const float *)args->weights;
  float *product = (float *)args->arena;
  int64_t count = args->dims[0] * kWidth, rank = args->mesh_index[0] * MESH_1 + args->mesh_index[1];
  for (int64_t i = 0; i < count; ++i)
    product[i] = x[i] * w[i % kWidth];
  const snug_runtime_table *table = args->runtime;
#ifdef FIXTURE_STARTS
  table->start(table->comm_state, 1, w, args->outputs[1], kWidth);
  table->start(table->comm_state, 0, product, product, count);
#else
  table->collective(table->comm_state, 1, w, args->outputs[1], kWidth);
#endif
  const char *die = getenv("SNUG_TEST_DIE"), *stuck = getenv("SNUG_TEST_STUCK");
  if (die && atoi(die) == rank)
    raise(SIGKILL);
  if (die) // the others are busy until the launcher wants to end them
    usleep(1300000);
  if (stuck && atoi(stuck) == rank)
    for (int i = 0; i < 300; ++i) // 30 s, whatever signals come
      usleep(100000);
#ifndef FIXTURE_STARTS
  table->collective(table->comm_state, 0, product, product, count);
#endif
  table->collective(table->comm_state, 2, w, args->outputs[2], kWidth);
#ifdef FIXTURE_STARTS
  table->wait(table->comm_state, 1);
  table->wait(table->comm_state, 0);
#endif
  if (sizeof(collectives) / sizeof(collectives[0]) > 3)
    table->collective(table->comm_state, 3, w, args->outputs[3], kWidth);
  memcpy(args->outputs[0], product, (size_t)count * 4);
  memcpy(args->outputs[4], args->mesh_index, 16);
}

#ifdef FIXTURE_ONE_FILE // of two ranks
static const snug_rank_weights weights[] = {{"all.safetensors", 256, "0000000000000001"}, {"all.safetensors", 320, "0000000000000001"}};
#else
#define OF(rank) {"mesh." #rank ".safetensors", 256, "000000000000000" #rank}
static const snug_rank_weights weights[] = {OF(0), OF(1), OF(2), OF(3), OF(4), OF(5), OF(6), OF(7)};
#endif
static const snug_launch_info launches[] = {{"none", "none"}};

static const snug_model_header header = {
    .abi_version = SNUG_MODEL_ABI_VERSION,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "mesh",
    .target = "cpu",
    .num_dims = 1,
    .num_inputs = 1,
    .num_outputs = 5,
    .num_threads = 1,
    .dims = dims,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {kWidth * 4, kArena, 64, 0, kArena, kArena + (2 + kDevices) * kWidth * 4 + 16},
    .shapes = shapes,
    .run = run,
    .num_launches = 0,
    .launches = launches,
    .mesh = {MESH_0, MESH_1},
    .num_collectives = sizeof(collectives) / sizeof(collectives[0]),
    .collectives = collectives,
    .rank_weights = weights,
#ifdef FIXTURE_PARTS
    .input_cuts = inputCuts,
    .output_cuts = outputCuts,
#endif
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= SNUG_MODEL_ABI_VERSION ? &header : NULL;
}
#ifdef FIXTURE_SALT
__attribute__((used)) static const char salt[] = "another file";
#endif
