// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_COMPILE_H
#define SNUG_LIB_DRIVER_COMPILE_H

#include "lib/driver/ActivationFigures.h"
#include "lib/driver/Options.h"
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace snug {

// What one compilation found out; all memory in bytes, times in milliseconds.
struct CompileReport {
  int64_t weights = 0, arena = 0, library = 0, inputs = 0, outputs = 0;
  int64_t unchunkedArena = 0, schedBound = 0;
  int64_t activationBudget = -1, memoryBudget = -1;
  int64_t leastReachable = -1;
  std::string chunkLoops = "[]"; // JSON array
  ChunkFigures chunkFigures;
  WhatFits whatFits; // filled on a dry run
  std::vector<std::pair<std::string, double>> timing;
  int64_t total() const { return weights + arena + library + inputs + outputs; }
};

// Runs the pipeline. Messages go to standard error, IR of --emit to standard output. Returns an exit code of
// snug/ExitCodes.h; on any but 0 no output file is left behind. Not thread-safe against itself on one output path.
int compile(const CompileOptions &options);

} // namespace snug

#endif
