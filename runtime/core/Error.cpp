// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Error.h"

// What is returned when there is no memory for an error either; snug_error_destroy leaves it alone.
static snug_error &outOfMemory() {
  static snug_error error{SNUG_EXIT_MACHINE, "out of memory"}; // short enough to be held inside the string
  return error;
}

snug_error *snug::makeError(snug_exit_code code, const char *message) noexcept {
  try {
    return new snug_error{code, message};
  } catch (const std::bad_alloc &) {
    return &outOfMemory();
  }
}

extern "C" {
const char *snug_version(void) { return SNUG_VERSION_STRING; }

snug_exit_code snug_error_code(const snug_error *error) { return error ? error->code : SNUG_EXIT_DONE; }

const char *snug_error_message(const snug_error *error) { return error ? error->message.c_str() : ""; }

void snug_error_destroy(snug_error *error) {
  if (error != &outOfMemory())
    delete error;
}
}
