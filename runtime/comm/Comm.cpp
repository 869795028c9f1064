// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/Comm.h"
#include "runtime/core/Error.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

using namespace snug;

static constexpr uint32_t kMaxLoopback = 1024;
static constexpr uint64_t kTimeoutMs = 8000, kStartTimeoutMs = 60000;

namespace {
// What a rank tells the others of its error.
struct Report {
  uint32_t code;
  char message[2004];
};
} // namespace

snug_comm::snug_comm(const snug_transport &given, const snug_comm_options &options)
    : transport(given), timeoutMs(options.timeout_ms ? options.timeout_ms : kTimeoutMs), statedTimeoutMs(options.timeout_ms),
      startTimeoutMs(options.start_timeout_ms ? options.start_timeout_ms : kStartTimeoutMs) {
  if (given.abi_version != SNUG_TRANSPORT_ABI_VERSION || given.struct_size < sizeof(snug_transport))
    throw Failure(SNUG_EXIT_USAGE, "the transport is of another version than this runtime " + std::string(snug_version()) +
                                       " takes: build both from one release");
  if (!given.name || !given.split || !given.free_group || !given.collective || !given.is_lost || !given.destroy)
    throw Failure(SNUG_EXIT_USAGE, "the transport lacks a name or a function");
  if (!given.start != !given.wait || !given.start != !given.test)
    throw Failure(SNUG_EXIT_USAGE, "the transport has some of start, test and wait, but not all");
  if (given.rank >= given.size)
    throw Failure(SNUG_EXIT_USAGE, "the transport gives rank " + std::to_string(given.rank) + " of " +
                                       std::to_string(given.size) + "; ranks count from 0");
  reports.resize(sizeof(Report) * (size_t(given.size) + 1));
}

snug_comm::~snug_comm() { transport.destroy(transport.state, !lost.empty()); }

bool snug_comm::note(const char *failure) noexcept {
  if (!failure)
    return true;
  try {
    lost = failure;
  } catch (const std::bad_alloc &) {
    lost = "a rank was lost"; // short enough to be held inside the string
  }
  return false;
}

template <class Call> bool snug_comm::turn(Call &&call) noexcept {
  if (!lost.empty())
    return false;
  std::lock_guard<std::mutex> lock(mutex);
  return note(call());
}

bool snug_comm::split(uint32_t color, void *&group) noexcept {
  return turn([&] { return transport.split(transport.state, color, startTimeoutMs, &group); });
}

bool snug_comm::collective(void *group, const snug_collective_info &info, const void *send, void *recv,
                           int64_t count) noexcept {
  return turn([&] { return transport.collective(transport.state, group, &info, send, recv, count, timeoutMs); });
}

bool snug_comm::start(void *group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                      snug_pending &pending) noexcept {
  if (!transport.start)
    return collective(group, info, send, recv, count);
  return turn([&] { return transport.start(transport.state, group, &info, send, recv, count, timeoutMs, &pending); });
}

bool snug_comm::test(snug_pending &pending) noexcept {
  int done = 1;
  return turn([&] { return transport.test ? transport.test(transport.state, &pending, &done) : nullptr; }) && done;
}

bool snug_comm::wait(snug_pending &pending) noexcept {
  return turn([&] { return transport.wait ? transport.wait(transport.state, &pending, timeoutMs) : nullptr; });
}

bool snug_comm::allGather(const void *send, void *recv, uint64_t bytes) noexcept {
  static const snug_collective_info info = {SNUG_ALL_GATHER, 3, SNUG_REDUCE_SUM, {1, 8, 1}, ""};
  return turn([&] { return transport.collective(transport.state, nullptr, &info, send, recv, int64_t(bytes), startTimeoutMs); });
}

void snug_comm::freeGroup(void *group) noexcept {
  turn([&]() -> const char * { return transport.free_group(transport.state, group), nullptr; });
}

void snug_comm::exchange(const uint8_t *peers, uint64_t bytes, uint32_t milliseconds, uint64_t *messages, double *seconds) {
  if (!transport.exchange)
    throw Failure(SNUG_EXIT_USAGE, std::string("there are no links to measure over ") + transport.name + ": use MPI");
  if (bytes == 0 || bytes > INT32_MAX)
    throw Failure(SNUG_EXIT_USAGE, "messages of " + std::to_string(bytes) + " bytes were asked for; 1 to 2147483647 are possible");
  if (!turn([&] { return transport.exchange(transport.state, peers, bytes, milliseconds, startTimeoutMs, messages, seconds); }))
    fail();
}

int64_t snug_comm::lostRank() noexcept {
  std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
  for (uint32_t r = 0; lock && r < size(); ++r)
    if (r != rank() && transport.is_lost(transport.state, r))
      return r;
  return -1;
}

uint32_t snug_comm::reporter() const {
  for (uint32_t r = 0; r < rank(); ++r)
    if (!transport.is_lost(transport.state, r))
      return r;
  return rank();
}

