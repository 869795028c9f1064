// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors of strings as NumPy's files have them: rows of UTF-32 code units, filled up with zeros.
#ifndef SNUG_TOOLS_SNUG_RUN_STRINGTENSOR_H
#define SNUG_TOOLS_SNUG_RUN_STRINGTENSOR_H

#include "tools/snug-run/HostTensor.h"

#include <string>

namespace snug {

constexpr snug_dtype kStringType{kDLOpaqueHandle, 128, 1};
inline bool isString(const snug_dtype &dtype) { return dtype.code == kDLOpaqueHandle && dtype.bits == 128; }

// As many strings as the shape has elements.
HostTensor stringTensor(std::vector<int64_t> shape, const std::vector<std::string> &texts);
// A tensor of strings of which each has `units` code units in `rows`.
HostTensor stringsFromUtf32(std::vector<int64_t> shape, const std::string &rows, uint64_t units);

// Code units of the longest string, at least 1.
uint64_t longestUtf32(const HostTensor &strings);
// The rows, of so many units each; bytes that are no UTF-8 become U+FFFD.
std::string utf32Of(const HostTensor &strings, uint64_t units);

} // namespace snug

#endif
