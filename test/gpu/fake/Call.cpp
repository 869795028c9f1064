// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The log, and errors at will.

#include "test/gpu/fake/Fake.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace snug;
using namespace snug::fake;

State &fake::state() {
  static State *all = new State; // never destroyed: programs free what they have after main, too
  return *all;
}

const char *fake::textSetting(const char *name) {
  const char *text = getenv(name);
  return text && *text ? text : nullptr;
}

uint64_t fake::setting(const char *name, uint64_t otherwise) {
  const char *text = textSetting(name);
  return text ? strtoull(text, nullptr, 10) : otherwise;
}

static void writeLine(const std::string &line) {
  static std::string path;
  static FILE *file = nullptr;
  const char *wanted = getenv("SNUG_FAKE_CUDA_LOG");
  if (path != (wanted ? wanted : "")) {
    if (file)
      fclose(file);
    path = wanted ? wanted : "";
    file = path.empty() ? nullptr : fopen(path.c_str(), "a");
  }
  if (!file)
    return;
  fprintf(file, "%s\n", line.c_str());
  fflush(file);
}

static std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (char c : text)
    result += c == '"' || c == '\\' ? std::string("\\") + c : static_cast<unsigned char>(c) < 0x20 ? std::string(" ") : std::string(1, c);
  return result + "\"";
}

void fake::reportFault(const std::string &text) {
  ++state().stats.faults;
  fprintf(stderr, "fake CUDA: %s\n", text.c_str());
  writeLine("{\"fault\": " + quoted(text) + "}");
}

// The error that SNUG_FAKE_CUDA_FAIL has for the next call of a function.
static Result plannedFailure(const char *function) {
  static std::string plan;
  static std::map<std::string, uint64_t> calls;
  const char *text = getenv("SNUG_FAKE_CUDA_FAIL");
  if (plan != (text ? text : "")) {
    plan = text ? text : "";
    calls.clear();
  }
  uint64_t number = ++calls[function];
  for (size_t at = 0; at < plan.size();) {
    size_t end = std::min(plan.find(',', at), plan.size());
    std::string item = plan.substr(at, end - at);
    size_t first = item.find(':'), second = item.find(':', first + 1);
    if (first != std::string::npos && second != std::string::npos && item.compare(0, first, function) == 0) {
      uint64_t which = strtoull(item.c_str() + first + 1, nullptr, 10);
      if (which == 0 || which == number)
        return atoi(item.c_str() + second + 1);
    }
    at = end + 1;
  }
  return kSuccess;
}

Call::Call(const char *function) : lock(state().mutex), function(function) {}

Call &Call::with(const char *name, uint64_t value) {
  fields += ", \"" + std::string(name) + "\": " + std::to_string(value);
  return *this;
}

Call &Call::with(const char *name, const std::string &text) {
  fields += ", \"" + std::string(name) + "\": " + quoted(text);
  return *this;
}

Call &Call::at(const char *name, const void *address) {
  char text[32];
  snprintf(text, sizeof text, "%p", address);
  return with(name, std::string(text));
}

Result Call::refused(bool needsContext) {
  if (Result planned = plannedFailure(function))
    return planned;
  if (auto found = state().sticky.find(currentDevice()); found != state().sticky.end())
    return found->second;
  return needsContext && currentDevice() < 0 ? kInvalidContext : kSuccess;
}

Result Call::done(Result result, const std::string &more) {
  writeLine("{\"call\": \"" + std::string(function) + "\"" + fields + more + ", \"result\": " + std::to_string(result) + "}");
  return result;
}

void snug_fake_cuda_reset(void) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  state().sticky.clear();
  for (auto &[device, bytes] : state().usage)
    bytes.second = bytes.first;
  snug_fake_cuda_stats &stats = state().stats, old = stats;
  stats = {};
  stats.live_bytes = stats.peak_bytes = old.live_bytes;
  stats.pinned_bytes = stats.peak_pinned_bytes = old.pinned_bytes;
  stats.handles = old.handles;
}

void snug_fake_cuda_get_stats(snug_fake_cuda_stats *stats) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  *stats = state().stats;
}

void snug_fake_cuda_get_device_bytes(int device, uint64_t *live, uint64_t *peak) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  auto &[now, most] = state().usage[device];
  *live = now;
  *peak = most;
}
