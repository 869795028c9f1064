// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_TOOLPROCESS_H
#define SNUG_CODEGEN_CUDA_TOOLPROCESS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace snug::codegen {

// A file that other programs can read and write by a name, and that has no place on disk: it is gone with the processes
// that use it, however they end.
class MemoryFile {
public:
  static llvm::Expected<MemoryFile> create();
  MemoryFile(MemoryFile &&other) : descriptor(other.descriptor) { other.descriptor = -1; }
  ~MemoryFile();

  // Only for this process and those it starts while this object lives.
  std::string path() const;
  llvm::Error write(llvm::StringRef content);
  llvm::Expected<std::string> read() const;

private:
  explicit MemoryFile(int descriptor) : descriptor(descriptor) {}
  int descriptor;
};

struct ToolResult {
  int status;         // its exit status
  std::string output; // what it printed, standard output and error together
};

// Runs a program to its end. An error if it could not be started or was killed. Safe to call from several threads.
llvm::Expected<ToolResult> runTool(const std::string &program, llvm::ArrayRef<std::string> arguments);

} // namespace snug::codegen
#endif
