// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors of which each rank has a part: cut out of the whole, and put together again.
#ifndef SNUG_TOOLS_SNUG_RUN_PARTS_H
#define SNUG_TOOLS_SNUG_RUN_PARTS_H

#include "tools/snug-run/Inputs.h"
#include "tools/snug-run/PartPlaces.h"

namespace snug {

// Where what rank `rank` has of an input lies in the whole, which has this shape; nothing where it has all of it. Throws where
// that is not the shape that is cut.
std::optional<PartPlaces> placesOfInput(const snug_model *model, uint32_t index, uint32_t rank, const std::vector<int64_t> &whole,
                                        const snug_dtype &dtype);

// What rank `rank` has of an input that was given as a whole; throws as above.
HostTensor partOfInput(const snug_model *model, uint32_t index, uint32_t rank, HostTensor whole);

// All ranks call it: the outputs that rank 0 writes as a whole, by number, on rank 0; nothing on the others.
std::map<uint32_t, HostTensor> joinOutputs(const snug_model *model, snug_comm *comm, const RunOptions &options, const RunTensors &tensors);

// The shape of the whole of an output of these dims.
std::vector<int64_t> wholeShape(const snug_model *model, uint32_t output, const std::vector<int64_t> &dims);

} // namespace snug

#endif
