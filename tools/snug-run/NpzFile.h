// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NumPy's .npz format: a zip archive of .npy files.
#ifndef SNUG_TOOLS_SNUG_RUN_NPZ_FILE_H
#define SNUG_TOOLS_SNUG_RUN_NPZ_FILE_H

#include "tools/snug-run/HostTensor.h"
#include "tools/snug-run/NpyFile.h"

#include <map>
#include <string>

namespace snug {

// Reads all arrays, stored or compressed, by name (without ".npy"); `partOf` says by name what is to be kept of each.
std::map<std::string, HostTensor> readNpzFile(const std::string &path, const std::function<PartOf(const std::string &)> &partOf = {});

// Writes all arrays uncompressed, as numpy.savez does: either the whole file is there afterwards, or what was before.
void writeNpzFile(const std::string &path, const std::map<std::string, const HostTensor *> &tensors);

} // namespace snug

#endif
