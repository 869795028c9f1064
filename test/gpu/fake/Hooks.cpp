// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/fake/Hooks.h"
#include "test/gpu/fake/Fake.h"

using namespace snug;
using namespace snug::fake;

int snug_fake_cuda_device(void) { return currentDevice(); }

int snug_fake_cuda_has(const void *start, size_t bytes, int device) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  const Allocation *found = state().memory.find(start, bytes);
  return found && found->device == device;
}

int snug_fake_cuda_enqueue(void *handle, const char *name, void (*work)(const void *), void *argument, void (*drop)(void *)) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  std::shared_ptr<void> kept(argument, drop);
  static std::map<std::string, Kernel> kernels; // so that graphs can be compared
  const Kernel *kernel = &kernels.try_emplace(name, Kernel{name, nullptr, nullptr, nullptr, currentDevice(), 0}).first->second;
  FakeStream *stream = streamOf(handle);
  if (!stream)
    return kInvalidHandle;
  if (stream->device != currentDevice())
    return kInvalidContext;
  state().stats.launches += !stream->capture;
  auto run = [kept, work]() -> Result {
    if (!computes())
      return kSuccess;
    state().memory.open();
    work(kept.get());
    return state().memory.close() ? kSuccess : kLaunchFailed;
  };
  return enqueue(*stream, {run, kernel});
}

int snug_fake_cuda_is_captured(void *handle) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  FakeStream *stream = streamOf(handle);
  return stream && stream->capture;
}

void snug_fake_cuda_spend(double milliseconds) { state().spentMs += milliseconds; }

void snug_fake_cuda_fault(const char *text) { reportFault(text); }

int snug_fake_cuda_refused(const char *function) { return Call(function).refused(false); }

void snug_fake_cuda_log(const char *function, const char *fields, int result) { Call(function).done(result, fields); }
