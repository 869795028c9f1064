// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_LISTOPS_H
#define SNUG_LIB_DRIVER_LISTOPS_H

#include <string>

namespace snug {

// The ops that Snug compiles, from the lowering table, as a Markdown table.
std::string listOps();

} // namespace snug

#endif
