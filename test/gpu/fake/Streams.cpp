// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Streams, events and graphs.

#include "test/gpu/fake/Fake.h"

#include <algorithm>
#include <chrono>

using namespace snug;
using namespace snug::fake;

static FakeStream *special(bool isPerThread) {
  static FakeStream legacy{true, 0}, perThread{true, 0};
  state().streams.insert({&legacy, &perThread});
  return isPerThread ? &perThread : &legacy;
}

FakeStream *fake::streamOf(Stream handle) {
  if (!handle || handle == kLegacyStream)
    return special(false);
  if (handle == kPerThreadStream)
    return special(true);
  auto *stream = static_cast<FakeStream *>(handle);
  return state().streams.count(stream) ? stream : nullptr;
}

Result fake::forbidWhileCapturing() {
  Result result = kSuccess;
  for (FakeStream *stream : state().streams)
    if (stream->isCapturing && (stream->mode == kCaptureGlobal ||
                                (stream->mode == kCaptureThreadLocal && stream->thread == std::this_thread::get_id()))) {
      stream->isInvalid = true;
      result = kCaptureUnsupported;
    }
  return result;
}

// The legacy stream would have to wait for streams that are recorded, which cannot be.
static Result checkLegacy(const FakeStream &stream) {
  Result result = kSuccess;
  if (&stream == special(false))
    for (FakeStream *other : state().streams)
      if (other->isCapturing && other->isBlocking) {
        other->isInvalid = true;
        result = kCaptureImplicit;
      }
  return result;
}

Result fake::drain(FakeStream &stream) {
  while (!stream.queue.empty()) {
    Work next = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (Result result = next.run()) {
      state().sticky = result;
      stream.queue.clear();
      return result;
    }
  }
  return kSuccess;
}

// What a blocking stream and the legacy one wait for before anything is added to them.
static Result drainOthers(FakeStream &stream) {
  for (FakeStream *other : state().streams)
    if (other != &stream && stream.isBlocking && other->isBlocking && (&stream == special(false) || other == special(false)))
      if (Result result = drain(*other))
        return result;
  return kSuccess;
}

Result fake::enqueue(FakeStream &stream, Work work) {
  if (stream.isCapturing) {
    if (stream.isInvalid)
      return kCaptureInvalidated;
    stream.captured.push_back(std::move(work));
    return kSuccess;
  }
  if (Result result = checkLegacy(stream))
    return result;
  if (Result result = drainOthers(stream))
    return result;
  stream.queue.push_back(std::move(work));
  return kSuccess;
}

// The host waits: not for what is recorded only.
static Result waitFor(FakeStream &stream) {
  ++state().stats.waits;
  if (stream.isCapturing) {
    stream.isInvalid = true;
    return kCaptureUnsupported;
  }
  if (Result result = checkLegacy(stream))
    return result;
  if (Result result = drainOthers(stream))
    return result;
  return drain(stream);
}

#define API extern "C" __attribute__((visibility("default"))) Result

// With the stream of that handle; it has to be of the current device.
template <class Body> static Result onStream(const char *function, Stream handle, Body &&body) {
  Call call(function);
  call.at("stream", handle);
  return call.run([&]() -> Result {
    FakeStream *stream = streamOf(handle);
    return stream ? body(call, *stream) : kInvalidHandle;
  });
}

API cuStreamCreate(Stream *made, unsigned flags) {
  Call call("cuStreamCreate");
  call.with("flags", flags);
  return call.run([&] {
    auto *stream = new FakeStream{!(flags & kStreamNonBlocking), currentDevice()};
    state().streams.insert(stream);
    ++state().stats.handles;
    call.at("stream", *made = stream);
    return kSuccess;
  });
}

API cuStreamDestroy_v2(Stream handle) {
  return onStream("cuStreamDestroy_v2", handle, [&](Call &, FakeStream &stream) -> Result {
    if (&stream == special(false) || &stream == special(true))
      return kInvalidHandle;
    drain(stream); // the driver destroys it when its work is done
    state().streams.erase(&stream);
    delete &stream;
    --state().stats.handles;
    return kSuccess;
  });
}

API cuStreamSynchronize(Stream handle) {
  return onStream("cuStreamSynchronize", handle, [](Call &, FakeStream &stream) { return waitFor(stream); });
}

API cuStreamIsCapturing(Stream handle, CaptureStatus *status) {
  return onStream("cuStreamIsCapturing", handle, [&](Call &, FakeStream &stream) {
    if (Result result = checkLegacy(stream))
      return result;
    *status = stream.isInvalid ? CaptureStatus(2) : stream.isCapturing ? kCaptureActive : kCaptureNone;
    return Result(kSuccess);
  });
}

API cuStreamBeginCapture_v2(Stream handle, CaptureMode mode) {
  return onStream("cuStreamBeginCapture_v2", handle, [&](Call &call, FakeStream &stream) -> Result {
    call.with("mode", uint64_t(mode));
    if (&stream == special(false))
      return kCaptureUnsupported;
    if (stream.isCapturing)
      return kIllegalState;
    stream.isCapturing = true;
    stream.isInvalid = false;
    stream.mode = mode;
    stream.thread = std::this_thread::get_id();
    stream.captured.clear();
    return kSuccess;
  });
}

