// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/WholeFile.h"
#include "tools/snug-run/CommandFailure.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

using namespace snug;

void WholeFile::fail() const { throw CommandFailure(SNUG_EXIT_MACHINE, "cannot write '" + path + "': " + strerror(errno)); }

WholeFile::WholeFile(const std::string &path) : path(path), temporary(path + ".XXXXXX") {
  descriptor = mkstemp(&temporary[0]);
  if (descriptor < 0)
    fail();
  mode_t mask = umask(0); // can only be read by setting it
  umask(mask);
  fchmod(descriptor, 0666 & ~mask); // mkstemp gives the owner alone access
}

WholeFile::~WholeFile() {
  if (descriptor < 0)
    return;
  close(descriptor);
  unlink(temporary.c_str());
}

void WholeFile::write(const void *data, uint64_t bytes) {
  auto *at = static_cast<const char *>(data);
  while (bytes > 0) {
    ssize_t written = ::write(descriptor, at, std::min<uint64_t>(bytes, 1 << 30));
    if (written < 0 && errno != EINTR)
      fail();
    at += std::max<ssize_t>(written, 0);
    bytes -= uint64_t(std::max<ssize_t>(written, 0));
  }
}

void WholeFile::commit() {
  if (rename(temporary.c_str(), path.c_str()) != 0)
    fail();
  close(descriptor);
  descriptor = -1;
}
