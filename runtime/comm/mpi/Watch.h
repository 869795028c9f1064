// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sees at once when another process of this machine ends, however it does: through pidfds, which cost nothing while nobody
// looks. Processes of other machines, or of other namespaces of process ids, are not seen.
#ifndef SNUG_RUNTIME_COMM_MPI_WATCH_H
#define SNUG_RUNTIME_COMM_MPI_WATCH_H

#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <vector>

namespace snug::comm {

class Watch {
public:
  // Where a process runs; the same but for the id where one can see the other.
  struct Place {
    char boot[40];
    uint64_t device, node; // of the namespace of process ids
    int64_t process;
  };
  static Place here();

  Watch() = default;
  Watch(const Watch &) = delete;
  Watch &operator=(const Watch &) = delete;
  ~Watch();

  // Watches all but `own` of the ranks that run at these places.
  void start(const std::vector<Place> &places, uint32_t own);
  // Ranks of this machine, this one among them, that are known.
  size_t numLocal() const { return files.size() + 1; }
  // Whether one has ended; any number of calls, allocates nothing.
  bool look();
  bool isLost(uint32_t rank) const { return rank < lost.size() && lost[rank]; }
  // Which they are, into `text`, which is returned.
  const char *describe(char *text, size_t size) const;

private:
  std::vector<pollfd> files;
  std::vector<uint32_t> ranks; // of the files
  std::vector<char> lost;      // by rank
};

} // namespace snug::comm

#endif
