// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ends what a GPU waits for in vain. A collective whose peer is lost never ends by itself, and neither does who waits for its stream,
// or fills it up. So a thread looks, while a run is on its way, whether NCCL has met an error or the transport knows a rank to be
// lost, and aborts the communicators then: collectives end at once, with whatever is in their buffers.
#ifndef SNUG_RUNTIME_CUDA_PEERWATCH_H
#define SNUG_RUNTIME_CUDA_PEERWATCH_H

#include "runtime/comm/Comm.h"
#include "runtime/cuda/Nccl.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace snug::cuda {

class PeerWatch {
public:
  // Over these communicators, which it aborts, but does not destroy.
  PeerWatch(PrimaryContext context, snug_comm &comm, std::vector<NcclComm> comms);
  PeerWatch(const PeerWatch &) = delete;
  PeerWatch &operator=(const PeerWatch &) = delete;
  ~PeerWatch();

  // A run begins; it may take `milliseconds`, 0: as long as it likes.
  void begin(uint64_t milliseconds = 0);
  // It is done, or nobody knows when it will be: nothing is aborted any more.
  void end();
  // The host goes on; it is done when `event` is.
  void leave(Event event);

  // Who uses a communicator holds this, so that it is not aborted at the same time; but what does not come back is.
  std::unique_lock<std::timed_mutex> use() { return std::unique_lock<std::timed_mutex>(inUse); }

  // Whether the communicators were aborted, and what they waited for. No function of theirs may be called any more.
  bool hasAborted() const { return isAborted; }
  std::string why();

private:
  using Clock = std::chrono::steady_clock;
  enum class State { Idle, Running, Left };
  void work();
  std::string look();
  void set(State now);

  const PrimaryContext context;
  snug_comm &comm;
  const std::vector<NcclComm> comms;
  std::timed_mutex inUse;
  std::atomic<bool> isAborted{false};
  std::mutex mutex; // of what follows
  std::condition_variable changed;
  State state = State::Idle;
  bool stops = false, hasLimit = false;
  Clock::time_point limit, lostSince;
  int64_t lostRank = -1;
  Event event = nullptr;
  std::string reason;
  std::thread thread;
};

} // namespace snug::cuda

#endif
