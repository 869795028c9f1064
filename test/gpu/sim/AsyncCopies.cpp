// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Asynchronous copies are as late as they may be: what was copied is there when its thread waited for it, not before, and
// for other threads after the barrier that follows.
#include "test/gpu/sim/Machine.h"
#include <cstring>

using namespace snug::sim;

void snug::sim::hookAsyncCopy(Context *context, const Site *site, void *to, int32_t toObject, void *from, int32_t fromObject,
                              uint32_t live) {
  Thread &thread = static_cast<Thread &>(*context);
  uint32_t bytes = site->values[0];
  if (live > bytes) {
    report("out-of-bounds", thread, site, "copies %u bytes of which %u are read", bytes, live);
    stop();
  }
  if (reinterpret_cast<uintptr_t>(from) % bytes != 0) {
    report("misaligned", thread, site, "a source at %p, which is no multiple of %u", from, bytes);
    stop();
  }
  if (live != 0)
    access(thread, site, from, live, 1, fromObject, Kind::Read);
  access(thread, site, to, bytes, bytes, toObject, Kind::Write);
  markPending(to, bytes);
  memset(to, 0xff, bytes);
  thread.copies.push_back({static_cast<char *>(to), static_cast<const char *>(from), bytes, live, site, thread.group});
}

void snug::sim::hookAsyncCommit(Context *context, const Site *) { ++static_cast<Thread &>(*context).group; }

void snug::sim::hookAsyncWait(Context *context, const Site *site) {
  Thread &thread = static_cast<Thread &>(*context);
  int done = thread.group - site->values[0]; // groups before this one have to be there
  size_t count = 0;
  for (; count < thread.copies.size() && thread.copies[count].group < done; ++count) {
    Copy &copy = thread.copies[count];
    markWritten(thread, copy.to, copy.bytes);
    memcpy(copy.to, copy.from, copy.live);
    memset(copy.to + copy.live, 0, copy.bytes - copy.live);
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + count);
}

void snug::sim::finishCopies(Thread &thread) {
  if (!thread.copies.empty())
    report("missing-wait", thread, thread.copies.front().site, "the thread ends without waiting for this copy");
  thread.copies.clear();
}
