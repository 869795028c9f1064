// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text form of arena problems: parser with line numbers, and printer.
#include "lib/solver/ArenaText.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace snug {

static constexpr std::string_view kHeader = "id,lower,upper,size,alignment";
static constexpr std::string_view kHeaderWithOffset = "id,lower,upper,size,alignment,offset";

std::optional<ArenaText> parseArenaText(std::string_view text, std::string *error) {
  size_t lineNumber = 0;
  auto fail = [&](const std::string &message) -> std::optional<ArenaText> {
    if (error)
      *error = "line " + std::to_string(lineNumber) + ": " + message;
    return std::nullopt;
  };

  ArenaText result;
  size_t columns = 0; // 0 until the header is read
  while (!text.empty()) {
    ++lineNumber;
    size_t length = text.find('\n');
    std::string_view line = text.substr(0, length);
    text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
    if (!line.empty() && line.back() == '\r')
      line.remove_suffix(1);
    if (line.empty())
      continue;
    if (columns == 0) {
      if (line != kHeader && line != kHeaderWithOffset)
        return fail("expected the header '" + std::string(kHeader) + "[,offset]', found '" + std::string(line) + "'");
      columns = line == kHeader ? 5 : 6;
      if (columns == 6)
        result.solution.emplace();
      continue;
    }

    int64_t values[6] = {};
    size_t column = 0;
    for (size_t begin = 0; begin <= line.size(); ++column) {
      size_t end = std::min(line.find(',', begin), line.size());
      std::string_view field = line.substr(begin, end - begin);
      begin = end + 1;
      if (column >= columns)
        continue; // only counted, for the message
      auto [rest, status] = std::from_chars(field.data(), field.data() + field.size(), values[column]);
      if (status == std::errc::result_out_of_range)
        return fail("'" + std::string(field) + "' does not fit into 64 bits");
      if (status != std::errc() || rest != field.data() + field.size())
        return fail("'" + std::string(field) + "' is not an integer");
    }
    if (column != columns)
      return fail("expected " + std::to_string(columns) + " fields, found " + std::to_string(column));

    Buffer buffer{values[0], values[3], values[1], values[2], values[4]};
    result.problem.buffers.push_back(buffer);
    if (!result.solution)
      continue;
    int64_t padding = 0;
    if (buffer.size >= 0 && buffer.alignment >= 1)
      padding = (buffer.alignment - buffer.size % buffer.alignment) % buffer.alignment;
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
    int64_t offset = values[5], size = std::max<int64_t>(buffer.size, 0);
    if (size > kMax - padding || (offset > 0 && size + padding > kMax - offset))
      return fail("the end of the buffer does not fit into 64 bits");
    result.solution->offsets.push_back(offset);
    result.solution->capacity = std::max(result.solution->capacity, offset + size + padding);
  }
  if (columns == 0) {
    lineNumber = std::max<size_t>(lineNumber, 1);
    return fail("expected the header '" + std::string(kHeader) + "[,offset]', found the end");
  }
  return result;
}

std::string printArenaText(const ArenaProblem &problem, const ArenaSolution *solution) {
  bool withOffset = solution && solution->offsets.size() == problem.buffers.size();
  std::string text(withOffset ? kHeaderWithOffset : kHeader);
  text += '\n';
  for (size_t i = 0; i < problem.buffers.size(); ++i) {
    const Buffer &buffer = problem.buffers[i];
    for (int64_t value : {buffer.id, buffer.lower, buffer.upper, buffer.size})
      text += std::to_string(value) + ",";
    text += std::to_string(buffer.alignment);
    if (withOffset)
      text += "," + std::to_string(solution->offsets[i]);
    text += '\n';
  }
  return text;
}

} // namespace snug
