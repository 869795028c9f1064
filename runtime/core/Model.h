// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A loaded model: the library, its header, its weights once a context needs them.
#ifndef SNUG_RUNTIME_CORE_MODEL_H
#define SNUG_RUNTIME_CORE_MODEL_H

#include "runtime/core/Weights.h"
#include "snug/Runtime.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

struct snug_model {
  explicit snug_model(const char *path); // throws
  snug_model(const snug_model &) = delete;
  snug_model &operator=(const snug_model &) = delete;
  ~snug_model();

  // Maps the weights of device `rank` (0 where the model is for one) on the first call; throws when that fails, and tries
  // again on the next call.
  const uint8_t *mapWeights(uint32_t rank);

  // Of the library's file; reads all of it on the first call, and throws when it cannot.
  uint64_t contentHash();

  std::atomic<int64_t> references{1};
  const snug_model_header *header = nullptr;

private:
  void check() const;
  bool checkMesh() const;

  std::string path;
  void *library = nullptr;
  std::mutex mutex; // of what follows
  std::map<uint32_t, std::unique_ptr<snug::Weights>> weights; // by rank
  std::optional<uint64_t> content;
};

#endif
