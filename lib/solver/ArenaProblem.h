// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The arena packing problem (offline dynamic storage allocation): buffers with fixed live ranges must get offsets in
// one arena so that buffers live at the same time do not overlap, and the arena is as small as possible. Plain data,
// shared by the packer, the validator and the text form; nothing here computes.
#ifndef SNUG_LIB_SOLVER_ARENAPROBLEM_H
#define SNUG_LIB_SOLVER_ARENAPROBLEM_H

#include <cstdint>
#include <vector>

namespace snug {

/// One buffer. It is live in the half-open range [lower, upper) of an abstract time whose unit only has to order
/// events; lower < upper. `size` and `alignment` are bytes, size >= 0, alignment >= 1 (any positive number, a power of
/// two in practice). The buffer occupies [offset, offset + size rounded up to alignment), so that vector code may touch
/// the padding. `id` is the caller's and unique within a problem.
struct Buffer {
  int64_t id = 0;
  int64_t size = 0;
  int64_t lower = 0;
  int64_t upper = 0;
  int64_t alignment = 1;
};

struct ArenaProblem {
  std::vector<Buffer> buffers;
};

/// `offsets[i]` (bytes) belongs to `buffers[i]` of the problem; `capacity` is the arena's size in bytes, no less than
/// the end of every buffer. `provenOptimal` says that no arena for this problem is smaller.
struct ArenaSolution {
  std::vector<int64_t> offsets;
  int64_t capacity = 0;
  bool provenOptimal = false;
};

} // namespace snug

#endif // SNUG_LIB_SOLVER_ARENAPROBLEM_H
