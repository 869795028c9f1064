// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sweeps over time with the set of live buffers ordered by offset; a new one can only clash with its two neighbours,
// because those already in the set do not overlap each other.
#include "lib/solver/ArenaValidator.h"

#include <algorithm>
#include <iterator>
#include <map>

namespace snug {

static std::string nameOf(const Buffer &buffer) { return "buffer " + std::to_string(buffer.id); }

static std::string rangeOf(int64_t begin, int64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

std::optional<std::string> findArenaFault(const ArenaProblem &problem, const ArenaSolution &solution) {
  const std::vector<Buffer> &buffers = problem.buffers;
  if (solution.offsets.size() != buffers.size())
    return "the solution has " + std::to_string(solution.offsets.size()) + " offsets for " +
           std::to_string(buffers.size()) + " buffers";
  if (solution.capacity < 0)
    return "the capacity " + std::to_string(solution.capacity) + " is negative";

  std::vector<int64_t> ends(buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Buffer &buffer = buffers[i];
    int64_t offset = solution.offsets[i];
    if (buffer.size < 0 || buffer.alignment < 1 || buffer.lower >= buffer.upper)
      return nameOf(buffer) + " is malformed: size " + std::to_string(buffer.size) + ", alignment " +
             std::to_string(buffer.alignment) + ", live range " + rangeOf(buffer.lower, buffer.upper);
    if (offset < 0)
      return nameOf(buffer) + " has the negative offset " + std::to_string(offset);
    if (offset % buffer.alignment != 0)
      return nameOf(buffer) + " has the offset " + std::to_string(offset) + ", which is no multiple of its alignment " +
             std::to_string(buffer.alignment);
    int64_t padding = (buffer.alignment - buffer.size % buffer.alignment) % buffer.alignment;
    // Subtractions only: the sums may overflow.
    if (offset > solution.capacity || buffer.size > solution.capacity - offset ||
        padding > solution.capacity - offset - buffer.size)
      return nameOf(buffer) + " at the offset " + std::to_string(offset) + " with the size " +
             std::to_string(buffer.size) + " ends beyond the capacity " + std::to_string(solution.capacity);
    ends[i] = offset + buffer.size + padding;
  }

  struct Event {
    int64_t time;
    bool starts; // ends sort before starts at the same time: ranges are half-open
    size_t index;
  };
  std::vector<Event> events;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (ends[i] == solution.offsets[i])
      continue; // occupies nothing
    events.push_back({buffers[i].lower, true, i});
    events.push_back({buffers[i].upper, false, i});
  }
  std::sort(events.begin(), events.end(), [](const Event &a, const Event &b) {
    if (a.time != b.time)
      return a.time < b.time;
    if (a.starts != b.starts)
      return b.starts;
    return a.index < b.index;
  });
  std::map<int64_t, size_t> live; // offset -> buffer
  for (const Event &event : events) {
    int64_t offset = solution.offsets[event.index];
    if (!event.starts) {
      live.erase(offset);
      continue;
    }
    auto clash = [&](size_t other) {
      return nameOf(buffers[other]) + " at " + rangeOf(solution.offsets[other], ends[other]) + " and " +
             nameOf(buffers[event.index]) + " at " + rangeOf(offset, ends[event.index]) +
             " overlap and are both live at time " + std::to_string(event.time);
    };
    auto next = live.lower_bound(offset);
    if (next != live.begin() && ends[std::prev(next)->second] > offset)
      return clash(std::prev(next)->second);
    if (next != live.end() && next->first < ends[event.index])
      return clash(next->second);
    live.emplace(offset, event.index);
  }
  return std::nullopt;
}

} // namespace snug
