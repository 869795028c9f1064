// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in for NVIDIA's driver in tests: libcuda.so.1, with the functions that Snug's runtime uses. Device memory is memory of
// the host that only copies and kernels can touch, each allocation with its own bounds; kernels are functions of the library that
// SNUG_SIM_KERNELS names, run by the simulator in the library that SNUG_GPU_SIM names (default: the same one). Work on a stream
// waits until somebody waits for it, so that who forgets to sees old data. Graphs are recorded and replayed.
//
// libnccl.so.2 beside it stands in for NCCL, between the devices and threads of one process (FakeNccl.cpp): what devices do together is
// done when the streams of all of them have come to it.
//
// Environment, read whenever it matters:
//   SNUG_FAKE_CUDA_LOG=FILE       a line of JSON for each call: its arguments, and its result
//   SNUG_FAKE_CUDA_FAIL=F:N:E,... call N of function F (from 1; 0: each one), counted from when this was set, returns error E
//   SNUG_FAKE_CUDA_DEVICES=N      devices (default 1)
//   SNUG_FAKE_CUDA_CHIP=90        their compute capability
//   SNUG_FAKE_CUDA_MEMORY=BYTES   of each (default 80 GiB)
//   SNUG_FAKE_CUDA_DRIVER=13000   version
//   SNUG_FAKE_CUDA_COMPUTES=0     kernels and libraries do nothing, and SNUG_SIM_KERNELS is not asked: all else is as it would be
#ifndef SNUG_TEST_GPU_FAKE_CONTROL_H
#define SNUG_TEST_GPU_FAKE_CONTROL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Since the start, or the last reset.
typedef struct snug_fake_cuda_stats {
  uint64_t live_bytes, peak_bytes; // of device memory, to the byte
  uint64_t pinned_bytes, peak_pinned_bytes;
  uint64_t allocations, frees;     // of either
  uint64_t waits;                  // calls in which the host waits for the device
  uint64_t launches;               // of kernels, by a call or by a graph
  uint64_t copies;
  uint64_t faults;                 // memory written out of bounds, and what the simulator reports
  uint64_t handles;                // streams, events, modules, graphs and references on contexts that are alive
} snug_fake_cuda_stats;

// The figures that are not of what is alive start at 0 again, and the peaks at what is alive. An error that stuck is forgotten.
__attribute__((visibility("default"))) void snug_fake_cuda_reset(void);
__attribute__((visibility("default"))) void snug_fake_cuda_get_stats(snug_fake_cuda_stats *stats);
// live_bytes and peak_bytes of one device.
__attribute__((visibility("default"))) void snug_fake_cuda_get_device_bytes(int device, uint64_t *live, uint64_t *peak);
// Of libnccl.so.2: from now on each communicator has met this error, 0: none.
__attribute__((visibility("default"))) void snug_fake_nccl_fail(int error);

#ifdef __cplusplus
}
#endif
#endif
