// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CUDA_LIBRARY_CALLS_H
#define SNUG_RUNTIME_CUDA_LIBRARY_CALLS_H

#include "runtime/cuda/Driver.h"
#include "snug/ModelABI.h"
#include "snug/Runtime.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>

namespace snug::cuda {

// The contractions of a context that a library does. How it does one is chosen when its shape is met for the first time, which a
// rehearsal sees to before the first run, and stays so: another choice may give other bits. In the device's context.
//
// A library loads the code of what it chose when that is run for the first time, for which it may allocate, and which cannot be done
// while a stream is captured. So a rehearsal runs what it chooses; and what was never run is a kernel's in a capture, and from then on.
class LibraryCalls {
public:
  LibraryCalls() = default;
  LibraryCalls(const LibraryCalls &) = delete;
  LibraryCalls &operator=(const LibraryCalls &) = delete;
  virtual ~LibraryCalls() = default;

  virtual const char *name() const = 0; // as messages have it
  // Whether the library does that contraction of snug_model_header.contractions in that shape; else a kernel has to. Chooses how, if it
  // is not chosen yet, unless the stream that it would be started on `isCaptured`.
  virtual bool has(int64_t contraction, const void *shape, bool isCaptured) = 0;
  // Starts it; only what it has. Returns a status of the library's, 0 of success, as the next two.
  virtual int run(int64_t contraction, const void *shape, Stream stream) = 0;
  // As `has`, for a run that is to come. All that the addresses name may be read, and results and workspace written: runs it, if it
  // never was.
  virtual int rehearse(int64_t contraction, const void *shape, Stream stream) = 0;
  // The same, and where it can be tuned, first times what the library offers, takes the fastest, and adds it to what is tuned. Waits for
  // the device.
  virtual int tune(int64_t contraction, const void *shape, Stream stream) { return rehearse(contraction, shape, stream); }
  // choices, tuned and unloaded.
  virtual snug_tuning counts() const = 0;
  virtual uint32_t numRefused() const { return 0; } // algorithms of the tuning file that the library does not take
  virtual std::string errorText(int status) const = 0;
};

// Of an address, no more than all tensors have: the choice is the same wherever a caller's lie.
inline uint32_t alignmentOf(int64_t address) {
  int64_t lowest = address & -address;
  return lowest ? uint32_t(std::min<int64_t>(lowest, SNUG_GPU_TENSOR_ALIGNMENT)) : SNUG_GPU_TENSOR_ALIGNMENT;
}

// All that a choice depends on: the contraction, its shape, and how addresses are aligned, and whether c is d. Of both kinds of shapes the last six
// numbers are addresses, the very last one that of the workspace, which is always the same.
template <class Shape> using ShapeKey = std::array<int64_t, 1 + sizeof(Shape) / sizeof(int64_t)>;
template <class Shape> ShapeKey<Shape> keyOf(int64_t contraction, const Shape &shape) {
  static_assert(sizeof(Shape) - offsetof(Shape, a) == 6 * sizeof(int64_t));
  ShapeKey<Shape> key{contraction};
  memcpy(&key[1], &shape, sizeof shape);
  for (size_t i = key.size() - 6; i < key.size(); ++i)
    key[i] = alignmentOf(key[i]);
  if (shape.c == shape.d) // it is added to
    key[1 + offsetof(Shape, c) / sizeof(int64_t)] = 0;
  return key;
}

// How a contraction of a shape is done.
struct LibraryChoice {
  bool isFound = false, isTuned = false, isLoaded = false;
};

// What libraries have in common, of shapes as snug_runtime_table.contract gets them, and choices that are a LibraryChoice.
template <class Shape, class Choice> class ChosenCalls : public LibraryCalls {
public:
  explicit ChosenCalls(const snug_model_header &header) : header(header) {}
  bool has(int64_t contraction, const void *shape, bool isCaptured) override {
    if (!isCaptured)
      return choiceOf(contraction, shapeOf(shape)).isFound;
    Choice &choice = choices[keyOf(contraction, shapeOf(shape))];
    return choice.isFound = choice.isFound && choice.isLoaded;
  }
  int run(int64_t contraction, const void *shape, Stream stream) override {
    Choice &choice = choiceOf(contraction, shapeOf(shape));
    int status = start(choice, header.contractions[contraction], shapeOf(shape), stream);
    choice.isLoaded |= status == 0;
    return status;
  }
  int rehearse(int64_t contraction, const void *shape, Stream stream) override {
    Choice &choice = choiceOf(contraction, shapeOf(shape));
    return choice.isFound && !choice.isLoaded ? run(contraction, shape, stream) : 0;
  }
  snug_tuning counts() const override {
    snug_tuning all{};
    for (const auto &[key, choice] : choices) {
      all.choices += choice.isFound;
      all.tuned += choice.isFound && choice.isTuned;
      all.unloaded += choice.isFound && !choice.isLoaded;
    }
    return all;
  }

protected:
  static const Shape &shapeOf(const void *shape) { return *static_cast<const Shape *>(shape); }
  // Sets isFound where the library does it.
  virtual void choose(Choice &choice, const snug_contraction &contraction, const Shape &shape) = 0;
  virtual int start(Choice &choice, const snug_contraction &contraction, const Shape &shape, Stream stream) = 0;

  const snug_model_header &header;
  std::map<ShapeKey<Shape>, Choice> choices;

private:
  Choice &choiceOf(int64_t contraction, const Shape &shape) {
    auto [entry, isNew] = choices.try_emplace(keyOf(contraction, shape));
    if (isNew)
      choose(entry->second, header.contractions[contraction], shape);
    return entry->second;
  }
};

} // namespace snug::cuda

#endif
