// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_WHOLE_FILE_H
#define SNUG_TOOLS_SNUG_RUN_WHOLE_FILE_H

#include <cstdint>
#include <string>

namespace snug {

// Writes a file that is either whole or not there: into a temporary file of the same folder, renamed by commit() and
// removed by the destructor otherwise. Failures throw CommandFailure with SNUG_EXIT_MACHINE.
class WholeFile {
public:
  explicit WholeFile(const std::string &path);
  WholeFile(const WholeFile &) = delete;
  WholeFile &operator=(const WholeFile &) = delete;
  ~WholeFile();

  void write(const void *data, uint64_t bytes);
  void commit();

private:
  [[noreturn]] void fail() const;

  std::string path, temporary;
  int descriptor = -1;
};

} // namespace snug

#endif
