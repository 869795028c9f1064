// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Graphs: what is recorded of a stream, and of those that come to it by events, and replayed.

#include "test/gpu/fake/Fake.h"

#include <algorithm>

using namespace snug;
using namespace snug::fake;

#define API extern "C" __attribute__((visibility("default"))) Result

template <class Body> static Result onStream(const char *function, Stream handle, Body &&body) {
  Call call(function);
  call.at("stream", handle);
  return call.run([&]() -> Result {
    FakeStream *stream = streamOf(handle);
    return stream ? body(call, *stream) : kInvalidHandle;
  });
}

API cuStreamIsCapturing(Stream handle, CaptureStatus *status) {
  return onStream("cuStreamIsCapturing", handle, [&](Call &, FakeStream &stream) {
    if (&stream == streamOf(kLegacyStream)) {
      for (FakeStream *other : state().streams)
        if (other->capture && other->isBlocking)
          return other->capture->isInvalid = true, Result(kCaptureImplicit);
    }
    *status = !stream.capture ? kCaptureNone : stream.capture->isInvalid ? CaptureStatus(2) : kCaptureActive;
    return Result(kSuccess);
  });
}

API cuStreamBeginCapture_v2(Stream handle, CaptureMode mode) {
  return onStream("cuStreamBeginCapture_v2", handle, [&](Call &call, FakeStream &stream) -> Result {
    call.with("mode", uint64_t(mode));
    if (&stream == streamOf(kLegacyStream))
      return kCaptureUnsupported;
    if (stream.capture)
      return kIllegalState;
    stream.capture = &stream;
    stream.isInvalid = false;
    stream.mode = mode;
    stream.thread = std::this_thread::get_id();
    stream.captured.clear();
    stream.joined.clear();
    return kSuccess;
  });
}

// The streams in it, with marks that are its own.
static FakeGraph *makeGraph(FakeStream &origin) {
  auto *graph = new FakeGraph;
  std::map<FakeStream *, size_t> numbers{{&origin, 0}};
  for (auto &[stream, work] : origin.captured) {
    size_t number = numbers.emplace(stream, numbers.size()).first->second;
    graph->works.emplace_back(number, std::move(work));
  }
  graph->numStreams = numbers.size();
  return graph;
}

API cuStreamEndCapture(Stream handle, Graph *graph) {
  return onStream("cuStreamEndCapture", handle, [&](Call &call, FakeStream &stream) -> Result {
    *graph = nullptr;
    if (stream.capture != &stream)
      return kIllegalState;
    bool isJoined = true;
    for (FakeStream *other : state().streams)
      if (other != &stream && other->capture == &stream) {
        auto isOthers = [&](const auto &one) { return one.first == other; };
        isJoined &= size_t(std::count_if(stream.captured.begin(), stream.captured.end(), isOthers)) == stream.joined[other];
        other->capture = nullptr;
      }
    stream.capture = nullptr;
    if (stream.isInvalid || !isJoined) {
      Result result = stream.isInvalid ? kCaptureInvalidated : kCaptureUnjoined;
      stream.isInvalid = false;
      return result;
    }
    ++state().stats.handles;
    FakeGraph *made = makeGraph(stream);
    call.at("graph", *graph = made).with("nodes", made->works.size());
    return kSuccess;
  });
}

API cuGraphInstantiateWithFlags(GraphExec *exec, Graph graph, unsigned long long flags) {
  Call call("cuGraphInstantiateWithFlags");
  call.at("graph", graph).with("flags", flags);
  return call.run([&] {
    auto *made = new FakeExec{*static_cast<FakeGraph *>(graph), {}};
    for (size_t i = 1; i < made->numStreams; ++i)
      made->streams.push_back(*state().streams.insert(new FakeStream{false, currentDevice()}).first);
    call.at("exec", *exec = made);
    ++state().stats.handles;
    return kSuccess;
  });
}

API cuGraphExecUpdate_v2(GraphExec exec, Graph graph, GraphUpdateInfo *info) {
  Call call("cuGraphExecUpdate_v2");
  call.at("exec", exec).at("graph", graph);
  return call.run([&]() -> Result {
    auto &old = *static_cast<FakeExec *>(exec);
    const auto &now = *static_cast<FakeGraph *>(graph);
    auto isAlike = [](const auto &a, const auto &b) { return a.first == b.first && a.second.kernel == b.second.kernel; };
    if (!std::equal(old.works.begin(), old.works.end(), now.works.begin(), now.works.end(), isAlike)) {
      info->result = 1;
      return kGraphUpdateFailed;
    }
    old.works = now.works;
    return kSuccess;
  });
}

API cuGraphLaunch(GraphExec exec, Stream handle) {
  return onStream("cuGraphLaunch", handle, [&](Call &call, FakeStream &stream) -> Result {
    call.at("exec", exec);
    if (stream.capture) {
      stream.capture->isInvalid = true;
      return kCaptureUnsupported;
    }
    auto &graph = *static_cast<FakeExec *>(exec);
    std::map<Mark *, std::shared_ptr<Mark>> marks; // each time others
    for (auto [number, work] : graph.works) {
      FakeStream &on = number == 0 ? stream : *graph.streams[number - 1];
      state().stats.launches += work.kernel != nullptr;
      if (work.record)
        work.record = marks[work.record.get()] = std::make_shared<Mark>(Mark{&on});
      if (work.wait)
        work.wait = marks[work.wait.get()];
      if (Result result = enqueue(on, work))
        return result;
    }
    return kSuccess;
  });
}

API cuGraphExecDestroy(GraphExec exec) {
  Call call("cuGraphExecDestroy");
  call.at("exec", exec);
  return call.run([&] {
    auto *gone = static_cast<FakeExec *>(exec);
    for (FakeStream *stream : gone->streams) {
      drain(*stream);
      state().streams.erase(stream);
      delete stream;
    }
    delete gone;
    --state().stats.handles;
    return kSuccess;
  });
}

API cuGraphDestroy(Graph graph) {
  Call call("cuGraphDestroy");
  call.at("graph", graph);
  return call.run([&] {
    delete static_cast<FakeGraph *>(graph);
    --state().stats.handles;
    return kSuccess;
  });
}
