// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model written by hand as the code generator would export it, with sizes that data decides: the input `counts` (int32,
// two elements in 0..4 and 1..3) states the dims counts.0 and counts.1; y[counts.0, counts.1] has only as many rows as
// elements of mask[counts.0] are not 0, each its number, and z[counts.1] is 7. A row of y is said to be a map.
#include "snug/ModelABI.h"

#include <stddef.h>

static const snug_dim_info dims[] = {{"counts.0", 0, 4, 1}, {"counts.1", 1, 3, 1}};
static const snug_extent two[] = {{-1, 0, 0, 2, "2"}};
static const snug_extent shape[] = {{0, 0, 1, 0, "counts.0"}, {1, 0, 1, 0, "counts.1"}};
static const snug_value_info inputs[] = {{"counts", SNUG_VALUE_TENSOR, {0, 32, 1}, 1, 0, two},
                                         {"mask", SNUG_VALUE_TENSOR, {2, 32, 1}, 1, 0, shape}};
static const snug_value_info outputs[] = {{"z", SNUG_VALUE_TENSOR, {2, 32, 1}, 1, 0, shape + 1},
                                          {"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, SNUG_VALUE_DATA_SHAPE, shape}};
static const uint32_t dataShapes[] = {1};
static const int64_t keys[] = {-3, 1 << 20, 8};
static const snug_map_keys maps[] = {{1, 0, 3, keys, NULL}};
static const snug_value_dim valueDims[] = {{0, 0, 0}, {1, 0, 1}};

static void shapes(const int64_t *values, int64_t *extents) {
  int64_t all[] = {2, values[0], values[1], values[0], values[1]};
  for (int i = 0; i < 5; ++i)
    extents[i] = all[i];
}

static void run(const snug_run_args *args) {
  const float *mask = (const float *)args->inputs[1];
  float *z = (float *)args->outputs[0], *y = (float *)args->outputs[1];
  int64_t rows = 0, width = args->dims[1], *actual = (int64_t *)args->outputs[2];
  for (int64_t i = 0; i < args->dims[0]; ++i)
    if (mask[i] != 0) {
      for (int64_t k = 0; k < width; ++k)
        y[rows * width + k] = (float)i;
      ++rows;
    }
  for (int64_t k = 0; k < width; ++k)
    z[k] = 7;
  actual[0] = rows;
  actual[1] = width;
}

static const snug_model_header header = {
    .abi_version = 2,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "data",
    .target = "cpu",
    .num_dims = 2,
    .num_inputs = 2,
    .num_outputs = 2,
    .num_threads = 1,
    .dims = dims,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {0, 0, 64, 0, 24, 60},
    .shapes = shapes,
    .run = run,
    .num_data_shapes = 1,
    .num_value_dims = 2,
    .data_shapes = dataShapes,
    .value_dims = valueDims,
    .num_maps = 1,
    .maps = maps,
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= 2 ? &header : NULL;
}
