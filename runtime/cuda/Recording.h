// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The launches of a run as a CUDA graph, which is replayed as long as dims and addresses stay the same.
#ifndef SNUG_RUNTIME_CUDA_RECORDING_H
#define SNUG_RUNTIME_CUDA_RECORDING_H

#include "runtime/cuda/Driver.h"

#include <vector>

namespace snug::cuda {

class Recording {
public:
  // `updates`: a graph with other parameters replaces those of the one before, where it has the same launches; else it is made anew.
  // NCCL's launches use memory that it frees with the graph that they were recorded in.
  Recording(size_t numDims, size_t numAddresses, bool updates) : updates(updates), dims(numDims), addresses(numAddresses) {}
  Recording(const Recording &) = delete;
  Recording &operator=(const Recording &) = delete;
  ~Recording();

  // Whether that was recorded: of a graph all parameters are fixed.
  bool matches(const int64_t *ofDims, const std::vector<void *> &ofAddresses) const;

  // Begins to record; what follows goes to the returned stream. Throws.
  Stream begin();
  // Ends it, whether or not something failed meanwhile; returns what went wrong.
  Result end();
  // After a good end: makes what was recorded the one that `launch` replays. Throws.
  void keep(const int64_t *ofDims, const std::vector<void *> &ofAddresses);

  Result launch(Stream stream) const { return driver().cuGraphLaunch(exec, stream); }

private:
  void dropGraph();
  void dropExec();

  const bool updates;
  Stream stream = nullptr; // the caller's may be the legacy one, which nothing can be recorded on
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  std::vector<int64_t> dims;
  std::vector<void *> addresses;
};

} // namespace snug::cuda

#endif
