// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Device memory. An allocation ends at a page that nobody may touch, but for less than 256 bytes in between, whose content is
// checked. All of it is out of reach while no copy and no kernel runs: who takes an address on the device for one of the host's
// ends with a signal.

#include "test/gpu/fake/Fake.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace snug;
using namespace snug::fake;

static constexpr size_t kAlignment = 256;
static constexpr uint8_t kUnwritten = 0xff, kBorder = 0xa5; // of floats, NaN

static size_t roundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
static size_t page() { return size_t(sysconf(_SC_PAGESIZE)); }

Result MemoryPool::allocate(size_t bytes, int device, uint8_t *&base) {
  if (bytes == 0)
    return kInvalidValue;
  if (device >= 0 && (bytes > setting("SNUG_FAKE_CUDA_MEMORY", uint64_t(80) << 30) ||
                      used(device) > setting("SNUG_FAKE_CUDA_MEMORY", uint64_t(80) << 30) - bytes))
    return kOutOfMemory;
  size_t room = roundUp(bytes, kAlignment), inside = roundUp(room, page());
  Allocation made{nullptr, nullptr, bytes, inside + 2 * page(), device};
  void *mapping = mmap(nullptr, made.mappingBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(static_cast<uint8_t *>(mapping) + page(), inside, PROT_READ | PROT_WRITE) != 0)
    return kOutOfMemory;
  made.mapping = static_cast<uint8_t *>(mapping);
  base = made.base = made.mapping + page() + inside - room;
  memset(base, kUnwritten, bytes);
  memset(base + bytes, kBorder, room - bytes);
  if (device >= 0)
    mprotect(made.mapping + page(), inside, PROT_NONE);
  live[reinterpret_cast<uintptr_t>(base) + bytes] = made;
  snug_fake_cuda_stats &stats = state().stats;
  ++stats.allocations;
  uint64_t &current = device < 0 ? stats.pinned_bytes : stats.live_bytes;
  uint64_t &peak = device < 0 ? stats.peak_pinned_bytes : stats.peak_bytes;
  peak = std::max(peak, current += bytes);
  auto &[now, most] = state().usage[device];
  most = std::max(most, now += bytes);
  return kSuccess;
}

const Allocation *MemoryPool::find(const void *start, size_t bytes) const {
  auto from = reinterpret_cast<uintptr_t>(start);
  auto found = live.upper_bound(from); // ends behind it
  bool isInside = found != live.end() && from >= reinterpret_cast<uintptr_t>(found->second.base) && found->first - from >= bytes;
  return isInside ? &found->second : nullptr;
}

Result MemoryPool::release(void *base, bool isPinned) {
  auto found = live.upper_bound(reinterpret_cast<uintptr_t>(base));
  if (found == live.end() || found->second.base != base || (found->second.device < 0) != isPinned)
    return kInvalidValue;
  Allocation gone = found->second;
  live.erase(found);
  munmap(gone.mapping, gone.mappingBytes);
  ++state().stats.frees;
  (isPinned ? state().stats.pinned_bytes : state().stats.live_bytes) -= gone.bytes;
  state().usage[gone.device].first -= gone.bytes;
  return kSuccess;
}

void MemoryPool::open() {
  for (auto &[end, one] : live)
    if (one.device >= 0)
      mprotect(one.mapping + page(), one.mappingBytes - 2 * page(), PROT_READ | PROT_WRITE);
}

bool MemoryPool::close() {
  bool isWhole = true;
  for (auto &[end, one] : live) {
    const uint8_t *border = one.base + one.bytes, *borderEnd = one.base + roundUp(one.bytes, kAlignment);
    if (std::any_of(border, borderEnd, [](uint8_t byte) { return byte != kBorder; })) {
      reportFault("memory was written behind an allocation of " + std::to_string(one.bytes) + " bytes");
      isWhole = false;
    }
    if (one.device >= 0)
      mprotect(one.mapping + page(), one.mappingBytes - 2 * page(), PROT_NONE);
  }
  return isWhole;
}

std::vector<Allocation> MemoryPool::onDevices() const {
  std::vector<Allocation> found;
  for (const auto &[end, one] : live)
    if (one.device >= 0)
      found.push_back(one);
  return found;
}

uint64_t MemoryPool::used(int device) const {
  uint64_t sum = 0;
  for (const auto &[end, one] : live)
    sum += one.device == device ? one.bytes : 0;
  return sum;
}

//===-- The API ---------------------------------------------------------------------------------------------------===//

#define API extern "C" __attribute__((visibility("default"))) Result

API cuMemAlloc_v2(Address *address, size_t bytes) {
  Call call("cuMemAlloc_v2");
  call.with("bytes", bytes);
  return call.run([&] {
    if (Result result = forbidWhileCapturing())
      return result;
    uint8_t *base = nullptr;
    Result result = state().memory.allocate(bytes, currentDevice(), base);
    if (result == kSuccess)
      call.at("address", *address = reinterpret_cast<Address>(base));
    call.with("live", state().stats.live_bytes).with("peak", state().stats.peak_bytes);
    return result;
  });
}

