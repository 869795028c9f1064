// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Files that the compiler writes: whole or not at all.
#ifndef SNUG_LIB_DRIVER_OUTPUTFILE_H
#define SNUG_LIB_DRIVER_OUTPUTFILE_H

#include <string>

namespace snug {

// What stands in the way of writing `path`, as the rest of a sentence ("its folder 'x' does not exist"); empty if
// nothing is known to. Asked before the work, so that a typing error does not cost a compilation.
std::string outputProblem(const std::string &path);

// Writes beside `path` and renames; what is no regular file (/dev/stdout, a pipe) is written to directly. On failure
// returns false and `problem` is the system's reason; nothing is left behind.
bool writeOutput(const std::string &path, const std::string &text, std::string &problem);

} // namespace snug

#endif
