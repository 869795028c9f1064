// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TEST_GPU_FAKE_FAKE_H
#define SNUG_TEST_GPU_FAKE_FAKE_H

#include "test/gpu/fake/Api.h"
#include "test/gpu/fake/Control.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace snug::fake {
using namespace snug::cuda;

// One call of the driver's API: takes turns with others, is logged, and fails where the test says so.
class Call {
public:
  explicit Call(const char *function);
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  Call &with(const char *name, uint64_t value);
  Call &with(const char *name, const std::string &text);
  Call &at(const char *name, const void *address);
  Call &at(const char *name, Address address) { return at(name, reinterpret_cast<const void *>(address)); }

  // What this call has to fail with: as the test says, because of an error before, or for want of a current context.
  Result refused(bool needsContext = true);
  // Logs the call, with more `fields` as JSON.
  Result done(Result result, const std::string &fields = "");
  // Logs it with the result of `body`, unless it is refused.
  template <class Body> Result run(Body &&body, bool needsContext = true) {
    Result result = refused(needsContext);
    return done(result == kSuccess ? body() : result);
  }

private:
  std::unique_lock<std::recursive_mutex> lock;
  const char *function;
  std::string fields;
};

// What went wrong on the device, for the log and for people.
void reportFault(const std::string &text);
uint64_t setting(const char *name, uint64_t otherwise);
// A variable of the environment, null where it is empty.
const char *textSetting(const char *name);

//===-- Memory ----------------------------------------------------------------------------------------------------===//

struct Allocation {
  uint8_t *base, *mapping;
  size_t bytes, mappingBytes;
  int device; // -1: pinned memory of the host
};

class MemoryPool {
public:
  Result allocate(size_t bytes, int device, uint8_t *&base);
  Result release(void *base, bool isPinned);
  // The one that has all these bytes, or null.
  const Allocation *find(const void *start, size_t bytes) const;
  // Lets device memory be touched, and takes that back. Whether all bounds are whole.
  void open();
  bool close();
  std::vector<Allocation> onDevices() const;
  uint64_t used(int device) const;

private:
  std::map<uintptr_t, Allocation> live; // by its end
};

//===-- Streams ---------------------------------------------------------------------------------------------------===//

struct Kernel {
  std::string name;
  void *entry;
  void *launch, *numParams; // of the simulator; the second is null where it has no such function
  int device;
  uint32_t dynamicShared;
};

// What a stream does. Of a kernel it can be compared with others, to update a graph.
struct Work {
  std::function<Result()> run;
  const Kernel *kernel;
};

struct FakeStream {
  bool isBlocking; // waits for the legacy stream, and that for it
  int device;
  std::deque<Work> queue = {};
  bool isCapturing = false, isInvalid = false;
  CaptureMode mode = kCaptureGlobal;
  std::thread::id thread = {};
  std::vector<Work> captured = {};
};

struct FakeEvent {
  FakeStream *stream = nullptr; // of the last record
  bool isDone = true, isRecorded = false;
  double milliseconds = 0;
};

// The one of that handle; null where there is none.
FakeStream *streamOf(Stream handle);
// Behind what is there: into the queue, or into the graph that is recorded. Kernels and copies.
Result enqueue(FakeStream &stream, Work work);
// Does all that is in the queue.
Result drain(FakeStream &stream);
// A call that would disturb what is recorded: fails then, and so does the recording.
Result forbidWhileCapturing();
// Of a context of the current thread.
int currentDevice();

struct State {
  std::recursive_mutex mutex;
  MemoryPool memory;
  std::set<FakeStream *> streams;
  snug_fake_cuda_stats stats{};
  Result sticky = kSuccess; // an error that ends the context: all later calls return it
  std::map<int, uint64_t> retained; // primary contexts
};
State &state();

} // namespace snug::fake

#endif
