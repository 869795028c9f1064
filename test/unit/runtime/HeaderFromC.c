// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runtime.h is C: this file is compiled as such, and runs a model through it.
#include "snug/Runtime.h"

int runFromC(const char *path, const DLTensor *const *inputs, const DLTensor *const *outputs);

int runFromC(const char *path, const DLTensor *const *inputs, const DLTensor *const *outputs) {
  snug_model *model = NULL;
  snug_context *context = NULL;
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.num_threads = 1;
  snug_error *error = snug_model_load(path, &model);
  if (!error)
    error = snug_context_create(model, &options, &context);
  if (!error)
    error = snug_run(context, inputs, 2, outputs, 2);
  int code = snug_error_code(error);
  snug_error_destroy(error);
  snug_context_destroy(context);
  snug_model_release(model);
  return code;
}
