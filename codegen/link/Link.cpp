// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/Link.h"
#include "lld/Common/CommonLinkerContext.h"
#include "lld/Common/Driver.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"
#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace mlir;
using namespace snug::codegen;

namespace {
// lld as a library has state of the process, so links take turns. What it takes for fatal ends in a crash recovery
// context, where the program has those enabled.
bool runLinker(ArrayRef<const char *> arguments, std::string &message) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  llvm::raw_string_ostream says(message);
  bool done = false;
  llvm::CrashRecoveryContext guard;
  bool whole = guard.RunSafely(
      [&] { done = lld::elf::link(arguments, says, says, /*exitEarly=*/false, /*disableOutput=*/false); });
  if (whole)
    lld::CommonLinkerContext::destroy();
  return whole && done;
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
  std::string libm = findLibrary("libm.so.6"), libc = findLibrary("libc.so.6");
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
  std::vector<const char *> arguments{"ld.lld",      "-shared",
                                      "-z",          "defs",
                                      "-z",          "now",
                                      "-z",          "noexecstack",
                                      "--threads=1", "--gc-sections",
                                      "--as-needed", "--build-id=none",
                                      "--hash-style=gnu"};
  for (const std::string &file : files)
    arguments.push_back(file.c_str());
  arguments.insert(arguments.end(), {libm.c_str(), libc.c_str(), "-o", temporary.c_str()});
  std::string message;
  if (!runLinker(arguments, message)) {
    llvm::sys::fs::remove(temporary);
    // What lld says of a full disk, a limit or a missing permission.
    bool unwritable = StringRef(message).contains("cannot open output file") ||
                      StringRef(message).contains("failed to write");
    exitCode = unwritable ? 5 : 70;
    return fail("linking '" + Twine(output) + "' failed: " + StringRef(message).trim().take_front(2000));
  }
  if (std::error_code code = llvm::sys::fs::rename(temporary, output)) {
    llvm::sys::fs::remove(temporary);
    return fail("cannot write '" + output + "': " + code.message());
  }
  exitCode = 0;
  return success();
}
