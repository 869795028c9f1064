// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_COMMANDFAILURE_H
#define SNUG_TOOLS_SNUG_RUN_COMMANDFAILURE_H

#include "snug/Runtime.h"

#include <stdexcept>
#include <string>

namespace snug {

// Ends the program with `code` and one message; none where it was told.
struct CommandFailure : std::runtime_error {
  CommandFailure(snug_exit_code code, const std::string &message) : std::runtime_error(message), code(code) {}
  snug_exit_code code;
};

// Takes an error of the C API over.
inline void check(snug_error *error) {
  if (!error)
    return;
  CommandFailure failure(snug_error_code(error), snug_error_message(error));
  snug_error_destroy(error);
  throw failure;
}

} // namespace snug

#endif
