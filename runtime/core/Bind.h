// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks what a caller hands to a model against what the model declares. Nothing here allocates unless it fails.
#ifndef SNUG_RUNTIME_CORE_BIND_H
#define SNUG_RUNTIME_CORE_BIND_H

#include "snug/Runtime.h"

#include <cstdint>

namespace snug {

// Marks a dim that is not known yet.
constexpr int64_t kUnboundDim = -1;

// Throws unless `value` is one that `dim` allows.
void checkDim(const snug_dim_info &dim, int64_t value);

// Solves unbound `dims` from the shapes of `inputs`, and from their elements, and checks all that linear extents say.
void bindDims(const snug_model_header &header, const DLTensor *const *inputs, uint32_t numInputs, int64_t *dims);

// Checks bound dims against their bounds.
void checkDims(const snug_model_header &header, const int64_t *dims);

// Throws where dims do not fit together, as the model needs it.
void checkRequirements(const snug_model_header &header, const int64_t *dims);

// Whether tensors there are in the host's memory.
bool isOnHost(const DLDevice &device);

// Checks rank, shape, dtype, layout, device and alignment of `tensor` against `value`, whose actual extents are given,
// and returns its data. It may be on the host or at `place`.
void *checkTensor(const snug_model_header &header, const char *kind, const snug_value_info &value, const int64_t *extents,
                  const int64_t *dims, const DLTensor *tensor, const DLDevice &place);

// Bytes of a dense tensor of that shape; throws when they do not fit in 63 bits.
uint64_t tensorBytes(const snug_value_info &value, const int64_t *extents);

// Bytes of the arena that a run with `dims` uses, NULL for the largest. The dims are checked.
uint64_t arenaNeed(const snug_model_header &header, const int64_t *dims);

// Outputs whose shape is computed from data, dims that are elements of inputs, and outputs that are maps; none where an older compiler wrote the
// header.
uint32_t numDataShapes(const snug_model_header &header);
uint32_t numValueDims(const snug_model_header &header);
uint32_t numMaps(const snug_model_header &header);
// Where the model computes, a snug_device_kind.
uint32_t deviceKind(const snug_model_header &header);
// What libraries may do of it.
uint32_t numContractions(const snug_model_header &header);
// In which type products of f32 are made, "f32" where the library does not say it.
const char *precisionOf(const snug_model_header &header);
bool hasContraction(const snug_model_header &header, bool isConvolution);
// Devices of the mesh that the model is cut for; 0 where it is for one device.
uint32_t numRanks(const snug_model_header &header);
// What the devices of a mesh have parts of, by input or output; NULL where each has all.
const snug_value_cut *inputCuts(const snug_model_header &header);
const snug_value_cut *outputCuts(const snug_model_header &header);
// Bytes for the strings that a run makes.
uint64_t textBytes(const snug_model_header &header);

// Number of extents that header.shapes writes.
uint64_t numExtents(const snug_model_header &header);

} // namespace snug

#endif
