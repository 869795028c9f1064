// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs a compiled model in steps, so that a watcher outside can tell what each of them adds to the process (the other
// side is Steps in test/models/resident.py), and counts the allocations of the runs by standing in front of malloc.
//   memory-probe MODEL.so REPEAT [NAME=VALUE]... [fit]     values of the named dims, all of them
// With "fit" the context is made for these dims, else for the largest.
// Steps: "ready" (inputs and outputs are allocated and written), "created" (the context is), "warm" (after one run), "ran
// {...}" (after REPEAT more). Inputs are filled with ones: valid as token ids, masks and numbers alike.
#include "snug/Runtime.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool counting;
static atomic_long allocations;

#if !__has_feature(address_sanitizer)
// C++'s operator new, OpenMP and the libraries all end here.
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
#define COUNT() (atomic_load(&counting) ? (void)atomic_fetch_add(&allocations, 1) : (void)0)
void *malloc(size_t size) { return COUNT(), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return COUNT(), __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return COUNT(), __libc_realloc(old, size); }
void *memalign(size_t alignment, size_t size) { return COUNT(), __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return COUNT(), __libc_memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) {
  COUNT();
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : 12 /* ENOMEM */;
}
#endif

static void check(snug_error *error) {
  if (!error)
    return;
  fprintf(stderr, "memory-probe: %s\n", snug_error_message(error));
  exit(snug_error_code(error));
}

static void arrive(const char *step) {
  puts(step);
  fflush(stdout);
  if (getchar() == EOF)
    exit(SNUG_EXIT_USAGE);
}

static void fill(DLTensor *tensor, size_t elements, int input) {
  size_t bytes = tensor->dtype.bits / 8;
  for (size_t i = 0; i < elements; ++i) {
    char *at = (char *)tensor->data + i * bytes;
    memset(at, 0, bytes);
    if (!input)
      continue;
    if (tensor->dtype.code == kDLFloat && bytes == 4)
      *(float *)at = 1.0f;
    else if (tensor->dtype.code != kDLFloat)
      *at = 1; // little-endian
  }
}

// One tensor of the model's inputs or outputs; every page of it is touched.
static DLTensor *make_tensor(const snug_model *model, uint32_t index, int input, const int64_t *dims) {
  const snug_value_info *info = input ? snug_model_input(model, index) : snug_model_output(model, index);
  DLTensor *tensor = calloc(1, sizeof(DLTensor));
  tensor->shape = calloc(info->rank ? info->rank : 1, sizeof(int64_t));
  check(input ? snug_model_input_shape(model, index, dims, tensor->shape)
              : snug_model_output_shape(model, index, dims, tensor->shape));
  size_t elements = 1;
  for (int32_t i = 0; i < info->rank; ++i)
    elements *= (size_t)tensor->shape[i];
  tensor->ndim = info->rank;
  tensor->dtype.code = info->dtype.code;
  tensor->dtype.bits = info->dtype.bits;
  tensor->dtype.lanes = 1;
  tensor->device.device_type = kDLCPU;
  tensor->data = malloc(elements * (info->dtype.bits / 8) + 64);
  fill(tensor, elements, input);
  return tensor;
}

static int64_t dim_value(const snug_dim_info *dim, int argc, char **argv) {
  for (int i = 3; i < argc; ++i) {
    size_t length = strlen(dim->name);
    if (!strncmp(argv[i], dim->name, length) && argv[i][length] == '=')
      return atoll(argv[i] + length + 1);
  }
  if (dim->min == dim->max)
    return dim->min;
  fprintf(stderr, "memory-probe: give %s=VALUE\n", dim->name);
  exit(SNUG_EXIT_USAGE);
}

int main(int argc, char **argv) {
  if (argc < 3)
    return fprintf(stderr, "usage: memory-probe MODEL.so REPEAT [NAME=VALUE]...\n"), SNUG_EXIT_USAGE;
  snug_model *model = NULL;
  check(snug_model_load(argv[1], &model));
  uint32_t num_dims = snug_model_num_dims(model), num_inputs = snug_model_num_inputs(model);
  uint32_t num_outputs = snug_model_num_outputs(model);
  int64_t *dims = calloc(num_dims + 1, sizeof(int64_t));
  for (uint32_t i = 0; i < num_dims; ++i)
    dims[i] = dim_value(snug_model_dim(model, i), argc, argv);
  DLTensor **tensors = calloc(num_inputs + num_outputs + 1, sizeof(DLTensor *));
  for (uint32_t i = 0; i < num_inputs + num_outputs; ++i)
    tensors[i] = make_tensor(model, i < num_inputs ? i : i - num_inputs, i < num_inputs, dims);
  arrive("ready");

  snug_context *context = NULL;
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  if (!strcmp(argv[argc - 1], "fit"))
    options.max_dims = dims;
  check(snug_context_create(model, &options, &context));
  for (uint32_t i = 0; i < num_dims; ++i) // some dims are in no input's shape
    check(snug_context_set_dim(context, snug_model_dim(model, i)->name, dims[i]));
  arrive("created");

  for (int i = 0; i <= atoi(argv[2]); ++i) {
    if (i == 1)
      arrive("warm");
    atomic_store(&counting, true);
    snug_error *error = snug_run(context, (const DLTensor *const *)tensors, num_inputs,
                                 (const DLTensor *const *)tensors + num_inputs, num_outputs);
    atomic_store(&counting, false);
    check(error);
  }
  char said[64];
  snprintf(said, sizeof said, "ran {\"allocations\": %ld}", atomic_load(&allocations));
  arrive(said);
  snug_context_destroy(context);
  snug_model_release(model);
  return 0;
}
