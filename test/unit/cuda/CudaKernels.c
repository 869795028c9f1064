// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels of CudaFixture.c as a library for the fake driver, with what launches them: a block after the other, and a thread after
// the other, with nothing checked.
#include <stddef.h>
#include <stdint.h>

typedef struct {
  int64_t index; // of the thread in the grid
} Thread;

#define PARAM(type, i) (*(type *)params[i])

// x, w, product, count
void scale_0_entry(const Thread *thread, void **params) {
  int64_t i = thread->index;
  if (i < PARAM(int64_t, 3))
    PARAM(float *, 2)[i] = PARAM(const float *, 0)[i] * PARAM(const float *, 1)[i % 8];
}

// product, y, count, what is added
void shift_1_entry(const Thread *thread, void **params) {
  int64_t i = thread->index;
  if (i < PARAM(int64_t, 2))
    PARAM(float *, 1)[i] = PARAM(const float *, 0)[i] + PARAM(float, 3);
}

// The same, and one element more.
void overrun_1_entry(const Thread *thread, void **params) {
  int64_t i = thread->index;
  if (i <= PARAM(int64_t, 2))
    PARAM(float *, 1)[i] = PARAM(const float *, 0)[i] + PARAM(float, 3);
}

// x, w, b, y, count
void product_0_entry(const Thread *thread, void **params) {
  int64_t i = thread->index;
  if (i >= PARAM(int64_t, 4))
    return;
  float sum = PARAM(const float *, 2)[i % 8];
  for (int64_t k = 0; k < 8; ++k)
    sum += PARAM(const float *, 0)[i / 8 * 8 + k] * PARAM(const float *, 1)[8 * k + i % 8];
  PARAM(float *, 3)[i] = sum > 0 ? sum : 0;
}

// two summands, where the sum goes, count
void add_3_entry(const Thread *thread, void **params) {
  int64_t i = thread->index;
  if (i < PARAM(int64_t, 3))
    PARAM(float *, 2)[i] = PARAM(const float *, 0)[i] + PARAM(const float *, 1)[i];
}

// x, where the shape goes, rows
void count_2_entry(const Thread *thread, void **params) {
  int64_t count = 0;
  while (count < PARAM(int64_t, 2) && PARAM(const float *, 0)[8 * count] >= 0)
    ++count;
  PARAM(int64_t *, 1)[0] = count;
  PARAM(int64_t *, 1)[1] = 8;
  (void)thread;
}

int snug_sim_launch(void (*kernel)(const Thread *, void **), const uint32_t grid[3], const uint32_t block[3], uint32_t dynamic_shared,
                    void **params, const void *views, int num_views) {
  (void)dynamic_shared, (void)views, (void)num_views;
  for (Thread thread = {0}; thread.index < (int64_t)grid[0] * block[0]; ++thread.index)
    kernel(&thread, params);
  return 0;
}
