// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TEST_GPU_FAKE_FAKE_H
#define SNUG_TEST_GPU_FAKE_FAKE_H

#include "test/gpu/fake/Api.h"
#include "test/gpu/fake/Control.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define SNUG_FAKE_API __attribute__((visibility("default"))) // for what stands in for libraries beside the driver

namespace snug::fake {
using namespace snug::cuda;

// One call of the driver's API: takes turns with others, is logged, and fails where the test says so.
class SNUG_FAKE_API Call {
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
SNUG_FAKE_API void reportFault(const std::string &text);
SNUG_FAKE_API uint64_t setting(const char *name, uint64_t otherwise);
// A variable of the environment, null where it is empty.
const char *textSetting(const char *name);
// Whether kernels and libraries do what they are for.
inline bool computes() { return setting("SNUG_FAKE_CUDA_COMPUTES", 1) != 0; }

//===-- Memory ----------------------------------------------------------------------------------------------------===//

struct Allocation {
  uint8_t *base, *mapping;
  size_t bytes, mappingBytes;
  int device; // -1: pinned memory of the host
};

class SNUG_FAKE_API MemoryPool {
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
  void *launch, *numParams; // of the simulator, null where nothing is computed; the second also where it has no such function
  int device;
  uint32_t dynamicShared;
};

struct FakeStream;

// The place in a stream that an event was recorded at.
struct Mark {
  FakeStream *stream;
  bool isDone = false;
  FakeStream *capture = nullptr; // of a mark in a graph that is recorded: the stream where that began
  size_t number = 0;             // and how much of `stream` is in the graph before it
  double milliseconds = 0;
};

// What streams of several devices do together, for one of them.
struct Meeting {
  virtual ~Meeting() = default;
  // The stream has come to it. The last one to come does it for all.
  virtual Result arrive() = 0;
  virtual bool isDone() const = 0;
  // A stream that has it in its queue and has not come to it; null where there is none.
  virtual FakeStream *next() const = 0;
};

// What a stream does: in this order what it waits for, the work itself, and what it marks. Of a kernel it can be compared with others, to
// update a graph.
struct Work {
  std::function<Result()> run;
  const Kernel *kernel;
  std::shared_ptr<Mark> wait = nullptr, record = nullptr;
  // Makes the meeting, when the work is put into a queue.
  std::function<std::shared_ptr<Meeting>(FakeStream &)> meet = nullptr;
  std::shared_ptr<Meeting> meeting = nullptr;
};

struct FakeStream {
  bool isBlocking; // waits for the legacy stream, and that for it
  int device;
  std::deque<Work> queue = {};
  // Of a graph that is recorded: `capture` is the stream where that began, which has what is recorded, and those that came to it since.
  FakeStream *capture = nullptr;
  bool isInvalid = false;
  CaptureMode mode = kCaptureGlobal;
  std::thread::id thread = {};
  std::vector<std::pair<FakeStream *, Work>> captured = {};
  std::map<FakeStream *, size_t> joined = {}; // how much of another stream is waited for
};

struct FakeGraph {
  std::vector<std::pair<size_t, Work>> works; // by number of the stream; 0 is the one that it is started on
  size_t numStreams = 1;
};

struct FakeExec : FakeGraph {
  std::vector<FakeStream *> streams; // from number 1 on
};

struct FakeEvent {
  std::shared_ptr<Mark> mark; // of the last record
};

// The one of that handle; null where there is none.
SNUG_FAKE_API FakeStream *streamOf(Stream handle);
// Behind what is there: into the queue, or into the graph that is recorded. What devices do together is done at once where nothing is in
// front of it, and everything else as late as possible: who forgets what waits for what finds wrong data.
SNUG_FAKE_API Result enqueue(FakeStream &stream, Work work);
// Does all that is in the queue, and of others what that waits for. Other threads get their turn while peers have to come.
Result drain(FakeStream &stream);
// All that a stream may not come before, though nobody says so: what is on the legacy stream.
Result drainOthers(FakeStream &stream);
// All streams of the current device, as the driver waits for what may use what is freed.
SNUG_FAKE_API void drainDevice();
// A call that would disturb what is recorded: fails then, and so does the recording.
SNUG_FAKE_API Result forbidWhileCapturing();
// Of a context of the current thread.
SNUG_FAKE_API int currentDevice();

struct State {
  std::recursive_mutex mutex;
  MemoryPool memory;
  std::set<FakeStream *> streams;
  snug_fake_cuda_stats stats{};
  std::map<int, Result> sticky; // by device: an error that ends the context, which all later calls return
  std::condition_variable_any changed; // something was put into a queue, or done
  std::map<int, std::pair<uint64_t, uint64_t>> usage; // by device: live and peak bytes
  std::map<int, uint64_t> libraries;                  // by device: bytes that libraries took for themselves
  std::map<int, uint64_t> retained; // primary contexts
  double spentMs = 0;               // by what takes time on the device only
};
SNUG_FAKE_API State &state();

} // namespace snug::fake

#endif
