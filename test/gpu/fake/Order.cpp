// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// In which order the work of streams is done.

#include "test/gpu/fake/Fake.h"

#include <algorithm>
#include <chrono>

using namespace snug;
using namespace snug::fake;

static constexpr auto kPatience = std::chrono::seconds(60); // with a peer that does not come

namespace {
enum class Head { Done, Failed, Waits, IsAlone }; // the last: for a peer that has nothing in its queue yet
}

// An error ends all that is on the device.
static Result stick(FakeStream &stream, Result result) {
  state().sticky[stream.device] = result;
  for (FakeStream *other : state().streams)
    if (other->device == stream.device)
      other->queue.clear();
  state().changed.notify_all();
  return result;
}

// Does what is at the head, or says what has to come first.
static Head tryHead(FakeStream &stream, Result &result, FakeStream *&first) {
  Work &head = stream.queue.front();
  if (head.wait && !head.wait->isDone) {
    first = head.wait->stream;
    return Head::Waits;
  }
  if (head.meeting) {
    if (!head.meeting->isDone())
      result = head.meeting->arrive();
    state().changed.notify_all();
    if (result != kSuccess)
      return stick(stream, result), Head::Failed;
    if (!head.meeting->isDone()) {
      first = head.meeting->next();
      return first ? Head::Waits : Head::IsAlone;
    }
  }
  Work next = std::move(head);
  stream.queue.pop_front();
  if (next.run)
    result = next.run();
  if (result != kSuccess)
    return stick(stream, result), Head::Failed;
  if (next.record) {
    next.record->isDone = true;
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    next.record->milliseconds = std::chrono::duration<double, std::milli>(now).count() + state().spentMs;
  }
  return Head::Done;
}

Result fake::drain(FakeStream &stream) {
  auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!stream.queue.empty()) {
    std::vector<FakeStream *> path{&stream};
    for (;;) {
      FakeStream *first = nullptr;
      Result result = kSuccess;
      if (path.back()->queue.empty()) { // it waits for what is lost
        reportFault("a stream waits for an event or a peer that will never come");
        return stick(stream, kLaunchFailed);
      }
      Head head = tryHead(*path.back(), result, first);
      if (head == Head::Failed && path.back()->device == stream.device)
        return stick(stream, result);
      if (head == Head::Done || head == Head::Failed)
        break;
      if (head == Head::Waits && std::find(path.begin(), path.end(), first) != path.end()) {
        reportFault("streams wait for each other");
        return stick(stream, kLaunchFailed);
      }
      if (head == Head::Waits) {
        path.push_back(first);
        continue;
      }
      // One level of the lock: that of the call.
      if (state().changed.wait_until(state().mutex, deadline) == std::cv_status::timeout) {
        reportFault("a stream waits for a peer that does not come");
        return stick(stream, kLaunchFailed);
      }
      break;
    }
  }
  auto found = state().sticky.find(stream.device);
  return found == state().sticky.end() ? Result(kSuccess) : found->second;
}

void fake::drainDevice() {
  std::vector<FakeStream *> all(state().streams.begin(), state().streams.end());
  for (FakeStream *stream : all)
    if (stream->device == currentDevice())
      drain(*stream);
}

// The legacy stream would have to wait for streams that are recorded, which cannot be.
static Result checkLegacy(const FakeStream &stream) {
  Result result = kSuccess;
  if (&stream == streamOf(kLegacyStream))
    for (FakeStream *other : state().streams)
      if (other->capture && other->isBlocking) {
        other->capture->isInvalid = true;
        result = kCaptureImplicit;
      }
  return result;
}

// What a blocking stream and the legacy one wait for before anything is added to them.
Result fake::drainOthers(FakeStream &stream) {
  if (Result result = checkLegacy(stream))
    return result;
  FakeStream *legacy = streamOf(kLegacyStream);
  std::vector<FakeStream *> all(state().streams.begin(), state().streams.end());
  for (FakeStream *other : all)
    if (other != &stream && stream.isBlocking && other->isBlocking && (&stream == legacy || other == legacy))
      if (Result result = drain(*other))
        return result;
  return kSuccess;
}

Result fake::enqueue(FakeStream &stream, Work work) {
  if (FakeStream *capture = stream.capture) {
    if (capture->isInvalid)
      return kCaptureInvalidated;
    capture->captured.emplace_back(&stream, std::move(work));
    return kSuccess;
  }
  if (Result result = drainOthers(stream))
    return result;
  if (work.meet)
    work.meeting = work.meet(stream);
  bool isTogether = work.meeting != nullptr;
  stream.queue.push_back(std::move(work));
  state().changed.notify_all();
  Result result = kSuccess;
  FakeStream *first = nullptr;
  auto isReady = [&] { return !stream.queue.empty() && !stream.queue.front().run && !stream.queue.front().record; };
  while (isTogether && result == kSuccess && isReady() && tryHead(stream, result, first) == Head::Done)
    continue;
  return kSuccess; // an error is met by who waits
}
