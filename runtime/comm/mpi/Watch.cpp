// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/mpi/Watch.h"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace snug::comm;

Watch::Place Watch::here() {
  Place place{};
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    if (read(file, place.boot, sizeof(place.boot) - 1) <= 0)
      place.boot[0] = 0;
    close(file);
  }
  struct stat status;
  if (stat("/proc/self/ns/pid", &status) == 0) {
    place.device = status.st_dev;
    place.node = status.st_ino;
  }
  place.process = getpid();
  return place;
}

void Watch::start(const std::vector<Place> &places, uint32_t own) {
  const Place &mine = places[own];
  lost.assign(places.size(), false);
  if (!mine.boot[0] || !mine.node)
    return;
  for (uint32_t r = 0; r < places.size(); ++r) {
    const Place &other = places[r];
    if (r == own || strcmp(mine.boot, other.boot) != 0 || mine.device != other.device || mine.node != other.node)
      continue;
    auto file = int(syscall(SYS_pidfd_open, pid_t(other.process), 0u));
    if (file < 0) // an old kernel, or not allowed: then only time tells
      continue;
    files.push_back({file, POLLIN, 0});
    ranks.push_back(r);
  }
}

Watch::~Watch() {
  for (const pollfd &file : files)
    close(file.fd);
}

bool Watch::look() {
  if (files.empty() || poll(files.data(), nfds_t(files.size()), 0) <= 0)
    return false;
  bool any = false;
  for (size_t i = 0; i < files.size(); ++i)
    if (files[i].revents & POLLIN)
      lost[ranks[i]] = any = true;
  return any;
}

const char *Watch::describe(char *text, size_t size) const {
  size_t used = 0;
  for (uint32_t r = 0; r < lost.size() && used < size; ++r)
    if (lost[r])
      used += size_t(snprintf(text + used, size - used, "%s%u", used ? ", " : "rank ", r));
  if (used < size)
    snprintf(text + used, size - used, " was lost: its process has ended");
  return text;
}
