// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Text.h"
#include "runtime/core/Error.h"
#include "runtime/core/Images.h"
#include "runtime/core/Unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <re2/re2.h>

using namespace snug;

Text::Text() = default;
Text::~Text() = default;

void Text::setPool(char *bytes, uint64_t size) {
  pool = bytes;
  poolBytes = size;
}

void Text::begin() {
  used = 0;
  hasFailed = false;
}

void Text::check(const snug_model_header &header) {
  if (!hasFailed)
    return;
  std::lock_guard<std::mutex> lock(mutex);
  bool isKnown = failedLaunch >= 0 && failedLaunch < header.num_launches;
  std::string nodes = isKnown ? header.launches[failedLaunch].nodes : "";
  throw Failure(SNUG_EXIT_RUN, (nodes.empty() ? "" : "node '" + nodes + "': ") + failure);
}

void Text::fail(int64_t launch, std::string why) {
  std::lock_guard<std::mutex> lock(mutex);
  if (hasFailed)
    return;
  failedLaunch = launch;
  failure = std::move(why);
  hasFailed = true;
}

char *Text::make(uint64_t bytes, int64_t launch) {
  // Never moved beyond the end, so that it cannot wrap around.
  uint64_t start = used.load(std::memory_order_relaxed);
  do {
    if (bytes > poolBytes - start) {
      fail(launch, "the strings that the run makes have more than " + std::to_string(poolBytes) +
                       " bytes: compile the model with a larger --text-bytes");
      return nullptr;
    }
  } while (!used.compare_exchange_weak(start, start + bytes, std::memory_order_relaxed));
  return pool + start;
}

//===-- Words -----------------------------------------------------------------------------------------------------===//

static std::string_view stringAt(const int64_t *words) {
  return {reinterpret_cast<const char *>(words[0]), size_t(words[1])};
}

static void setString(int64_t *words, std::string_view text) {
  words[0] = text.empty() ? 0 : reinterpret_cast<intptr_t>(text.data());
  words[1] = int64_t(text.size());
}

void Text::store(std::string_view text, int64_t launch, int64_t *results) {
  char *place = text.empty() ? nullptr : make(text.size(), launch);
  if (place)
    memcpy(place, text.data(), text.size());
  setString(results, place ? std::string_view(place, text.size()) : std::string_view());
}

std::string snug::printableText(std::string_view text) {
  constexpr size_t most = 60;
  std::string shown;
  for (unsigned char c : text.substr(0, most)) {
    if (c >= ' ' && c != 0x7f) {
      shown += char(c);
      continue;
    }
    static const char digits[] = "0123456789abcdef";
    shown += {'\\', 'x', digits[c >> 4], digits[c & 15]};
  }
  // Other bytes stay as they are only where they are UTF-8.
  return makeValidUtf8(shown) + (text.size() > most ? "..." : "");
}

//===-- Numbers ---------------------------------------------------------------------------------------------------===//

// The shortest decimal that reads back, with an exponent where printf's %.8g (of a double, %.17g) has one.
template <typename Float> static std::string_view textOf(Float value, char *buffer, size_t size) {
  if (std::isnan(value))
    return "NaN";
  if (std::isinf(value))
    return value < 0 ? "-INF" : "INF";
  char *end = std::to_chars(buffer, buffer + size, value, std::chars_format::scientific).ptr;
  const char *sign = std::find(buffer, end, 'e') + 1;
  int exponent = 0;
  std::from_chars(sign + 1, end, exponent);
  constexpr int digits = sizeof(Float) == 4 ? 8 : 17;
  if (*sign == '-' ? exponent <= 4 : exponent < digits)
    end = std::to_chars(buffer, buffer + size, value, std::chars_format::fixed).ptr;
  return {buffer, size_t(end - buffer)};
}

// Without white space around it, and without a plus sign, which from_chars does not take.
static std::string_view numberIn(std::string_view text) {
  constexpr std::string_view space = " \t\n\v\f\r";
  size_t first = text.find_first_not_of(space);
  text = first == text.npos ? std::string_view() : text.substr(first, text.find_last_not_of(space) - first + 1);
  return text.size() > 1 && text[0] == '+' && text[1] != '-' ? text.substr(1) : text;
}

// A float may be written as "inf", "INF", "nan" or with an exponent.
template <typename Number> static bool read(std::string_view text, Number &value) {
  text = numberIn(text);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Too large or too small a float is infinite or 0, as elsewhere.
static bool readFloat(std::string_view text, double &value) {
  text = numberIn(text);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size())
    return false;
  if (error == std::errc::result_out_of_range)
    value = strtod(std::string(text).c_str(), nullptr);
  return error == std::errc() || error == std::errc::result_out_of_range;
}