API cuStreamEndCapture(Stream handle, Graph *graph) {
  return onStream("cuStreamEndCapture", handle, [&](Call &call, FakeStream &stream) -> Result {
    *graph = nullptr;
    if (!stream.isCapturing)
      return kIllegalState;
    stream.isCapturing = false;
    if (stream.isInvalid) {
      stream.isInvalid = false;
      return kCaptureInvalidated;
    }
    ++state().stats.handles;
    *graph = new std::vector<Work>(std::move(stream.captured));
    call.at("graph", *graph).with("nodes", static_cast<std::vector<Work> *>(*graph)->size());
    return kSuccess;
  });
}

//===-- Events ----------------------------------------------------------------------------------------------------===//

API cuEventCreate(Event *event, unsigned flags) {
  Call call("cuEventCreate");
  call.with("flags", flags);
  return call.run([&] {
    call.at("event", *event = new FakeEvent);
    ++state().stats.handles;
    return kSuccess;
  });
}

API cuEventDestroy_v2(Event event) {
  Call call("cuEventDestroy_v2");
  call.at("event", event);
  return call.run([&] {
    auto *gone = static_cast<FakeEvent *>(event);
    if (gone->stream && state().streams.count(gone->stream))
      drain(*gone->stream);
    delete gone;
    --state().stats.handles;
    return kSuccess;
  });
}

API cuEventRecord(Event event, Stream handle) {
  return onStream("cuEventRecord", handle, [&](Call &call, FakeStream &stream) {
    call.at("event", event);
    auto *recorded = static_cast<FakeEvent *>(event);
    recorded->stream = &stream;
    recorded->isDone = false;
    recorded->isRecorded = true;
    auto mark = [recorded]() -> Result {
      recorded->isDone = true;
      auto now = std::chrono::steady_clock::now().time_since_epoch();
      recorded->milliseconds = std::chrono::duration<double, std::milli>(now).count();
      return kSuccess;
    };
    return enqueue(stream, {mark, nullptr});
  });
}

API cuEventSynchronize(Event event) {
  Call call("cuEventSynchronize");
  call.at("event", event);
  return call.run([&]() -> Result {
    auto *waited = static_cast<FakeEvent *>(event);
    return waited->isDone ? (++state().stats.waits, Result(kSuccess)) : waitFor(*waited->stream);
  });
}

API cuEventElapsedTime(float *milliseconds, Event start, Event end) {
  Call call("cuEventElapsedTime");
  return call.run([&]() -> Result {
    auto *first = static_cast<FakeEvent *>(start), *second = static_cast<FakeEvent *>(end);
    if (!first->isRecorded || !second->isRecorded)
      return kInvalidHandle;
    if (!first->isDone || !second->isDone)
      return 600; // CUDA_ERROR_NOT_READY
    *milliseconds = float(second->milliseconds - first->milliseconds);
    return kSuccess;
  });
}

//===-- Graphs ----------------------------------------------------------------------------------------------------===//

API cuGraphInstantiateWithFlags(GraphExec *exec, Graph graph, unsigned long long flags) {
  Call call("cuGraphInstantiateWithFlags");
  call.at("graph", graph).with("flags", flags);
  return call.run([&] {
    call.at("exec", *exec = new std::vector<Work>(*static_cast<std::vector<Work> *>(graph)));
    ++state().stats.handles;
    return kSuccess;
  });
}

API cuGraphExecUpdate_v2(GraphExec exec, Graph graph, GraphUpdateInfo *info) {
  Call call("cuGraphExecUpdate_v2");
  call.at("exec", exec).at("graph", graph);
  return call.run([&]() -> Result {
    auto &old = *static_cast<std::vector<Work> *>(exec);
    const auto &now = *static_cast<std::vector<Work> *>(graph);
    auto isAlike = [](const Work &a, const Work &b) { return a.kernel == b.kernel; };
    if (!std::equal(old.begin(), old.end(), now.begin(), now.end(), isAlike)) {
      info->result = 1;
      return kGraphUpdateFailed;
    }
    old = now;
    return kSuccess;
  });
}

API cuGraphLaunch(GraphExec exec, Stream handle) {
  return onStream("cuGraphLaunch", handle, [&](Call &call, FakeStream &stream) -> Result {
    call.at("exec", exec);
    if (stream.isCapturing) {
      stream.isInvalid = true;
      return kCaptureUnsupported;
    }
    for (const Work &work : *static_cast<std::vector<Work> *>(exec)) {
      state().stats.launches += work.kernel != nullptr;
      if (Result result = enqueue(stream, work))
        return result;
    }
    return kSuccess;
  });
}

API cuGraphExecDestroy(GraphExec exec) {
  Call call("cuGraphExecDestroy");
  call.at("exec", exec);
  return call.run([&] {
    delete static_cast<std::vector<Work> *>(exec);
    --state().stats.handles;
    return kSuccess;
  });
}

API cuGraphDestroy(Graph graph) {
  Call call("cuGraphDestroy");
  call.at("graph", graph);
  return call.run([&] {
    delete static_cast<std::vector<Work> *>(graph);
    --state().stats.handles;
    return kSuccess;
  });
}
