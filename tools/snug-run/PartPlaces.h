// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_PART_PLACES_H
#define SNUG_TOOLS_SNUG_RUN_PART_PLACES_H

#include <cstdint>
#include <functional>
#include <vector>

namespace snug {

// Where the elements of a part are in the whole: a box that begins at `start`.
class PartPlaces {
public:
  PartPlaces(std::vector<int64_t> part, std::vector<int64_t> whole, std::vector<int64_t> start, uint64_t elementBytes);

  const std::vector<int64_t> &shape() const { return part; }

  // Of the bytes [from, to) of the part, all that lie in a row in the whole, in order: visit(offset in the part, in the whole, bytes).
  void visit(uint64_t from, uint64_t to, const std::function<void(uint64_t, uint64_t, uint64_t)> &visit) const;

private:
  std::vector<int64_t> part, start;
  std::vector<uint64_t> strides; // of the whole, in bytes
  size_t rowDim = 0;             // from this dim on all of the part lies in a row
  uint64_t rowBytes = 1;
};

} // namespace snug

#endif