API cuMemFree_v2(Address address) {
  Call call("cuMemFree_v2");
  call.at("address", address);
  return call.run([&] {
    if (Result result = forbidWhileCapturing())
      return result;
    drainDevice();
    return state().memory.release(reinterpret_cast<void *>(address), false);
  });
}

API cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
  Call call("cuMemHostAlloc");
  call.with("bytes", bytes).with("flags", flags);
  return call.run([&] {
    if (Result result = forbidWhileCapturing())
      return result;
    uint8_t *base = nullptr;
    Result result = state().memory.allocate(bytes, -1, base);
    *address = base;
    return result;
  });
}

API cuMemFreeHost(void *address) {
  Call call("cuMemFreeHost");
  call.at("address", address);
  return call.run([&] {
    if (Result result = forbidWhileCapturing())
      return result;
    return state().memory.release(address, true);
  });
}

API cuMemGetInfo_v2(size_t *free, size_t *total) {
  Call call("cuMemGetInfo_v2");
  return call.run([&] {
    *total = setting("SNUG_FAKE_CUDA_MEMORY", uint64_t(80) << 30);
    *free = *total - std::min<uint64_t>(*total, state().memory.used(currentDevice()) + state().libraries[currentDevice()]);
    return kSuccess;
  });
}

API cuPointerGetAttribute(void *value, PointerAttribute attribute, Address address) {
  Call call("cuPointerGetAttribute");
  call.with("attribute", uint64_t(attribute)).at("address", address);
  return call.run([&]() -> Result {
    const Allocation *found = state().memory.find(reinterpret_cast<void *>(address), 1);
    if (!found)
      return kInvalidValue;
    if (attribute == kMemoryType)
      *static_cast<unsigned *>(value) = found->device < 0 ? kMemoryOnHost : kMemoryOnDevice;
    else if (attribute == kDeviceOrdinal)
      *static_cast<int *>(value) = std::max(found->device, 0);
    else
      return kInvalidValue;
    return kSuccess;
  });
}

// Copies `bytes` when the stream comes to it. What the host has in memory that is not pinned is read at once, as the driver does, and
// written before the call returns.
static Result copy(Call &call, void *to, const void *from, size_t bytes, Stream handle, bool toDevice) {
  FakeStream *stream = streamOf(handle);
  const void *onDevice = toDevice ? to : from, *onHost = toDevice ? from : to;
  const Allocation *memory = state().memory.find(onDevice, bytes);
  if (!stream)
    return kInvalidHandle;
  if (!memory || memory->device < 0)
    return kInvalidValue;
  const Allocation *pinned = state().memory.find(onHost, bytes);
  bool isPinned = pinned && pinned->device < 0;
  call.with("pinned", isPinned);
  ++state().stats.copies;
  auto content = std::make_shared<std::vector<uint8_t>>();
  bool isRead = toDevice && !isPinned && !stream->capture;
  if (isRead)
    content->assign(static_cast<const uint8_t *>(from), static_cast<const uint8_t *>(from) + bytes);
  auto move = [=]() -> Result {
    state().memory.open();
    memcpy(to, isRead ? content->data() : from, bytes);
    return state().memory.close() ? kSuccess : kLaunchFailed;
  };
  Result result = enqueue(*stream, {move, nullptr});
  if (result != kSuccess || toDevice || isPinned || stream->capture)
    return result;
  ++state().stats.waits;
  return drain(*stream);
}

API cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Stream stream) {
  Call call("cuMemcpyHtoDAsync_v2");
  call.at("to", to).with("bytes", bytes).at("stream", stream);
  return call.run([&] { return copy(call, reinterpret_cast<void *>(to), from, bytes, stream, true); });
}

API cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Stream stream) {
  Call call("cuMemcpyDtoHAsync_v2");
  call.at("from", from).with("bytes", bytes).at("stream", stream);
  return call.run([&] { return copy(call, to, reinterpret_cast<void *>(from), bytes, stream, false); });
}

API cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream handle) {
  Call call("cuMemcpyDtoDAsync_v2");
  call.at("to", to).at("from", from).with("bytes", bytes).at("stream", handle);
  return call.run([&]() -> Result {
    FakeStream *stream = streamOf(handle);
    void *target = reinterpret_cast<void *>(to), *source = reinterpret_cast<void *>(from);
    const Allocation *written = state().memory.find(target, bytes), *read = state().memory.find(source, bytes);
    if (!stream)
      return kInvalidHandle;
    if (!written || written->device < 0 || !read || read->device < 0)
      return kInvalidValue;
    ++state().stats.copies;
    auto move = [=]() -> Result {
      state().memory.open();
      memmove(target, source, bytes);
      return state().memory.close() ? kSuccess : kLaunchFailed;
    };
    return enqueue(*stream, {move, nullptr});
  });
}
