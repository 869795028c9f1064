// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Two generated libraries in one process, and two threads with a context each on one model: threads A.so B.so ROWS
// Prints the first value that each thread got, and fails where a thread's results differ between its runs.
#include <pthread.h>
#include <snug/Runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 64
#define RUNS 50

static void check(snug_error *error) {
  if (!error)
    return;
  fprintf(stderr, "%s\n", snug_error_message(error));
  exit(snug_error_code(error));
}

struct job {
  snug_model *model;
  int64_t rows;
  float fill, result;
};

static void *work(void *argument) {
  struct job *job = argument;
  int64_t shape[] = {job->rows, COLUMNS};
  size_t count = (size_t)job->rows * COLUMNS;
  float *x = malloc(count * sizeof(float)), *y = malloc(count * sizeof(float)), *first = malloc(count * sizeof(float));
  for (size_t i = 0; i < count; ++i)
    x[i] = job->fill;
  DLTensor input = {x, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, NULL, 0}, output = input;
  output.data = y;
  const DLTensor *inputs[] = {&input}, *outputs[] = {&output};
  snug_context *context;
  check(snug_context_create(job->model, NULL, &context));
  for (int run = 0; run < RUNS; ++run) {
    memset(y, 0xff, count * sizeof(float));
    check(snug_run(context, inputs, 1, outputs, 1));
    if (run == 0)
      memcpy(first, y, count * sizeof(float));
    if (memcmp(first, y, count * sizeof(float)) != 0)
      exit(fprintf(stderr, "run %d differs from the first\n", run));
  }
  job->result = y[0];
  snug_context_destroy(context);
  free(x), free(y), free(first);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return SNUG_EXIT_USAGE;
  snug_model *models[2];
  for (int i = 0; i < 2; ++i)
    check(snug_model_load(argv[1 + i], &models[i]));
  struct job jobs[4]; // each model twice, with inputs of their own
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) {
    jobs[i] = (struct job){models[i / 2], atoll(argv[3]), i % 2 ? 2.0f : 1.0f, 0};
    pthread_create(&threads[i], NULL, work, &jobs[i]);
  }
  for (int i = 0; i < 4; ++i) {
    pthread_join(threads[i], NULL);
    printf("%.9g\n", jobs[i].result);
  }
  for (int i = 0; i < 2; ++i)
    snug_model_release(models[i]);
  return 0;
}
