// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a mesh of RANKS x 1 devices, written by hand, whose computing is a wait: y[ROWS, WIDTH] is the sum of
// x[ROWS, WIDTH] over all devices. Its one kernel takes as many ns for a row as the environment variable SNUG_TIMED_ROW
// says, and rows are computed and summed in as many equal pieces as SNUG_TIMED_PIECES says: the sum of each is under
// way while the next is computed, in the order that snugc gives the pieces of a kernel.
#include "snug/ModelABI.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kBytes = ROWS * WIDTH * 4, kMostPieces = 8 };

static const snug_extent rows[] = {{-1, 0, 0, ROWS, "rows"}, {-1, 0, 0, WIDTH, "width"}};
static const snug_value_info inputs[] = {{"x", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};
static const snug_value_info outputs[] = {{"y", SNUG_VALUE_TENSOR, {2, 32, 1}, 2, 0, rows}};
#define SUM                                                                                                            \
  { SNUG_ALL_REDUCE, 1, SNUG_REDUCE_SUM, {2, 32, 1}, "sum" }
static const snug_collective_info collectives[kMostPieces] = {SUM, SUM, SUM, SUM, SUM, SUM, SUM, SUM};

static void shapes(const int64_t *dims, int64_t *extents) {
  (void)dims;
  int64_t found[] = {ROWS, WIDTH, ROWS, WIDTH};
  memcpy(extents, found, sizeof(found));
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

// ns that the waits of this run took longer than they had to: the next one is as much shorter. A rank is a thread.
static _Thread_local int64_t late;

// args: x, y, the first row, ns for a row.
static void compute(const int64_t *args, int64_t lo, int64_t hi, int64_t thread) {
  (void)thread;
  int64_t end = now() + (hi - lo) * args[3] - late;
  struct timespec until = {end / 1000000000, end % 1000000000};
  const float *x = (const float *)args[0];
  float *y = (float *)args[1];
  int64_t first = (args[2] + lo) * WIDTH;
  memcpy(y + first, x + first, (size_t)((hi - lo) * WIDTH) * 4);
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  late = now() - end;
}

static void run(const snug_run_args *args) {
  const snug_runtime_table *table = args->runtime;
  const char *asked = getenv("SNUG_TIMED_PIECES"), *row = getenv("SNUG_TIMED_ROW");
  int64_t pieces = asked ? atoi(asked) : 1,
          each = pieces < 1 || pieces > kMostPieces || ROWS % pieces ? ROWS : ROWS / pieces;
  float *y = args->outputs[0];
  late = 0;
  for (int64_t piece = 0, first = 0; first < ROWS; ++piece, first += each) {
    int64_t launch[] = {0, (int64_t)args->inputs[0], (int64_t)y, first, row ? atoll(row) : 0};
    table->parallel_for(args->runtime_state, compute, launch + 1, each, 1);
    table->start(table->comm_state, piece, y + first * WIDTH, y + first * WIDTH, each * WIDTH);
    if (piece > 0)
      table->wait(table->comm_state, piece - 1);
  }
  table->wait(table->comm_state, ROWS / each - 1);
}

#define NONE                                                                                                           \
  { "none", 0, "0" } // there are no weights
static const snug_rank_weights weights[8] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
static const snug_launch_info launches[] = {{"compute", "compute"}};

static const snug_model_header header = {
    .abi_version = SNUG_MODEL_ABI_VERSION,
    .struct_size = sizeof(snug_model_header),
    .snug_version = "0.1.0",
    .model_name = "timed",
    .target = "cpu",
    .num_inputs = 1,
    .num_outputs = 1,
    .num_threads = 1,
    .inputs = inputs,
    .outputs = outputs,
    .memory = {0, 64, 64, 0, kBytes, kBytes},
    .shapes = shapes,
    .run = run,
    .num_launches = 1,
    .launches = launches,
    .mesh = {RANKS, 1},
    .num_collectives = kMostPieces,
    .collectives = collectives,
    .rank_weights = weights,
};

__attribute__((visibility("default"))) const snug_model_header *snug_model_query(uint32_t max_abi_version) {
  return max_abi_version >= SNUG_MODEL_ABI_VERSION ? &header : NULL;
}
