// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors of which each rank has a part: cut out of the whole, and put together again.
#ifndef SNUG_TOOLS_SNUG_RUN_PARTS_H
#define SNUG_TOOLS_SNUG_RUN_PARTS_H

#include "tools/snug-run/Inputs.h"

#include <functional>

namespace snug {

// Where the elements of a part are in the whole: a box that begins at `start`.
class PartPlaces {
public:
  PartPlaces(std::vector<int64_t> part, std::vector<int64_t> whole, std::vector<int64_t> start, uint64_t elementBytes);

  // Of the bytes [from, to) of the part, all that lie in a row in the whole: visit(offset in the part, in the whole, bytes).
  void visit(uint64_t from, uint64_t to, const std::function<void(uint64_t, uint64_t, uint64_t)> &visit) const;

private:
  std::vector<int64_t> part, start;
  std::vector<uint64_t> strides; // of the whole, in bytes
  size_t rowDim = 0;             // from this dim on all of the part lies in a row
  uint64_t rowBytes = 1;
};

// What rank `rank` has of an input that was given as a whole. Throws where that has not the shape that is cut.
HostTensor partOfInput(const snug_model *model, uint32_t index, uint32_t rank, HostTensor whole);

// All ranks call it: the outputs that rank 0 writes as a whole, by number, on rank 0; nothing on the others.
std::map<uint32_t, HostTensor> joinOutputs(const snug_model *model, snug_comm *comm, const RunOptions &options, const RunTensors &tensors);

// The shape of the whole of an output of these dims.
std::vector<int64_t> wholeShape(const snug_model *model, uint32_t output, const std::vector<int64_t> &dims);

} // namespace snug

#endif
