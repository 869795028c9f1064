// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What tests expect of calls of the C API.
#ifndef SNUG_TEST_UNIT_ERRORS_H
#define SNUG_TEST_UNIT_ERRORS_H

#include "snug/Runtime.h"
#include <gtest/gtest.h>
#include <string>

// Expects success, and shows the message otherwise.
#define EXPECT_OK(call)                                                                                                \
  do {                                                                                                                 \
    snug_error *error_ = (call);                                                                                       \
    EXPECT_EQ(error_, nullptr) << snug_error_message(error_);                                                          \
    snug_error_destroy(error_);                                                                                        \
  } while (0)

// Expects that failure.
#define EXPECT_FAILS(call, expectedCode, expectedMessage)                                                              \
  do {                                                                                                                 \
    snug_error *error_ = (call);                                                                                       \
    EXPECT_EQ(snug_error_code(error_), expectedCode);                                                                  \
    EXPECT_EQ(std::string(snug_error_message(error_)), expectedMessage);                                               \
    snug_error_destroy(error_);                                                                                        \
  } while (0)

#define EXPECT_FAILS_WITH(call, expectedCode, part)                                                                    \
  do {                                                                                                                 \
    snug_error *error_ = (call);                                                                                       \
    EXPECT_EQ(snug_error_code(error_), expectedCode);                                                                  \
    EXPECT_NE(std::string(snug_error_message(error_)).find(part), std::string::npos) << snug_error_message(error_);    \
    snug_error_destroy(error_);                                                                                        \
  } while (0)

#endif
