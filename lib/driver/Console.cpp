// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Console.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

using namespace snug;

llvm::raw_ostream &Console::messages() const { return messageStream ? *messageStream : llvm::errs(); }
llvm::raw_ostream &Console::output() const { return outputStream ? *outputStream : llvm::outs(); }

int Console::fail(int code, const llvm::Twine &message) const {
  messages() << "snugc: error: " << message << "\n";
  return code;
}

int Console::flushOutput() const {
  output().flush();
  if (outputStream || !llvm::outs().has_error())
    return SNUG_EXIT_DONE;
  std::string problem = llvm::outs().error().message();
  llvm::outs().clear_error();
  return fail(SNUG_EXIT_MACHINE, "cannot write to standard output: " + problem);
}

void Console::showProgress(const char *stage) const {
  if (!messageStream && llvm::sys::Process::StandardErrIsDisplayed())
    llvm::errs() << "\r\033[K" << (stage ? stage : "");
}
