// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Streams, events and graphs.

#include "test/gpu/fake/Fake.h"

#include <algorithm>
#include <chrono>

using namespace snug;
using namespace snug::fake;

#define API extern "C" __attribute__((visibility("default"))) Result

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

static thread_local CaptureMode threadMode = kCaptureGlobal;

API cuThreadExchangeStreamCaptureMode(CaptureMode *mode) {
  Call call("cuThreadExchangeStreamCaptureMode");
  return call.run([&] { return std::swap(threadMode, *mode), kSuccess; }, false);
}

Result fake::forbidWhileCapturing() {
  Result result = kSuccess;
  if (threadMode == kCaptureRelaxed)
    return result;
  for (FakeStream *stream : state().streams) {
    bool isOwn = stream->thread == std::this_thread::get_id();
    if (stream->capture == stream && ((isOwn && stream->mode != kCaptureRelaxed) ||
                                      (!isOwn && stream->mode == kCaptureGlobal && threadMode == kCaptureGlobal))) {
      stream->isInvalid = true;
      result = kCaptureUnsupported;
    }
  }
  return result;
}

// The host waits: not for what is recorded only.
static Result waitFor(FakeStream &stream) {
  ++state().stats.waits;
  if (stream.capture) {
    stream.capture->isInvalid = true;
    return kCaptureUnsupported;
  }
  if (Result result = drainOthers(stream))
    return result;
  return drain(stream);
}

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

API cuStreamWaitEvent(Stream handle, Event event, unsigned flags) {
  return onStream("cuStreamWaitEvent", handle, [&](Call &call, FakeStream &stream) -> Result {
    call.at("event", event).with("flags", flags);
    std::shared_ptr<Mark> mark = static_cast<FakeEvent *>(event)->mark;
    if (!mark) // never recorded: nothing to wait for
      return kSuccess;
    if (FakeStream *capture = mark->capture) {
      if (capture->capture != capture || (stream.capture && stream.capture != capture)) {
        (stream.capture ? stream.capture : capture)->isInvalid = true;
        return kCaptureIsolation;
      }
      stream.capture = capture; // what waits for it is a part of the graph from now on
      size_t &joined = capture->joined[mark->stream];
      if (&stream == capture)
        joined = std::max(joined, mark->number);
    } else if (stream.capture) {
      stream.capture->isInvalid = true;
      return kCaptureIsolation;
    }
    return enqueue(stream, {nullptr, nullptr, mark});
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
    delete static_cast<FakeEvent *>(event);
    --state().stats.handles;
    return kSuccess;
  });
}

API cuEventRecord(Event event, Stream handle) {
  return onStream("cuEventRecord", handle, [&](Call &call, FakeStream &stream) {
    call.at("event", event);
    auto mark = std::make_shared<Mark>(Mark{&stream, false, stream.capture});
    if (FakeStream *capture = stream.capture)
      mark->number = 1 + size_t(std::count_if(capture->captured.begin(), capture->captured.end(),
                                              [&](const auto &one) { return one.first == &stream; }));
    static_cast<FakeEvent *>(event)->mark = mark;
    return enqueue(stream, {nullptr, nullptr, nullptr, mark});
  });
}

API cuEventQuery(Event event) {
  Call call("cuEventQuery");
  call.at("event", event);
  return call.run([&]() -> Result {
    if (Result result = forbidWhileCapturing())
      return result;
    const std::shared_ptr<Mark> &mark = static_cast<FakeEvent *>(event)->mark;
    return mark && mark->capture ? kCapturedEvent : !mark || mark->isDone ? kSuccess : kNotReady;
  });
}

API cuEventSynchronize(Event event) {
  Call call("cuEventSynchronize");
  call.at("event", event);
  return call.run([&]() -> Result {
    std::shared_ptr<Mark> mark = static_cast<FakeEvent *>(event)->mark;
    if (mark && mark->capture)
      return kCapturedEvent;
    return !mark || mark->isDone ? (++state().stats.waits, Result(kSuccess)) : waitFor(*mark->stream);
  });
}

API cuEventElapsedTime(float *milliseconds, Event start, Event end) {
  Call call("cuEventElapsedTime");
  return call.run([&]() -> Result {
    const std::shared_ptr<Mark> &first = static_cast<FakeEvent *>(start)->mark, &second = static_cast<FakeEvent *>(end)->mark;
    if (!first || !second)
      return kInvalidHandle;
    if (!first->isDone || !second->isDone)
      return kNotReady;
    *milliseconds = float(second->milliseconds - first->milliseconds);
    return kSuccess;
  });
}
