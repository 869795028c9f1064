// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the GPUs of a mesh do together: NCCL's communicators, one for each group of axes that the model uses, and the order of what
// goes over them.
//
// All collectives of a device are done one behind the other, in the program's order, though on two streams: those that are started go
// to a stream of their own, beside the kernels, and events say what waits for what. So no two of them can wait for each other on two
// devices, which NCCL does not exclude for communicators that are used at the same time. The host waits for none of it, and all of it
// can be a part of a CUDA graph.
#ifndef SNUG_RUNTIME_CUDA_GPUMESH_H
#define SNUG_RUNTIME_CUDA_GPUMESH_H

#include "runtime/comm/Mesh.h"
#include "runtime/cuda/PeerWatch.h"
#include "runtime/cuda/Resident.h"

#include <memory>
#include <optional>

namespace snug::cuda {

class GpuMesh {
public:
  // All ranks, with the device's context current: makes the communicators. `dims`: the largest of the context's runs. Throws on all
  // when it cannot be had on one.
  GpuMesh(comm::Mesh &mesh, const snug_model_header &header, const Primary &primary, const std::vector<int64_t> &dims);
  GpuMesh(const GpuMesh &) = delete;
  GpuMesh &operator=(const GpuMesh &) = delete;
  ~GpuMesh(); // nothing is on its streams

  // All ranks: does each collective of the program once, in memory that nobody uses yet, and waits. NCCL connects devices, and takes
  // memory for it, when they first meet; that is not to be in a run. `args` are those of a run, without kernels.
  void rehearse(const snug_run_args &args, Stream stream, Address memory, uint64_t bytes);

  // What follows is in order with what is on this stream.
  void begin(Stream stream);
  // Whether something went wrong since then, so that collectives are not done any more; throws what it was.
  bool isBroken() const { return failedNumber >= 0 || (peers && peers->hasAborted()); }
  void check() const;

  // As snug_runtime_table has them; `state` is a GpuMesh. Buffers are on the device.
  static void collective(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept;
  static void start(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept;
  static void wait(void *state, int64_t number) noexcept;

  comm::Mesh &mesh() const { return ranks; }
  PeerWatch *watch() { return peers ? &*peers : nullptr; } // null where no two devices do anything together
  // Bytes that the device has less since the communicators were made; others may have taken some of it meanwhile.
  uint64_t memoryBytes() const { return bytesTaken; }

private:
  GpuMesh(comm::Mesh &mesh, const snug_model_header &header, const Primary &primary); // what throws after it is destroyed
  void open();
  std::vector<NcclId> meet(const std::vector<int64_t> &dims);
  void connect(const std::vector<NcclId> &ids);
  uint64_t freeBytes() const;
  void note(int64_t number, const std::string &why) noexcept;
  void noteCuda(int64_t number, Result result) noexcept;
  void put(int64_t number, const void *send, void *recv, int64_t count, Stream stream) noexcept;
  NcclResult exchange(const snug_collective_info &info, const char *send, char *recv, size_t bytes, NcclComm comm, Stream stream) noexcept;
  static void rehearseOne(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept;

  comm::Mesh &ranks;
  const snug_model_header &header;
  const Primary &primary;
  const Driver &cuda;
  const Nccl *library = nullptr;    // null where no two devices do anything together
  NcclComm comms[4] = {};           // by snug_collective_info.axes
  Stream side = nullptr, runStream = nullptr;
  Event fork = nullptr;             // on the stream of the run, that what is started follows
  std::vector<Event> done;          // by number of the collective; of those that are started, once they were
  std::vector<uint8_t> isInFlight;  // by number
  int64_t lastStarted = -1;         // of those in flight
  std::optional<PeerWatch> peers;
  uint64_t bytesTaken = 0;
  int64_t failedNumber = -1;
  std::string failure;
  // Of a rehearsal.
  Address room = 0;
  uint64_t roomBytes = 0;
  std::vector<uint8_t> isRehearsed;
};

} // namespace snug::cuda

#endif