//===-- Pieces ----------------------------------------------------------------------------------------------------===//

// The first piece of `text`, as Python's str.split cuts it.
static void cut(std::string_view text, std::string_view delimiter, int64_t splits, int64_t *results) {
  std::string_view piece, rest;
  bool isThere = true, hasMore = false;
  if (delimiter.empty()) { // runs of white space count as one, and at the start as none
    text.remove_prefix(skipSpace(text));
    size_t end = splits == 0 ? text.size() : findSpace(text);
    isThere = !text.empty();
    piece = text.substr(0, end);
    rest = text.substr(end);
    rest.remove_prefix(skipSpace(rest));
    hasMore = !rest.empty();
  } else {
    size_t end = splits == 0 ? text.npos : text.find(delimiter);
    hasMore = end != text.npos;
    piece = text.substr(0, end);
    rest = hasMore ? text.substr(end + delimiter.size()) : rest;
  }
  setString(results, piece);
  setString(results + 2, rest);
  results[4] = isThere;
  results[5] = hasMore;
}

//===-- Regular expressions ---------------------------------------------------------------------------------------===//

// A run has few of them; the address stays as it is.
const re2::RE2 &Text::expression(std::string_view pattern, bool longest) {
  std::lock_guard<std::mutex> lock(mutex);
  auto &known = expressions[longest];
  auto found = known.find(pattern);
  if (found == known.end()) {
    re2::RE2::Options options(re2::RE2::Quiet);
    options.set_longest_match(longest);
    auto made = std::make_unique<re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
    found = known.emplace(std::string(pattern), std::move(made)).first;
  }
  return *found->second;
}

// What the match is next to counts for ^ and \b, so that all of the text is looked at.
void Text::match(std::string_view text, const int64_t *operands, int64_t launch, int64_t *results) {
  const re2::RE2 &wanted = expression(stringAt(operands + 2), /*longest=*/true);
  setString(results, {});
  results[2] = operands[5];
  results[3] = 0;
  if (!wanted.ok())
    return fail(launch, "'" + printableText(stringAt(operands + 2)) + "' is no regular expression: " + wanted.error());
  re2::StringPiece whole(text.data(), text.size()), found;
  size_t begin = size_t(operands[5]);
  while (begin < text.size() && wanted.Match(whole, begin, text.size(), re2::RE2::UNANCHORED, &found, 1)) {
    size_t end = size_t(found.data() - text.data()) + found.size();
    auto isStart = [](char byte) { return (uint8_t(byte) & 0xc0) != 0x80; }; // of a character
    if (!found.empty() && std::count_if(found.begin(), found.end(), isStart) >= operands[4]) {
      setString(results, {found.data(), found.size()});
      results[2] = int64_t(end);
      results[3] = 1;
      return;
    }
    begin = found.empty() ? end + 1 : end;
    while (begin < text.size() && !isStart(text[begin]))
      ++begin;
  }
}

//===-- The ops ---------------------------------------------------------------------------------------------------===//

