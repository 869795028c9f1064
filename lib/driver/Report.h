// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What one compilation found out, and its form as JSON (docs/command-line.md has the keys).
#ifndef SNUG_LIB_DRIVER_REPORT_H
#define SNUG_LIB_DRIVER_REPORT_H

#include "codegen/Codegen.h"
#include "lib/driver/ActivationFigures.h"
#include "lib/driver/ChooseMesh.h"
#include "lib/driver/MemoryPicture.h"
#include "lib/driver/Options.h"
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace snug {

// The arena for dims up to these, where the plan for the largest would take more.
struct PlanBucket {
  std::vector<std::pair<std::string, int64_t>> dims;
  int64_t arena = 0;
};

// A kernel that a library may do, in its place.
struct LibraryKernel {
  std::string library;
  std::vector<std::string> nodes;
};

// All memory in bytes, times in milliseconds; -1: not known.
struct CompileReport {
  int64_t weights = 0, arena = 0, library = 0, inputs = 0, outputs = 0;
  int64_t workspace = 0; // that libraries work in, a part of the arena
  int64_t unchunkedArena = 0, eagerArena = -1;
  int64_t schedBound = -1, lb0 = -1, lb1 = -1, lb2 = -1;
  int64_t activationBudget = -1, memoryBudget = -1;
  int64_t arenaLimit = -1;                 // what the budgets leave for the arena
  int64_t leastReachable = -1;             // of the budget that decides: --memory-budget where that one cannot be met
  int64_t leastArena = -1;                 // the least --activation-budget
  std::vector<PlanBucket> buckets;         // none: one plan for all dims
  std::string peakNode;                    // where most is live without chunk loops
  std::optional<WhatFits> fits;            // on a dry run or a sweep
  std::optional<MemoryPicture> unchunked, planned; // where a report was asked for; the same without chunk loops
  std::string chunkLoops = "[]";           // JSON array
  std::optional<MeshReport> mesh;          // where the model is cut
  std::vector<MeshReport::Candidate> consideredMeshes; // where budgets had a say in it
  std::optional<bool> exact;               // results are bit for bit those without chunk loops
  std::optional<ChunkFigures> search;      // times of the model, and what the search did
  std::vector<std::pair<std::string, double>> timing; // stage -> time of compilation
  std::vector<KernelResources> gpuKernels;            // of a library for GPUs: each kernel, each chip
  std::vector<LibraryKernel> libraryKernels;          // of a program for GPUs, in its order
  std::vector<std::string> files;                     // that were read, the model first

  int64_t fixed() const { return weights + library + inputs + outputs; }
  int64_t total() const { return fixed() + arena; }
};

// Version of the keys' meaning; raised when one changes. New keys may come without.
constexpr int kReportVersion = 1;
std::string reportText(const CompileOptions &options, const CompileReport &report);

// What a run needs, for people: one line; if verbose, one a chunk loop.
std::string summaryText(const CompileReport &report, bool verbose);
// What fits, as a table.
std::string fitsText(const WhatFits &fits);

// A rule for make and ninja: `output` depends on all files read.
std::string depfileText(const std::string &output, const CompileReport &report);

} // namespace snug

#endif
