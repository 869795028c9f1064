// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Inside the runtime a failure is an exception; guard() turns it into a snug_error at the C boundary.
#ifndef SNUG_RUNTIME_CORE_ERROR_H
#define SNUG_RUNTIME_CORE_ERROR_H

#include "snug/Runtime.h"

#include <exception>
#include <new>
#include <string>

struct snug_error {
  snug_exit_code code;
  std::string message;
};

namespace snug {

struct Failure : std::exception {
  Failure(snug_exit_code code, std::string message) : code(code), message(std::move(message)) {}
  const char *what() const noexcept override { return message.c_str(); }
  snug_exit_code code;
  std::string message;
};

snug_error *makeError(snug_exit_code code, const char *message) noexcept;

template <typename Body> snug_error *guard(Body &&body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Failure &failure) {
    return makeError(failure.code, failure.what());
  } catch (const std::bad_alloc &) {
    return makeError(SNUG_EXIT_MACHINE, "out of memory");
  } catch (const std::exception &error) {
    return makeError(SNUG_EXIT_FAULT, error.what());
  }
}

} // namespace snug

#endif
