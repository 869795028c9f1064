// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CUDA_CUDA_DEVICE_H
#define SNUG_RUNTIME_CUDA_CUDA_DEVICE_H

#include "runtime/core/Device.h"
#include "runtime/cuda/Contractions.h"
#include "runtime/cuda/Convolutions.h"
#include "runtime/cuda/GpuMesh.h"
#include "runtime/cuda/Recording.h"
#include "runtime/cuda/Resident.h"

#include <memory>
#include <optional>

namespace snug::cuda {

// A GPU and one stream on it. All that runs need is allocated when it is made.
class CudaDevice : public Device {
public:
  CudaDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes); // throws
  ~CudaDevice() override;

  DLDevice place() const override { return {kDLCUDA, int32_t(resident->primary.ordinal)}; }
  uint32_t numThreads() const override { return 1; } // the one that runs the model
  uint8_t *arena() const override { return reinterpret_cast<uint8_t *>(arenaStart); }
  const uint8_t *weights() const override { return reinterpret_cast<const uint8_t *>(resident->weights.at()); }
  void *fill(snug_runtime_table &table) override;
  void join(comm::Mesh &mesh, snug_runtime_table &table) override;
  uint64_t prepare(const int64_t *dims, const Binding &binding) override;
  void run(const snug_run_args &args, Binding &binding, uint64_t asked) override;
  void *shapePlace(int64_t *, uint64_t index) override { return reinterpret_cast<void *>(shapes.at() + index * sizeof(int64_t)); }
  void readShapes(int64_t *extents, uint64_t count) override;
  void *stream() const override { return runStream; }
  snug_device_memory memory() const override;
  snug_tuning tuningState() const override;

private:
  CudaDevice(snug_model &model, uint32_t ordinal, uint32_t rank); // what throws after it is destroyed
  void openStream(const snug_context_options &options);
  void openArena(const snug_context_options &options, uint64_t bytes);
  void openCopies(const snug_context_options &options);
  // Rehearsal.cpp. The host program is run with launches that are none: libraries choose how they do theirs, and do it once; at the largest
  // dims of the context, and at other ones before they are recorded.
  void openTuning(const snug_model &model, const snug_context_options &options);
  void rehearseLargest(const snug_context_options &options);
  void rehearseBeforeRecording(const snug_run_args &args, const Binding &binding);
  void copyIn(Binding &binding);
  void copyOut(const Binding &binding);
  void runLaunches(const snug_run_args &args, Stream on);
  void record(const snug_run_args &args, const Binding &binding);
  void compute(const snug_run_args &args, Binding &binding, uint64_t asked);
  void computeTogether(const snug_run_args &args, Binding &binding, uint64_t asked);
  void checkLaunches() const;
  void need(Result result, const std::string &what); // throws where the device did not do what it was told
  bool waits(const Binding &binding) const;
  bool isCaptured() const;
  static void launch(void *state, int64_t number, int64_t kernel, int64_t blocks, const int64_t *args) noexcept;
  static void contract(void *state, int64_t number, int64_t contraction, const void *shape, int64_t kernel, int64_t blocks,
                       const int64_t *args) noexcept;
  static void timedContract(void *state, int64_t number, int64_t contraction, const void *shape, int64_t kernel, int64_t blocks,
                            const int64_t *args) noexcept;
  LibraryCalls &libraryOf(int64_t contraction) { return header.contractions[contraction].spatial ? *convolutions : *products; }
  template <class Start> void timed(int64_t number, Start &&start);
  static int64_t read(void *state, const void *address, int64_t bytes) noexcept;
  static void timedLaunch(void *state, int64_t number, int64_t kernel, int64_t blocks, const int64_t *args) noexcept;

  const Driver &cuda;
  const snug_model_header &header;
  std::shared_ptr<Resident> resident;
  Stream runStream = nullptr, launchStream = nullptr; // the second is another one while a graph is recorded
  bool ownsStream = false, launchesAreCaptured = false;
  Memory ownArena, shapes;
  Address arenaStart = 0;
  std::vector<Memory> copies;      // of inputs and outputs; of no bytes where those are on the device
  std::vector<uint8_t> isCopied;   // whether there is such a copy, which may be of no bytes
  std::vector<void *> hostPlaces;  // of the current run's tensors that are copied
  std::vector<void *> parameters;  // of a launch
  std::vector<int64_t> largestDims;
  std::optional<Recording> recording;
  std::optional<TuneFile> tuning;
  bool hasTuneFile = false; // that was read, or is written
  std::unique_ptr<LibraryCalls> products, convolutions; // where the model has some
  std::vector<int64_t> rehearsedDims;                   // the last ones
  std::vector<void *> addresses; // of the run that is prepared: of binding.data, with copies
  std::optional<GpuMesh> gpus;   // of a model that is cut for a mesh
  Event passed = nullptr;          // behind the last run that the host did not wait for
  bool isSick = false;           // it did not do what it was told, so that the other devices of a mesh may wait for it
  uint64_t *launchNs = nullptr;    // NULL without a profile
  Event started = nullptr, ended = nullptr;
  // What went wrong first in a run.
  Result failure = kSuccess;
  int libraryFailure = 0; // a status of failedLibrary's
  const LibraryCalls *failedLibrary = nullptr;
  int64_t failedLaunch = 0, failedKernel = 0, failedBlocks = 0;
};

} // namespace snug::cuda

#endif
