// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/GpuMesh.h"
#include "runtime/cuda/Rehearsal.h"
#include "runtime/comm/Combine.h"

#include <algorithm>
#include <cstring>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace snug;
using namespace snug::cuda;

static constexpr uint32_t kAxes[] = {1, 2, 3}; // that groups go along, as snug_collective_info has them

namespace {
// What a rank tells the others before they connect.
struct Hello {
  int32_t version;  // of NCCL
  uint32_t ordinal; // of the device
  DeviceUuid uuid;
  uint64_t dims; // a hash
  NcclId ids[3]; // of the groups that it is the first of, by kAxes
};

// What a thread makes that may be left alone with it.
struct Making {
  std::mutex mutex; // of all
  std::condition_variable changed;
  bool isDone = false, isLeft = false;
  std::string failure;
  NcclComm comms[4] = {};
};
} // namespace

static void checkNccl(NcclResult result, const char *what) {
  if (result != kNcclSuccess)
    throw Failure(SNUG_EXIT_MACHINE, std::string("NCCL could not ") + what + ": " + ncclErrorText(result));
}

GpuMesh::GpuMesh(comm::Mesh &mesh, const snug_model_header &header, const Primary &primary)
    : ranks(mesh), header(header), primary(primary), cuda(driver()), done(header.num_collectives), isInFlight(header.num_collectives),
      isRehearsed(header.num_collectives) {}

GpuMesh::GpuMesh(comm::Mesh &mesh, const snug_model_header &header, const Primary &primary, const std::vector<int64_t> &dims)
    : GpuMesh(mesh, header, primary) {
  uint64_t before = 0;
  ranks.comm.agree(guard([&] {
    open();
    before = freeBytes();
  }));
  if (!library)
    return;
  std::vector<NcclId> ids = meet(dims);
  ranks.comm.agree(guard([&] {
    connect(ids);
    bytesTaken = before - std::min(before, freeBytes());
    std::vector<NcclComm> made;
    std::copy_if(std::begin(comms), std::end(comms), std::back_inserter(made), [](NcclComm one) { return one != nullptr; });
    peers.emplace(primary.context, ranks.comm, made);
  }));
}

GpuMesh::~GpuMesh() {
  bool hasAborted = peers && peers->hasAborted();
  peers.reset();
  for (NcclComm one : comms)
    if (one && !hasAborted) // nobody may be waited for once a rank is lost
      ranks.comm.lost.empty() ? library->ncclCommDestroy(one) : library->ncclCommAbort(one);
  for (Event event : done)
    if (event)
      cuda.cuEventDestroy(event);
  if (fork)
    cuda.cuEventDestroy(fork);
  if (side)
    cuda.cuStreamDestroy(side);
}

//===-- Making it -------------------------------------------------------------------------------------------------===//

uint64_t GpuMesh::freeBytes() const {
  size_t free = 0, total = 0;
  cuda::check(cuda.cuMemGetInfo(&free, &total), "ask for the memory of " + primary.name);
  return free;
}

// All that a rank needs for itself.
void GpuMesh::open() {
  if (std::any_of(std::begin(kAxes), std::end(kAxes), [&](uint32_t axes) { return ranks.uses(axes); }))
    library = &nccl();
  cuda::check(cuda.cuStreamCreate(&side, kStreamNonBlocking), "make a stream");
  cuda::check(cuda.cuEventCreate(&fork, kEventDisableTiming), "make an event");
  for (Event &event : done)
    cuda::check(cuda.cuEventCreate(&event, kEventDisableTiming), "make an event");
}

// Returns the ids of this rank's groups, by kAxes.
std::vector<NcclId> GpuMesh::meet(const std::vector<int64_t> &dims) {
  snug_comm &comm = ranks.comm;
  Hello mine{};
  comm.agree(guard([&] {
    mine.version = library->version;
    mine.ordinal = primary.ordinal;
    mine.uuid = primary.uuid;
    mine.dims = XXH3_64bits(dims.data(), dims.size() * sizeof(int64_t));
    for (size_t i = 0; i < std::size(kAxes); ++i)
      if (ranks.uses(kAxes[i]) && ranks.leader(kAxes[i]) == comm.rank())
        checkNccl(library->ncclGetUniqueId(&mine.ids[i]), "make an id for a group of GPUs");
  }));
  std::vector<Hello> all(comm.size());
  if (!comm.allGather(&mine, all.data(), sizeof(mine)))
    comm.fail();
  for (uint32_t b = 1; b < comm.size(); ++b) {
    auto both = [&](uint32_t a) { return "ranks " + std::to_string(a) + " and " + std::to_string(b); };
    if (all[b].version != all[0].version)
      throw Failure(SNUG_EXIT_MACHINE, both(0) + " have different versions of NCCL (" + ncclVersionText(all[0].version) + " and " +
                                           ncclVersionText(all[b].version) + "): install the same one for all");
    if (all[b].dims != all[0].dims)
      throw Failure(SNUG_EXIT_RUN, both(0) + " make contexts for different dims (max_dims): give all of them the same");
    for (uint32_t a = 0; a < b; ++a)
      if (memcmp(&all[a].uuid, &all[b].uuid, sizeof(DeviceUuid)) == 0)
        throw Failure(SNUG_EXIT_USAGE, both(a) + " use the same GPU (CUDA device " + std::to_string(all[a].ordinal) + "), and each needs its "
                                           "own: start no more ranks than there are GPUs, and give each another device");
  }
  std::vector<NcclId> ids;
  for (size_t i = 0; i < std::size(kAxes); ++i)
    ids.push_back(all[size_t(ranks.leader(kAxes[i]))].ids[i]);
  return ids;
}

