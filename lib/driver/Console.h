// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_CONSOLE_H
#define SNUG_LIB_DRIVER_CONSOLE_H

namespace llvm {
class raw_ostream;
class Twine;
} // namespace llvm

namespace snug {

// Where a compilation says things: the program's own streams, or those that the caller of the C API gave.
struct Console {
  llvm::raw_ostream *messageStream = nullptr, *outputStream = nullptr; // null: the program's

  // Errors, warnings, remarks, the summary.
  llvm::raw_ostream &messages() const;
  // What was asked for by a flag: IR, tables.
  llvm::raw_ostream &output() const;
  // Says an error and returns `code`, for use in return statements.
  int fail(int code, const llvm::Twine &message) const;
  // Writes out what `output` has buffered. An exit code.
  int flushOutput() const;
  // One line that is written over, on a terminal only. Null clears it.
  void showProgress(const char *stage) const;
};

} // namespace snug

#endif
