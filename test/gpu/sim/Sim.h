// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs GPU kernels on the host, thread for thread, and reports what would be a fault on a GPU. For tests only.
//
// Kernels are in a shared library made by snug-gpu-sim-build. It exports each kernel K as `K_entry`, and the table
// `snug_sim_kernels` (snug::sim::KernelTable in Abi.h) that says which parameters they take.
#ifndef SNUG_TEST_GPU_SIM_SIM_H
#define SNUG_TEST_GPU_SIM_SIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*snug_sim_kernel)(void *context, void **params);

// Memory that a launch may touch.
typedef struct snug_sim_view {
  const void *base;
  size_t bytes;
  int writable;
  const char *name; // for reports
  int param;        // index of the pointer among the parameters that this is the memory of, or -1: of any
} snug_sim_view;

// Runs a kernel (`K_entry`) on all blocks of the grid, one after the other, in the calling thread; calls from several threads
// take turns. `params` are those of cuLaunchKernel: params[i] points to the value of parameter i. A pointer without a view of
// its own may touch the view of param -1 that it points into.
// Returns the number of faults; 0: the launch is clean. A fault is one of: out-of-bounds, misaligned, read-only, race, divergence,
// uninitialised, missing-wait, launch (the launch as such is not possible), endless (it took more than SNUG_SIM_SECONDS, of the
// environment, default 300; noticed at accesses to memory). Each is a line of stderr,
//   snug-sim: KIND in KERNEL, block (x,y,z), thread (x,y,z), OP at LOCATION: DETAILS
// of each op and kind the first only, and of a launch no more than SNUG_SIM_REPORTS (environment, default 8).
// With SNUG_SIM_PROFILE=FILE in the environment, each launch appends a line of JSON: {"kernel", "accesses": [{"at", "space": "global" or
// "shared", "writes", "bytes" of a lane, "requests" of warps, "units", "least"}]}, where units are sectors of global memory or turns
// of shared memory's banks (Profile.h), and least is what as many bytes take at best: more than that is not coalesced, or
// has bank conflicts.
// With SNUG_SIM_CHECKS=0 in the environment, memory is not checked: faster, for tests of sizes only.
int snug_sim_launch(snug_sim_kernel kernel, const uint32_t grid[3], const uint32_t block[3], uint32_t dynamic_shared,
                    void **params, const snug_sim_view *views, int num_views);

// The reports of the last launch; valid until the next one. NULL where there is none.
int snug_sim_num_reports(void);
const char *snug_sim_report(int i);

// The number of parameters of a kernel, -1 if it is not one of snug-gpu-sim-build's.
int snug_sim_num_params(snug_sim_kernel kernel);

#ifdef __cplusplus
}
#endif
#endif
