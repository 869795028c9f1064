// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Unicode.h"

#include <utf8proc.h>

using namespace snug;

// Calls body(character, its bytes) for each character; -1 for a byte that is of none.
template <typename Body> static void eachCharacter(std::string_view text, Body &&body) {
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t character;
    utf8proc_ssize_t bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t *>(text.data() + at),
                                              utf8proc_ssize_t(text.size() - at), &character);
    size_t taken = bytes > 0 ? size_t(bytes) : 1;
    if (!body(bytes > 0 ? character : -1, text.substr(at, taken)))
      return;
    at += taken;
  }
}

size_t snug::changeCase(std::string_view text, bool upper, char *to) {
  size_t size = 0;
  eachCharacter(text, [&](utf8proc_int32_t character, std::string_view bytes) {
    utf8proc_int32_t other = character < 0 ? character : upper ? utf8proc_toupper(character) : utf8proc_tolower(character);
    char encoded[4];
    if (other != character)
      bytes = {encoded, size_t(utf8proc_encode_char(other, reinterpret_cast<utf8proc_uint8_t *>(encoded)))};
    if (to)
      bytes.copy(to + size, bytes.size());
    size += bytes.size();
    return true;
  });
  return size;
}

// As Python's str.isspace.
static bool isSpace(utf8proc_int32_t character) {
  if (character < 0)
    return false;
  if ((character >= 0x09 && character <= 0x0d) || (character >= 0x1c && character <= 0x1f) || character == 0x85)
    return true;
  utf8proc_category_t category = utf8proc_category(character);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static size_t findWhere(std::string_view text, bool space) {
  size_t at = 0;
  eachCharacter(text, [&](utf8proc_int32_t character, std::string_view bytes) {
    if (isSpace(character) == space)
      return false;
    at += bytes.size();
    return true;
  });
  return at;
}

size_t snug::skipSpace(std::string_view text) { return findWhere(text, false); }
size_t snug::findSpace(std::string_view text) { return findWhere(text, true); }

std::string snug::makeValidUtf8(std::string_view text) {
  std::string valid;
  eachCharacter(text, [&](utf8proc_int32_t character, std::string_view bytes) {
    valid += character < 0 ? "?" : bytes;
    return true;
  });
  return valid;
}
