// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/StringTensor.h"

#include <cstring>

using namespace snug;

static void appendUtf8(std::string &text, uint32_t unit) {
  if (unit >= 0x110000)
    unit = 0xfffd;
  if (unit < 0x80) {
    text += char(unit);
  } else if (unit < 0x800) {
    text += {char(0xc0 | unit >> 6), char(0x80 | (unit & 0x3f))};
  } else if (unit < 0x10000) {
    text += {char(0xe0 | unit >> 12), char(0x80 | (unit >> 6 & 0x3f)), char(0x80 | (unit & 0x3f))};
  } else {
    text += {char(0xf0 | unit >> 18), char(0x80 | (unit >> 12 & 0x3f)), char(0x80 | (unit >> 6 & 0x3f)), char(0x80 | (unit & 0x3f))};
  }
}

// The code unit at `at`, which is moved behind it.
static uint32_t nextUnit(const snug_string &text, uint64_t &at) {
  auto byte = [&](uint64_t i) { return uint8_t(text.data[i]); };
  uint8_t lead = byte(at++);
  int more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : -1;
  if (more <= 0)
    return more ? 0xfffd : lead;
  uint32_t unit = lead & (0x3f >> more);
  for (int i = 0; i < more; ++i) {
    if (at + i >= text.size || (byte(at + i) & 0xc0) != 0x80)
      return 0xfffd;
    unit = unit << 6 | (byte(at + i) & 0x3f);
  }
  constexpr uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (unit < least[more] || unit >= 0x110000)
    return 0xfffd;
  at += more;
  return unit;
}

HostTensor snug::stringTensor(std::vector<int64_t> shape, const std::vector<std::string> &texts) {
  HostTensor tensor(kStringType, std::move(shape));
  for (const std::string &text : texts)
    tensor.text.insert(tensor.text.end(), text.begin(), text.end());
  auto *strings = reinterpret_cast<snug_string *>(tensor.data());
  const char *start = tensor.text.data();
  for (const std::string &text : texts) {
    *strings++ = {start, text.size()};
    start += text.size();
  }
  return tensor;
}

HostTensor snug::stringsFromUtf32(std::vector<int64_t> shape, const std::string &rows, uint64_t units) {
  uint64_t count = HostTensor(kStringType, shape).bytes() / sizeof(snug_string);
  std::vector<std::string> texts(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t filled = 0; // zeros at the end are no part of a string
    for (uint64_t k = 0; k < units; ++k) {
      uint32_t unit;
      memcpy(&unit, rows.data() + 4 * (i * units + k), 4);
      appendUtf8(texts[i], unit);
      filled = unit ? texts[i].size() : filled;
    }
    texts[i].resize(filled);
  }
  return stringTensor(std::move(shape), texts);
}

template <typename Body> static void eachString(const HostTensor &tensor, Body &&body) {
  auto *strings = reinterpret_cast<const snug_string *>(tensor.data());
  for (int64_t i = 0; i < tensor.elements(); ++i)
    body(strings[i]);
}

uint64_t snug::longestUtf32(const HostTensor &tensor) {
  uint64_t longest = 1;
  eachString(tensor, [&](const snug_string &text) {
    uint64_t count = 0;
    for (uint64_t at = 0; at < text.size; ++count)
      nextUnit(text, at);
    longest = count > longest ? count : longest;
  });
  return longest;
}

std::string snug::utf32Of(const HostTensor &tensor, uint64_t units) {
  std::string rows;
  eachString(tensor, [&](const snug_string &text) {
    uint64_t start = rows.size();
    for (uint64_t at = 0; at < text.size;) {
      uint32_t unit = nextUnit(text, at);
      rows.append(reinterpret_cast<const char *>(&unit), 4);
    }
    rows.resize(start + 4 * units);
  });
  return rows;
}
