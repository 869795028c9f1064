// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/PeerWatch.h"

using namespace snug;
using namespace snug::cuda;

// How often it looks, and how long what a lost rank has sent may take to arrive: one that has done its part may be gone before the
// others are done.
static constexpr auto kPeriod = std::chrono::milliseconds(20), kGrace = std::chrono::milliseconds(1000);

PeerWatch::PeerWatch(PrimaryContext context, snug_comm &comm, std::vector<NcclComm> comms)
    : context(context), comm(comm), comms(std::move(comms)), thread([this] { work(); }) {}

PeerWatch::~PeerWatch() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stops = true;
  }
  changed.notify_all();
  thread.join();
}

void PeerWatch::set(State now) {
  state = now;
  lostRank = -1;
  changed.notify_all();
}

void PeerWatch::begin(uint64_t milliseconds) {
  std::lock_guard<std::mutex> lock(mutex);
  hasLimit = milliseconds != 0;
  limit = Clock::now() + std::chrono::milliseconds(milliseconds);
  set(State::Running);
}

void PeerWatch::end() {
  std::lock_guard<std::mutex> lock(mutex);
  set(State::Idle);
}

void PeerWatch::leave(Event ended) {
  std::lock_guard<std::mutex> lock(mutex);
  event = ended;
  set(State::Left);
}

std::string PeerWatch::why() {
  std::lock_guard<std::mutex> lock(mutex);
  return reason;
}

// What is waited for in vain; empty: nothing that is known.
std::string PeerWatch::look() {
  for (NcclComm one : comms) {
    NcclResult error = kNcclSuccess;
    NcclResult result = nccl().ncclCommGetAsyncError(one, &error);
    if (result == kNcclSuccess)
      result = error;
    if (result != kNcclSuccess && result != kNcclInProgress)
      return "NCCL reports " + ncclErrorText(result);
  }
  auto now = Clock::now();
  if (int64_t rank = comm.lostRank(); rank >= 0 && lostRank < 0) {
    lostRank = rank;
    lostSince = now;
  }
  if (lostRank >= 0 && now - lostSince >= kGrace)
    return "rank " + std::to_string(lostRank) + " was lost, and this GPU waits for it";
  if (hasLimit && now >= limit)
    return "the GPUs of the ranks have not met in time";
  return "";
}

void PeerWatch::work() {
  const Driver &cuda = driver();
  CaptureMode mode = kCaptureRelaxed; // asking for events disturbs no graph that another thread records
  cuda.cuThreadExchangeStreamCaptureMode(&mode);
  Entered entered(context);
  std::unique_lock<std::mutex> lock(mutex);
  while (!stops) {
    if (state == State::Idle) {
      changed.wait(lock);
      continue;
    }
    changed.wait_for(lock, kPeriod);
    if (stops || state == State::Idle)
      continue;
    if (state == State::Left && cuda.cuEventQuery(event) != kNotReady) {
      state = State::Idle;
      continue;
    }
    if (std::string found = look(); !found.empty()) {
      // A call of NCCL's may itself wait for a peer, which only an abort ends.
      std::unique_lock<std::timed_mutex> own(inUse, kGrace);
      reason = found;
      isAborted = true;
      state = State::Idle;
      for (NcclComm one : comms)
        nccl().ncclCommAbort(one);
    }
  }
}
