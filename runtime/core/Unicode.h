// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What of Unicode ops on strings need. Bytes that are no UTF-8 stay as they are.
#ifndef SNUG_RUNTIME_CORE_UNICODE_H
#define SNUG_RUNTIME_CORE_UNICODE_H

#include <string>
#include <string_view>

namespace snug {

// Writes all characters in lower or upper case, each by itself (of "ß", "ẞ"), and returns how many bytes that is.
// Null for `to`: only counts.
size_t changeCase(std::string_view text, bool upper, char *to);

// White space as Unicode has it: how many bytes it is at the start, and how many are in front of the first of it.
size_t skipSpace(std::string_view text);
size_t findSpace(std::string_view text);

// With question marks for what is no UTF-8.
std::string makeValidUtf8(std::string_view text);

} // namespace snug

#endif
