// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A planned program's memory over its schedule, as plain data for reports: what is live when, where in the arena, and
// which ONNX nodes it comes from. Memory in bytes. A step is one kernel in program order; the iterations of a loop
// share the steps of its body.
#ifndef SNUG_LIB_DRIVER_MEMORYPICTURE_H
#define SNUG_LIB_DRIVER_MEMORYPICTURE_H

#include <cstdint>
#include <string>
#include <vector>

namespace snug {

struct PictureStep {
  std::string op;                 ///< what kind of kernel, as in "contract"
  std::vector<std::string> nodes; ///< the ONNX nodes that it computes
};

/// A buffer of the arena, live in [begin, end) of the steps.
struct PictureBuffer {
  std::string op;                 ///< the first kernel that writes it
  std::vector<std::string> nodes; ///< the ONNX nodes of all that write it
  std::string type;               ///< as in "f32[1, 4096, 768]"; ? where a size is known at run time only
  int64_t bytes = 0, offset = 0, begin = 0, end = 0;
};

/// A loop over [begin, end) of the steps, level 1 outermost; an outer loop stands before those in it.
struct PictureLoop {
  int64_t begin = 0, end = 0, level = 1;
  int64_t chunkLoop = -1; ///< index into the chunk loops of the report; -1 where it is none
};

struct MemoryPicture {
  int64_t arena = 0;
  std::vector<PictureStep> steps;
  std::vector<PictureBuffer> buffers;
  std::vector<PictureLoop> loops;
  std::vector<int64_t> live; ///< of each step
  int64_t peakStep = -1;     ///< the first with the most; -1 where there is no step
};

} // namespace snug

#endif