static std::string sizeText(ImageSize size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

void Text::run(int64_t op, int64_t launch, const int64_t *operands, int64_t *results) {
  std::string_view text = op == SNUG_TEXT_FROM_INT || op == SNUG_TEXT_FROM_UINT || op == SNUG_TEXT_FROM_FLOAT || op == SNUG_TEXT_AT_MOST
                              ? std::string_view()
                              : stringAt(operands);
  auto noNumber = [&](const char *what) {
    results[0] = 0;
    fail(launch, "'" + printableText(text) + "' is no " + what);
  };
  switch (op) {
  case SNUG_TEXT_COMPARE: {
    int order = text.compare(stringAt(operands + 2));
    results[0] = order < 0 ? -1 : order > 0;
    return;
  }
  case SNUG_TEXT_CONCAT: {
    std::string_view other = stringAt(operands + 2);
    uint64_t bytes = text.size() + other.size();
    char *place = bytes ? make(bytes, launch) : nullptr;
    if (place) {
      std::copy(text.begin(), text.end(), place);
      std::copy(other.begin(), other.end(), place + text.size());
    }
    return setString(results, {place, place ? bytes : 0});
  }
  case SNUG_TEXT_FROM_INT:
    return store(std::to_string(operands[0]), launch, results);
  case SNUG_TEXT_FROM_UINT:
    return store(std::to_string(uint64_t(operands[0])), launch, results);
  case SNUG_TEXT_FROM_FLOAT: {
    double value;
    memcpy(&value, operands, sizeof value);
    char buffer[64];
    constexpr int64_t single = 24;
    return store(operands[1] <= single ? textOf(float(value), buffer, sizeof buffer) : textOf(value, buffer, sizeof buffer),
                 launch, results);
  }
  case SNUG_TEXT_TO_INT:
    if (int64_t value; read(text, value) && value >= operands[2] && value <= operands[3])
      results[0] = value;
    else
      noNumber("integer of the type that it is cast to");
    return;
  case SNUG_TEXT_TO_UINT:
    if (uint64_t value; read(text, value) && value <= uint64_t(operands[2]))
      results[0] = int64_t(value);
    else
      noNumber("unsigned integer of the type that it is cast to");
    return;
  case SNUG_TEXT_TO_FLOAT:
    if (double value; readFloat(text, value))
      memcpy(results, &value, sizeof value);
    else
      noNumber("number");
    return;
  case SNUG_TEXT_FULL_MATCH: {
    const re2::RE2 &wanted = expression(stringAt(operands + 2), /*longest=*/false);
    results[0] = wanted.ok() && re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), wanted);
    if (!wanted.ok())
      fail(launch, "'" + printableText(stringAt(operands + 2)) + "' is no regular expression: " + wanted.error());
    return;
  }
  case SNUG_TEXT_MATCH:
    return match(text, operands, launch, results);
  case SNUG_TEXT_LOWER:
  case SNUG_TEXT_UPPER: {
    size_t bytes = changeCase(text, op == SNUG_TEXT_UPPER, nullptr);
    char *place = bytes ? make(bytes, launch) : nullptr;
    if (place)
      changeCase(text, op == SNUG_TEXT_UPPER, place);
    return setString(results, {place, place ? bytes : 0});
  }
  case SNUG_TEXT_PIECE:
    return cut(text, stringAt(operands + 2), operands[4], results);
  case SNUG_TEXT_AT_MOST:
    if (operands[0] > operands[1])
      fail(launch, "a string has " + std::to_string(operands[0]) + " pieces, and there is room for " +
                       std::to_string(operands[1]) + ": compile the model with a larger --text-pieces");
    results[0] = std::min(operands[0], operands[1]);
    return;
  case SNUG_TEXT_IMAGE_SIZE: {
    results[0] = results[1] = 0;
    ImageSize found, most{operands[2], operands[3]};
    try {
      found = imageSize(reinterpret_cast<const uint8_t *>(text.data()), text.size());
    } catch (const Failure &failure) {
      return fail(launch, failure.what());
    }
    if (!found.height)
      return fail(launch, "it is no image that can be decoded");
    if (found.height > most.height || found.width > most.width)
      return fail(launch, "the image has " + sizeText(found) + " pixels, and there is room for " + sizeText(most) +
                              ": compile the model with a larger --image-size");
    results[0] = found.height;
    results[1] = found.width;
    return;
  }
  case SNUG_TEXT_DECODE_IMAGE: {
    std::string_view pixels = stringAt(operands + 2);
    PixelFormat format = operands[4] == SNUG_PIXELS_BGR   ? PixelFormat::BGR
                         : operands[4] == SNUG_PIXELS_RGB ? PixelFormat::RGB
                                                          : PixelFormat::Grayscale;
    ImageSize size{operands[5], operands[6]}, found;
    auto *bytes = reinterpret_cast<const uint8_t *>(text.data());
    try {
      results[0] = decodeImage(bytes, text.size(), format, size, reinterpret_cast<uint8_t *>(const_cast<char *>(pixels.data())));
      if (!results[0])
        found = imageSize(bytes, text.size());
    } catch (const Failure &failure) {
      return fail(launch, failure.what());
    }
    if (!results[0])
      fail(launch, !found.height ? "it is no image that can be decoded"
                   : found.height == size.height && found.width == size.width
                       ? "its pixels cannot be decoded"
                       : "the image has " + sizeText(found) + " pixels, the model says " + sizeText(size));
    return;
  }
  default: // of a newer compiler
    fail(launch, std::string("the model needs a newer runtime than this ") + snug_version());
  }
}

void Text::call(void *state, int64_t op, int64_t launch, const int64_t *operands, int64_t *results) noexcept {
  auto *text = static_cast<Text *>(state);
  try {
    text->run(op, launch, operands, results);
  } catch (const std::exception &) { // a message, or a regular expression
    setString(results, {});
    text->fail(launch, "out of memory"); // short enough to need none
  }
}
