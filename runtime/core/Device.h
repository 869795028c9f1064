// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where a context computes. A context checks what a run is given, its device has the memory and runs the model.
#ifndef SNUG_RUNTIME_CORE_DEVICE_H
#define SNUG_RUNTIME_CORE_DEVICE_H

#include "snug/Runtime.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace snug {
namespace comm {
class Mesh;
}

// What a run is given. All of a context's size, so that a run allocates nothing.
struct Binding {
  std::vector<void *> data;      // inputs, outputs, and where the extents go that are computed from data
  std::vector<uint64_t> bytes;   // of each input and output
  std::vector<uint8_t> isOnHost; // of each input and output; of a model for the CPU none is elsewhere
};

class Device {
public:
  Device() = default;
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  virtual ~Device() = default;

  // Where tensors may be, beside in host memory.
  virtual DLDevice place() const = 0;
  virtual uint32_t numThreads() const = 0;
  // The arena and the weights, as the model's code sees them.
  virtual uint8_t *arena() const = 0;
  virtual const uint8_t *weights() const = 0;
  // What it offers to the model; returns runtime_state.
  virtual void *fill(snug_runtime_table &table) = 0;
  // All ranks of a mesh: what devices do together is done by it from now on, and is in `table`; throws.
  virtual void join(comm::Mesh &mesh, snug_runtime_table &table) = 0;
  // Before a run with these dims: throws what is refused of `binding`. Returns bits that are the device's own, of what has to be
  // done in the run: by all ranks of a mesh where one of them asks for it.
  virtual uint64_t prepare(const int64_t *, const Binding &) { return 0; }
  // Runs the model on `binding`, whose data `args` points to; throws when that fails. `asked`: as this device and all others of the
  // mesh have asked.
  virtual void run(const snug_run_args &args, Binding &binding, uint64_t asked) = 0;
  // Where extent `index` goes, of those that are computed from data, which the host has at `extents`.
  virtual void *shapePlace(int64_t *extents, uint64_t index) = 0;
  // After a run: makes all `count` of them visible at `extents`.
  virtual void readShapes(int64_t *extents, uint64_t count) = 0;
  // As snug_context_stream, snug_context_device_memory and snug_context_tuning.
  virtual void *stream() const { return nullptr; }
  virtual snug_device_memory memory() const { return {}; }
  virtual snug_tuning tuningState() const { return {0, 0, 0, 0, "", ""}; }
};

// The device that `model` is compiled for, with all that runs need: weights, and an arena of `arenaBytes` unless the caller gave
// one. Throws.
std::unique_ptr<Device> openDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes);

} // namespace snug

#endif