// Waits for no longer than half as long as ranks wait for each other, so that one that has failed still finds the others. As NCCL cannot
// be told so, another thread waits for it, which is left alone with that when it takes too long.
void GpuMesh::connect(const std::vector<NcclId> &ids) {
  auto making = std::make_shared<Making>();
  struct Group {
    uint32_t axes;
    int size, place;
    NcclId id;
  };
  std::vector<Group> groups;
  for (size_t i = 0; i < std::size(kAxes); ++i)
    if (ranks.uses(kAxes[i]))
      groups.push_back({kAxes[i], int(ranks.size(kAxes[i])), int(ranks.placeIn(kAxes[i])), ids[i]});
  std::thread([making, groups, context = primary.context] {
    std::string failure;
    NcclComm made[4] = {};
    try {
      Entered entered(context);
      for (const Group &group : groups)
        checkNccl(nccl().ncclCommInitRank(&made[group.axes], group.size, group.id, group.place), "join the GPUs of the ranks");
    } catch (const Failure &error) {
      failure = error.what();
    } catch (const std::bad_alloc &) {
      failure = "out of memory";
    }
    std::lock_guard<std::mutex> lock(making->mutex);
    making->failure = failure;
    std::copy(std::begin(made), std::end(made), making->comms);
    for (NcclComm one : made)
      if (one && making->isLeft)
        nccl().ncclCommAbort(one);
    making->isDone = true;
    making->changed.notify_all();
  }).detach();
  std::unique_lock<std::mutex> lock(making->mutex);
  uint64_t milliseconds = ranks.comm.startTimeout() / 2;
  if (!making->changed.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return making->isDone; })) {
    making->isLeft = true;
    throw Failure(SNUG_EXIT_RUN, "the GPUs of the ranks have not found each other by NCCL within " + std::to_string(milliseconds) +
                                     " ms: NCCL_DEBUG=INFO in the environment says what it does (start_timeout_ms of snug_comm_options)");
  }
  std::copy(std::begin(making->comms), std::end(making->comms), comms);
  if (!making->failure.empty())
    throw Failure(SNUG_EXIT_MACHINE, making->failure);
}

