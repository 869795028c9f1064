// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Recording.h"

#include <algorithm>
#include <utility>

using namespace snug;
using namespace snug::cuda;

Recording::~Recording() {
  dropGraph();
  dropExec();
  if (stream)
    driver().cuStreamDestroy(stream);
}

void Recording::dropGraph() {
  if (Graph old = std::exchange(graph, nullptr))
    driver().cuGraphDestroy(old);
}

void Recording::dropExec() {
  if (GraphExec old = std::exchange(exec, nullptr))
    driver().cuGraphExecDestroy(old);
}

bool Recording::matches(const int64_t *ofDims, const std::vector<void *> &ofAddresses) const {
  return exec && std::equal(dims.begin(), dims.end(), ofDims) && addresses == ofAddresses;
}

Stream Recording::begin() {
  if (!stream)
    check(driver().cuStreamCreate(&stream, kStreamNonBlocking), "make a stream to record a graph on");
  check(driver().cuStreamBeginCapture(stream, kCaptureThreadLocal), "record a graph", SNUG_EXIT_RUN);
  return stream;
}

Result Recording::end() {
  dropGraph();
  return driver().cuStreamEndCapture(stream, &graph);
}

void Recording::keep(const int64_t *ofDims, const std::vector<void *> &ofAddresses) {
  // One of the same launches, with other parameters, is updated; that may fail, as where dims decide which launches there are.
  GraphUpdateInfo info{};
  if (exec && (!updates || driver().cuGraphExecUpdate(exec, graph, &info) != kSuccess))
    dropExec();
  Result result = exec ? kSuccess : driver().cuGraphInstantiateWithFlags(&exec, graph, 0);
  dropGraph();
  check(result, "make a graph of what was recorded", SNUG_EXIT_RUN);
  std::copy_n(ofDims, dims.size(), dims.begin());
  addresses = ofAddresses; // of the same size: nothing is allocated
}
