// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a compiled model with one float32 input on ones: example MODEL.so ROWS
#include <snug/Runtime.h>
#include <stdio.h>
#include <stdlib.h>

static void check(snug_error *error) {
  if (!error)
    return;
  fprintf(stderr, "%s\n", snug_error_message(error));
  exit(snug_error_code(error));
}

int main(int argc, char **argv) {
  if (argc != 3)
    return SNUG_EXIT_USAGE;
  snug_model *model;
  check(snug_model_load(argv[1], &model));
  snug_memory_need need; // asked before anything is allocated, without reading the weights
  check(snug_model_memory(model, NULL, &need));
  printf("a run needs %llu bytes, %llu of them in the arena\n", (unsigned long long)need.total,
         (unsigned long long)need.arena);

  int64_t dims[] = {atoll(argv[2])}, in_shape[2], out_shape[2]; // this model has one dim, and tensors of rank 2
  check(snug_model_input_shape(model, 0, dims, in_shape));
  check(snug_model_output_shape(model, 0, dims, out_shape));
  float *x = malloc(in_shape[0] * in_shape[1] * sizeof(float)), *y = malloc(out_shape[0] * out_shape[1] * sizeof(float));
  for (int64_t i = 0; i < in_shape[0] * in_shape[1]; ++i)
    x[i] = 1;
  DLTensor input = {x, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, in_shape, NULL, 0};
  DLTensor output = {y, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, out_shape, NULL, 0};

  snug_context *context;
  check(snug_context_create(model, NULL, &context)); // allocates the arena and starts the threads
  const DLTensor *inputs[] = {&input}, *outputs[] = {&output};
  check(snug_run(context, inputs, 1, outputs, 1)); // allocates nothing
  printf("y[0] = %.9g\n", y[0]);
  snug_context_destroy(context);
  snug_model_release(model);
  free(x), free(y);
}
