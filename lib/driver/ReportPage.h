// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_REPORTPAGE_H
#define SNUG_LIB_DRIVER_REPORTPAGE_H

#include <string>

namespace snug {

// The JSON report as one page of HTML that draws it, and asks nothing of a network. Whatever the JSON holds, names from
// hostile models included, none of it becomes markup or code.
std::string reportPage(const std::string &json);

} // namespace snug

#endif
