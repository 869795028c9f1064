// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NumPy's .npy format (format versions 1 to 3): dense row-major little-endian arrays of bool, int, uint, float,
// complex. bfloat16, which NumPy lacks, is read and written as '|V2', as the ml_dtypes package stores it.
#ifndef SNUG_TOOLS_SNUG_RUN_NPY_FILE_H
#define SNUG_TOOLS_SNUG_RUN_NPY_FILE_H

#include "tools/snug-run/HostTensor.h"
#include "tools/snug-run/PartPlaces.h"

#include <functional>
#include <optional>
#include <string>

namespace snug {

// What is to be kept of an array of that shape; nothing: all of it.
using PartOf = std::function<std::optional<PartPlaces>(const std::vector<int64_t> &, const snug_dtype &)>;

// Reads one array, of which no more than `part` is ever in memory, unless the array is in Fortran's order. `read(buffer, bytes)`
// gives the next bytes or fewer at the end; `name` stands in messages.
HostTensor readNpy(const std::string &name, const std::function<uint64_t(void *, uint64_t)> &read, const PartOf &part = {});
HostTensor readNpyFile(const std::string &path, const PartOf &part = {});

// What stands before the data: a multiple of 64 bytes. Throws when NumPy has no such dtype.
std::string npyHeader(const HostTensor &tensor);

// Writes through a temporary file beside `path`: either the whole file is there afterwards, or what was before.
void writeNpyFile(const std::string &path, const HostTensor &tensor);

} // namespace snug

#endif
