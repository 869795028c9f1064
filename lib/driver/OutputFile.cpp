// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

namespace fs = llvm::sys::fs;

std::string snug::outputProblem(const std::string &path) {
  fs::file_status status;
  if (!fs::status(path, status)) {
    if (fs::is_directory(status))
      return "it is a folder";
    if (!fs::is_regular_file(status))
      return fs::access(path, fs::AccessMode::Write) ? "permission denied" : "";
  }
  std::string folder = llvm::sys::path::parent_path(path).str();
  if (folder.empty())
    folder = ".";
  if (fs::status(folder, status))
    return "its folder '" + folder + "' does not exist";
  if (!fs::is_directory(status))
    return "'" + folder + "' is no folder";
  if (fs::access(folder, fs::AccessMode::Write))
    return "no permission to write in '" + folder + "'";
  return "";
}

static bool writeTo(const std::string &path, const std::string &text, std::string &problem) {
  std::error_code code;
  llvm::raw_fd_ostream os(path, code);
  if (!code) {
    os << text;
    os.close();
    code = os.error();
    os.clear_error(); // else its destructor ends the program
  }
  if (code)
    problem = code.message();
  return !code;
}

bool snug::writeOutput(const std::string &path, const std::string &text, std::string &problem) {
  fs::file_status status;
  if (!fs::status(path, status) && !fs::is_regular_file(status))
    return writeTo(path, text, problem);
  std::string partial = path + ".partial";
  llvm::sys::RemoveFileOnSignal(partial);
  bool done = writeTo(partial, text, problem);
  if (done)
    if (std::error_code code = fs::rename(partial, path)) {
      problem = code.message();
      done = false;
    }
  if (!done)
    fs::remove(partial);
  llvm::sys::DontRemoveFileOnSignal(partial);
  return done;
}