void snug_comm::fail() const {
  throw Failure(SNUG_EXIT_RUN, std::string("the ranks cannot go on over ") + transport.name + ": " + lost +
                                   "; start all of them again");
}

void snug_comm::agree(snug_error *own) {
  std::unique_ptr<snug_error, void (*)(snug_error *)> owned(own, &snug_error_destroy);
  agree(snug_error_code(own), snug_error_message(own));
}

void snug_comm::agree(snug_exit_code code, const char *message) {
  auto *all = reinterpret_cast<Report *>(reports.data()), *mine = all + size();
  mine->code = uint32_t(code);
  strncpy(mine->message, message, sizeof(mine->message) - 1); // fills up with zeros
  mine->message[sizeof(mine->message) - 1] = 0;
  if (!allGather(mine, all, sizeof(Report))) {
    if (code != SNUG_EXIT_DONE)
      throw Failure(code, message);
    fail();
  }
  auto *end = all + size();
  auto *first = std::find_if(all, end, [](const Report &report) { return report.code != SNUG_EXIT_DONE; });
  if (first == end)
    return;
  bool isCommon = std::all_of(all, end, [&](const Report &report) {
    return report.code == first->code && strcmp(report.message, first->message) == 0;
  });
  throw Failure(snug_exit_code(first->code),
                (isCommon ? "" : "rank " + std::to_string(first - all) + ": ") + std::string(first->message));
}

//===-- C API -----------------------------------------------------------------------------------------------------===//

static snug_comm_options checked(const snug_comm_options *options) {
  snug_comm_options known = SNUG_COMM_OPTIONS_INIT;
  if (options && (options->struct_size < sizeof(size_t) || options->struct_size > sizeof(known)))
    throw Failure(SNUG_EXIT_USAGE, "struct_size of snug_comm_options is not one that this runtime knows; initialize the "
                                   "struct with SNUG_COMM_OPTIONS_INIT");
  if (options)
    memcpy(&known, options, options->struct_size);
  return known;
}

extern "C" {
snug_error *snug_comm_create_loopback(uint32_t size, const snug_comm_options *options, snug_comm **out_comms) {
  return guard([&] {
    snug_comm_options known = checked(options);
    if (size == 0 || size > kMaxLoopback)
      throw Failure(SNUG_EXIT_USAGE, std::to_string(size) + " ranks in one process were asked for; 1 to " +
                                         std::to_string(kMaxLoopback) + " are possible");
    std::fill(out_comms, out_comms + size, nullptr);
    std::vector<snug_transport> transports = comm::openLoopback(size);
    uint32_t made = 0;
    try {
      for (; made < size; ++made)
        out_comms[made] = new snug_comm(transports[made], known);
    } catch (...) {
      for (uint32_t r = 0; r < made; ++r)
        delete std::exchange(out_comms[r], nullptr);
      for (uint32_t r = made; r < size; ++r)
        transports[r].destroy(transports[r].state, 0);
      throw;
    }
  });
}

snug_error *snug_comm_create_mpi(const void *mpi_comm, const snug_comm_options *options, snug_comm **out_comm) {
  *out_comm = nullptr;
  return guard([&] {
    snug_comm_options known = checked(options);
    snug_transport transport = comm::openMpi(mpi_comm);
    try {
      *out_comm = new snug_comm(transport, known);
    } catch (...) {
      transport.destroy(transport.state, 1);
      throw;
    }
  });
}

snug_error *snug_comm_create(const snug_transport *transport, const snug_comm_options *options, snug_comm **out_comm) {
  *out_comm = nullptr;
  return guard([&] {
    if (!transport)
      throw Failure(SNUG_EXIT_USAGE, "the transport is NULL");
    *out_comm = new snug_comm(*transport, checked(options));
  });
}

void snug_comm_destroy(snug_comm *comm) { delete comm; }

uint32_t snug_comm_rank(const snug_comm *comm) { return comm->rank(); }
uint32_t snug_comm_size(const snug_comm *comm) { return comm->size(); }

snug_error *snug_comm_all_gather(snug_comm *comm, const void *send, void *recv, uint64_t bytes) {
  return guard([&] {
    if (!comm->allGather(send, recv, bytes))
      comm->fail();
  });
}

snug_error *snug_comm_exchange(snug_comm *comm, const uint8_t *peers, uint64_t bytes, uint32_t milliseconds,
                               uint64_t *messages, double *seconds) {
  return guard([&] { comm->exchange(peers, bytes, milliseconds, messages, seconds); });
}

snug_error *snug_comm_agree(snug_comm *comm, snug_exit_code code, const char *message) {
  return guard([&] { comm->agree(code, message ? message : ""); });
}

uint32_t snug_comm_reporter(const snug_comm *comm) { return comm->reporter(); }
}
