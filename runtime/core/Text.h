// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What runs do with strings (snug_text_op). Strings that they make stand one behind the other in a pool of fixed size,
// which a run begins anew.
#ifndef SNUG_RUNTIME_CORE_TEXT_H
#define SNUG_RUNTIME_CORE_TEXT_H

#include "snug/ModelABI.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace snug {

class Text {
public:
  Text();
  ~Text();
  Text(const Text &) = delete;
  Text &operator=(const Text &) = delete;

  void setPool(char *bytes, uint64_t size);
  // Before a run: its strings are forgotten.
  void begin();
  // After it: throws what went wrong first.
  void check(const snug_model_header &header);

  // As snug_runtime_table has it; `state` is a Text.
  static void call(void *state, int64_t op, int64_t launch, const int64_t *operands, int64_t *results) noexcept;

private:
  void run(int64_t op, int64_t launch, const int64_t *operands, int64_t *results);
  // Room for so many bytes; null, and the run failed, where there is none.
  char *make(uint64_t bytes, int64_t launch);
  void store(std::string_view text, int64_t launch, int64_t *results);
  void fail(int64_t launch, std::string why);
  // Of several matches at a place, the longest or the first one that the pattern names.
  const re2::RE2 &expression(std::string_view pattern, bool longest);
  void match(std::string_view text, const int64_t *operands, int64_t launch, int64_t *results);

  char *pool = nullptr;
  uint64_t poolBytes = 0;
  std::atomic<uint64_t> used{0};
  std::atomic<bool> hasFailed{false};
  std::mutex mutex; // of what follows
  int64_t failedLaunch = 0;
  std::string failure;
  std::map<std::string, std::unique_ptr<re2::RE2>, std::less<>> expressions[2]; // by `longest`
};

// Text of a model or caller for a message: no control characters, of bounded length.
std::string printableText(std::string_view text);

} // namespace snug

#endif
