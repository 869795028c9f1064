// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the fake driver offers to what stands in for libraries on top of it. C, as they are libraries of their own.
#ifndef SNUG_TEST_GPU_FAKE_HOOKS_H
#define SNUG_TEST_GPU_FAKE_HOOKS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#define SNUG_FAKE_HOOK __attribute__((visibility("default")))

// Of the calling thread's current context; -1 without one.
SNUG_FAKE_HOOK int snug_fake_cuda_device(void);
// Whether all these bytes are of one allocation on that device.
SNUG_FAKE_HOOK int snug_fake_cuda_has(const void *start, size_t bytes, int device);
// Behind what the stream does, or into the graph that it records, as a launch of a kernel of that name: `work`, which can touch
// device memory. Takes `argument`, which `drop` frees. Returns a CUresult.
SNUG_FAKE_HOOK int snug_fake_cuda_enqueue(void *stream, const char *name, void (*work)(const void *argument), void *argument,
                                          void (*drop)(void *argument));
// Whether the stream records a graph.
SNUG_FAKE_HOOK int snug_fake_cuda_is_captured(void *stream);
// Of `work`, when it is done: it took so long on the device, as events have it.
SNUG_FAKE_HOOK void snug_fake_cuda_spend(double milliseconds);
SNUG_FAKE_HOOK void snug_fake_cuda_fault(const char *text);
// What SNUG_FAKE_CUDA_FAIL has for this call of a function, else 0; and the line of the log for it, with `fields` as JSON.
SNUG_FAKE_HOOK int snug_fake_cuda_refused(const char *function);
SNUG_FAKE_HOOK void snug_fake_cuda_log(const char *function, const char *fields, int result);

#ifdef __cplusplus
}
#endif
#endif
