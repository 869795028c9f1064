// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_INFO_H
#define SNUG_TOOLS_SNUG_RUN_INFO_H

#include "snug/Runtime.h"

#include <string>

namespace snug {

// "float32", "bool", ...
std::string dtypeText(snug_dtype dtype);

// Bytes as "78.1 MiB".
std::string bytesText(uint64_t bytes);

// Prints what the model takes, gives and needs; reads no weights.
void printInfo(const snug_model *model);

} // namespace snug

#endif
