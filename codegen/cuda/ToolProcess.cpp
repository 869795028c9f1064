// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/ToolProcess.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/Program.h"
#include <cerrno>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace snug::codegen;

static llvm::Error systemError(const char *what) {
  return llvm::createStringError(llvm::Twine("cannot ") + what + " a file in memory: " + llvm::sys::StrError());
}

llvm::Expected<MemoryFile> MemoryFile::create() {
  int descriptor = memfd_create("snug", 0); // programs that are started inherit it
  if (descriptor < 0)
    return systemError("make");
  return MemoryFile(descriptor);
}

MemoryFile::~MemoryFile() {
  if (descriptor >= 0)
    close(descriptor);
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(descriptor); }

llvm::Error MemoryFile::write(llvm::StringRef content) {
  while (!content.empty()) {
    ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno != EINTR)
      return systemError("write");
    content = content.drop_front(written > 0 ? written : 0);
  }
  return llvm::Error::success();
}

llvm::Expected<std::string> MemoryFile::read() const {
  struct stat info;
  if (fstat(descriptor, &info))
    return systemError("read");
  std::string content(info.st_size, '\0');
  for (size_t at = 0; at < content.size();) {
    ssize_t got = pread(descriptor, content.data() + at, content.size() - at, at);
    if (got == 0 || (got < 0 && errno != EINTR))
      return systemError("read");
    at += got > 0 ? got : 0;
  }
  return content;
}

llvm::Expected<ToolResult> snug::codegen::runTool(const std::string &program, llvm::ArrayRef<std::string> arguments) {
  llvm::Expected<MemoryFile> printed = MemoryFile::create();
  if (!printed)
    return printed.takeError();
  llvm::SmallVector<llvm::StringRef> command{program};
  command.append(arguments.begin(), arguments.end());
  std::string path = printed->path(), message;
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(), llvm::StringRef(path), llvm::StringRef(path)};
  int status = llvm::sys::ExecuteAndWait(program, command, std::nullopt, redirects, 0, 0, &message);
  if (status < 0)
    return llvm::createStringError("cannot run " + program + (message.empty() ? "" : ": " + message));
  llvm::Expected<std::string> output = printed->read();
  if (!output)
    return output.takeError();
  return ToolResult{status, std::move(*output)};
}
