// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A communicator: a transport, how long it waits, and whether it still works.
#ifndef SNUG_RUNTIME_COMM_COMM_H
#define SNUG_RUNTIME_COMM_COMM_H

#include "snug/Runtime.h"
#include "snug/Transport.h"

#include <mutex>
#include <string>
#include <vector>

struct snug_comm {
  snug_comm(const snug_transport &transport, const snug_comm_options &options); // throws, and does not own it then
  snug_comm(const snug_comm &) = delete;
  snug_comm &operator=(const snug_comm &) = delete;
  ~snug_comm();

  uint32_t rank() const { return transport.rank; }
  uint32_t size() const { return transport.size; }

  // Each is false, and `lost` says why, once one has failed. Allocates nothing unless it fails.
  bool split(uint32_t color, void *&group) noexcept;
  bool collective(void *group, const snug_collective_info &info, const void *send, void *recv, int64_t count) noexcept;
  // The same in two steps, with what is between them kept in `pending`.
  bool start(void *group, const snug_collective_info &info, const void *send, void *recv, int64_t count, snug_pending &pending) noexcept;
  bool wait(snug_pending &pending) noexcept;
  // Moves it on; whether it is done. False as well once something has failed.
  bool test(snug_pending &pending) noexcept;
  // Of all ranks, who come from work of their own.
  bool allGather(const void *send, void *recv, uint64_t bytes) noexcept;
  void freeGroup(void *group) noexcept;

  // As snug_comm_exchange; throws.
  void exchange(const uint8_t *peers, uint64_t bytes, uint32_t milliseconds, uint64_t *messages, double *seconds);
  // As snug_comm_reporter.
  uint32_t reporter() const;
  // Throws what was lost.
  [[noreturn]] void fail() const;
  // As snug_comm_agree; throws what all agree on.
  void agree(snug_exit_code code, const char *message);
  // With an error that is taken over, or NULL.
  void agree(snug_error *own);

  // The least rank that the transport knows to be lost, or -1; -1 as well while another thread is in one of its functions, who
  // finds that out by itself. Any thread.
  int64_t lostRank() noexcept;
  // What else found out that the ranks cannot go on says why; the transport is not used any more.
  void lose(const std::string &why) noexcept { note(why.c_str()); }
  // Milliseconds for which ranks that come from work of their own are waited for; and what the caller said of runs, 0: nothing.
  uint64_t startTimeout() const { return startTimeoutMs; }
  uint64_t statedTimeout() const { return statedTimeoutMs; }

  std::string lost; // empty as long as all are there

private:
  bool note(const char *failure) noexcept;
  template <class Call> bool turn(Call &&call) noexcept; // with the transport, unless something is lost

  snug_transport transport;
  std::mutex mutex; // of the transport's functions
  uint64_t timeoutMs, statedTimeoutMs, startTimeoutMs;
  std::vector<char> reports; // of snug_comm_agree: one for each rank, and this one's
};

namespace snug::comm {

// The transport of rank `rank` in each place; owned by the caller.
std::vector<snug_transport> openLoopback(uint32_t size);

// Opens libsnug_comm_mpi.so; throws.
snug_transport openMpi(const void *communicator);

} // namespace snug::comm

#endif
