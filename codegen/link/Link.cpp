// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/Link.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Signals.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;
using namespace snug::codegen;

namespace {
std::string findLinker() {
  for (const char *name : {"ld.lld-22", "ld.lld"}) {
    if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName(name, {SNUG_LLVM_TOOLS_DIR}))
      return *path;
    if (llvm::ErrorOr<std::string> path = llvm::sys::findProgramByName(name))
      return *path;
  }
  return {};
}

// The C library's shared objects, by the names that every libc of glibc's kind has.
std::string findLibrary(const std::string &name) {
  llvm::Triple triple(llvm::sys::getDefaultTargetTriple());
  std::string multiarch = (triple.getArchName() + "-linux-gnu").str();
  for (const std::string &folder : {"/lib/" + multiarch, "/usr/lib/" + multiarch, std::string("/lib64"),
                                    std::string("/usr/lib64"), std::string("/lib"), std::string("/usr/lib")})
    if (std::string path = folder + "/" + name; llvm::sys::fs::exists(path))
      return path;
  return {};
}
} // namespace

LogicalResult snug::codegen::linkSharedLibrary(const std::vector<SmallVector<char, 0>> &objects,
                                               const std::string &output, std::string &error, int &exitCode) {
  exitCode = 5;
  auto fail = [&](const Twine &message) {
    error = message.str();
    return failure();
  };
  std::string linker = findLinker(), libm = findLibrary("libm.so.6"), libc = findLibrary("libc.so.6");
  if (linker.empty())
    return fail("the linker ld.lld-22 is not installed; install lld-22");
  if (libm.empty() || libc.empty())
    return fail("libc.so.6 or libm.so.6 is in none of the usual folders; install the C library");

  // Objects are named by their place, so that nothing of a temporary folder's name can reach the library.
  SmallString<128> folder;
  if (std::error_code code = llvm::sys::fs::createUniqueDirectory("snug-link", folder))
    return fail("cannot make a temporary folder: " + code.message());
  std::vector<std::string> files;
  struct Cleanup {
    StringRef folder;
    ~Cleanup() { llvm::sys::fs::remove_directories(folder); }
  } cleanup{folder};
  for (auto [index, object] : llvm::enumerate(objects)) {
    files.push_back((folder + "/" + Twine(index) + ".o").str());
    std::error_code code;
    llvm::raw_fd_ostream os(files.back(), code);
    if (!code)
      os.write(object.data(), object.size());
    os.close();
    if (code || os.has_error()) {
      os.clear_error();
      return fail("cannot write " + files.back() + "; is the temporary folder full?");
    }
  }
  std::string temporary = output + ".partial";
  llvm::sys::RemoveFileOnSignal(temporary);
  std::string log = (folder + "/log").str();
  std::vector<StringRef> arguments{linker,
                                   "-shared",
                                   "-z",
                                   "defs",
                                   "-z",
                                   "now",
                                   "-z",
                                   "noexecstack",
                                   "--gc-sections",
                                   "--build-id=none",
                                   "--as-needed",
                                   "--hash-style=gnu"};
  for (const std::string &file : files)
    arguments.push_back(file);
  for (const std::string *text : {&libm, &libc})
    arguments.push_back(*text);
  arguments.push_back("-o");
  arguments.push_back(temporary);
  std::string message;
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(log), StringRef(log)};
  int status = llvm::sys::ExecuteAndWait(linker, arguments, std::nullopt, redirects, 0, 0, &message);
  if (status != 0) {
    llvm::sys::fs::remove(temporary);
    if (auto buffer = llvm::MemoryBuffer::getFile(log))
      message += (*buffer)->getBuffer().trim().take_front(2000);
    // What lld says of a full disk, a limit or a missing permission.
    bool unwritable = StringRef(message).contains("cannot open output file") ||
                      StringRef(message).contains("failed to write");
    exitCode = unwritable ? 5 : 70;
    return fail("linking '" + Twine(output) + "' failed: " + message);
  }
  if (std::error_code code = llvm::sys::fs::rename(temporary, output)) {
    llvm::sys::fs::remove(temporary);
    return fail("cannot write '" + output + "': " + code.message());
  }
  exitCode = 0;
  return success();
}
