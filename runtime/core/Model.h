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
#include <utility>

struct snug_model {
  explicit snug_model(const char *path); // throws
  snug_model(const snug_model &) = delete;
  snug_model &operator=(const snug_model &) = delete;
  ~snug_model();

  // Maps the weights of device `rank` (0 where the model is for one) on the first call; throws when that fails, and tries
  // again on the next call.
  const uint8_t *mapWeights(uint32_t rank);

  const std::string &libraryPath() const { return path; }

  // Of the library's file; reads all of it on the first call, and throws when it cannot.
  uint64_t contentHash();

  // What contexts of one rank on one device share: made by `make` for the first of them, and gone with the last.
  template <class Resident, class Make> std::shared_ptr<Resident> shareOn(uint32_t device, uint32_t rank, Make &&make) {
    std::lock_guard<std::mutex> lock(residentMutex);
    std::weak_ptr<void> &known = residents[{device, rank}];
    auto found = std::static_pointer_cast<Resident>(known.lock());
    if (!found)
      known = found = make();
    return found;
  }

  std::atomic<int64_t> references{1};
  const snug_model_header *header = nullptr;

private:
  void check() const;
  bool checkMesh() const;
  bool checkDevice() const;

  std::string path;
  void *library = nullptr;
  std::mutex mutex; // of what follows
  std::map<uint32_t, std::unique_ptr<snug::Weights>> weights; // by rank
  std::optional<uint64_t> content;
  std::mutex residentMutex; // of what follows
  std::map<std::pair<uint32_t, uint32_t>, std::weak_ptr<void>> residents; // by number of the device, and rank
};

#endif