void GpuMesh::rehearseOne(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept {
  auto &self = *static_cast<GpuMesh *>(state);
  const snug_collective_info &info = self.header.collectives[number];
  if (count <= 0 || self.isRehearsed[size_t(number)])
    return;
  self.isRehearsed[size_t(number)] = true;
  uint64_t part = uint64_t(count) * comm::elementBytes(info.dtype), group = uint64_t(self.ranks.size(info.axes));
  uint64_t sent = info.kind == SNUG_REDUCE_SCATTER || info.kind == SNUG_ALL_TO_ALL ? group * part : part;
  uint64_t received = info.kind == SNUG_ALL_GATHER || info.kind == SNUG_ALL_TO_ALL ? group * part : part;
  uint64_t shift = send == recv && info.kind == SNUG_ALL_REDUCE ? 0 : (sent + 15) / 16 * 16; // inputs and outputs have no addresses yet
  if (shift + received <= self.roomBytes)
    self.put(number, reinterpret_cast<const void *>(self.room), reinterpret_cast<void *>(self.room + shift), count, self.runStream);
}

void GpuMesh::rehearse(const snug_run_args &args, Stream stream, Address memory, uint64_t bytes) {
  if (!library)
    return;
  ranks.comm.agree(guard([&] {
    uint64_t before = freeBytes();
    room = memory;
    roomBytes = bytes;
    snug_runtime_table silent = silentTable();
    silent.collective = silent.start = &rehearseOne;
    silent.comm_state = this;
    snug_run_args quiet = args;
    quiet.runtime = &silent;
    begin(stream);
    peers->begin(ranks.comm.startTimeout() / 2);
    header.run(&quiet);
    Result result = cuda.cuStreamSynchronize(stream);
    peers->end();
    if (peers->hasAborted())
      throw Failure(SNUG_EXIT_RUN, "the GPUs of the ranks could not connect: " + peers->why());
    check();
    cuda::check(result, "connect the GPUs of the ranks");
    bytesTaken += before - std::min(before, freeBytes());
  }));
}

//===-- Runs ------------------------------------------------------------------------------------------------------===//

void GpuMesh::begin(Stream stream) {
  runStream = stream;
  failedNumber = lastStarted = -1;
  std::fill(isInFlight.begin(), isInFlight.end(), 0);
}

void GpuMesh::check() const {
  if (failedNumber >= 0)
    throw Failure(SNUG_EXIT_RUN, "what devices do together (collective " + std::to_string(failedNumber) + ", for ONNX node(s) " +
                                     header.collectives[failedNumber].nodes + ") could not be started on " + primary.name + ": " + failure);
}

void GpuMesh::note(int64_t number, const std::string &why) noexcept {
  failedNumber = number;
  try {
    failure = why;
  } catch (const std::bad_alloc &) {
    failure = "out of memory";
  }
}

void GpuMesh::noteCuda(int64_t number, Result result) noexcept {
  if (result != kSuccess && failedNumber < 0)
    note(number, errorText(result));
}

NcclResult GpuMesh::exchange(const snug_collective_info &info, const char *send, char *recv, size_t bytes, NcclComm comm,
                             Stream stream) noexcept {
  int64_t group = ranks.size(info.axes), place = ranks.placeIn(info.axes);
  NcclResult result = library->ncclGroupStart(), ended;
  auto next = [&](auto &&call) {
    if (result == kNcclSuccess)
      result = call();
  };
  if (info.kind == SNUG_SHIFT) {
    next([&] { return library->ncclSend(send, bytes, kNcclInt8, int((place + 1) % group), comm, stream); });
    next([&] { return library->ncclRecv(recv, bytes, kNcclInt8, int((place + group - 1) % group), comm, stream); });
  } else {
    for (int64_t other = 0; other < group; ++other) {
      next([&] { return library->ncclSend(send + size_t(other) * bytes, bytes, kNcclInt8, int(other), comm, stream); });
      next([&] { return library->ncclRecv(recv + size_t(other) * bytes, bytes, kNcclInt8, int(other), comm, stream); });
    }
  }
  ended = library->ncclGroupEnd(); // also of a group that failed
  return result == kNcclSuccess ? ended : result;
}

void GpuMesh::put(int64_t number, const void *send, void *recv, int64_t count, Stream stream) noexcept {
  std::unique_lock<std::timed_mutex> use = peers ? peers->use() : std::unique_lock<std::timed_mutex>();
  if (isBroken())
    return;
  const snug_collective_info &info = header.collectives[number];
  size_t bytes = size_t(count) * comm::elementBytes(info.dtype);
  NcclComm comm = comms[info.axes];
  if (!comm) { // of one device
    if (send != recv)
      noteCuda(number, cuda.cuMemcpyDtoDAsync(reinterpret_cast<Address>(recv), reinterpret_cast<Address>(send), bytes, stream));
    return;
  }
  NcclType type{};
  NcclReduction reduction{};
  NcclResult result = kNcclSuccess;
  switch (info.kind) {
  case SNUG_ALL_REDUCE:
    ncclCombination(info, type, reduction); // which was asked when the model was loaded
    result = library->ncclAllReduce(send, recv, size_t(count), type, reduction, comm, stream);
    break;
  case SNUG_REDUCE_SCATTER:
    ncclCombination(info, type, reduction);
    result = library->ncclReduceScatter(send, recv, size_t(count), type, reduction, comm, stream);
    break;
  case SNUG_ALL_GATHER:
    result = library->ncclAllGather(send, recv, bytes, kNcclInt8, comm, stream);
    break;
  default:
    result = exchange(info, static_cast<const char *>(send), static_cast<char *>(recv), bytes, comm, stream);
  }
  if (result != kNcclSuccess)
    note(number, ncclErrorText(result));
}

void GpuMesh::collective(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept {
  auto &self = *static_cast<GpuMesh *>(state);
  if (count <= 0)
    return;
  // Behind those that are on the other stream.
  if (self.lastStarted >= 0)
    self.noteCuda(number, self.cuda.cuStreamWaitEvent(self.runStream, self.done[size_t(self.lastStarted)], 0));
  self.lastStarted = -1;
  self.put(number, send, recv, count, self.runStream);
}

void GpuMesh::start(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept {
  auto &self = *static_cast<GpuMesh *>(state);
  if (count <= 0) // nothing is sent, and nobody waits for it
    return;
  self.noteCuda(number, self.cuda.cuEventRecord(self.fork, self.runStream));
  self.noteCuda(number, self.cuda.cuStreamWaitEvent(self.side, self.fork, 0));
  self.put(number, send, recv, count, self.side);
  self.noteCuda(number, self.cuda.cuEventRecord(self.done[size_t(number)], self.side));
  self.isInFlight[size_t(number)] = true;
  self.lastStarted = number;
}

void GpuMesh::wait(void *state, int64_t number) noexcept {
  auto &self = *static_cast<GpuMesh *>(state);
  if (!self.isInFlight[size_t(number)])
    return;
  self.isInFlight[size_t(number)] = false;
  self.noteCuda(number, self.cuda.cuStreamWaitEvent(self.runStream, self.done[size_t(number)], 0));
  if (self.lastStarted == number)
    self.lastStarted = -1;
}
