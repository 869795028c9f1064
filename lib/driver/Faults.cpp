// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Faults.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <cstring>
#include <new>
#include <unistd.h>

// A sanitizer reports crashes better than this does.
#if __has_feature(address_sanitizer)
static constexpr bool hasOwnReports = true;
#else
static constexpr bool hasOwnReports = false;
#endif

static void say(const char *text) { (void)!write(STDERR_FILENO, text, strlen(text)); }

const char *snug::outOfMemory() { return "out of memory; compile on a machine with more, or with smaller --dim"; }

const char *snug::howToReport() {
  return "this is a fault of Snug's own, not of the model: please report it with this command, what it printed, and "
         "the "
         "model's .onnx file (its weights are not needed)";
}

void snug::installFaultHandlers() {
  std::set_new_handler([] {
    say("snugc: error: ");
    say(outOfMemory());
    say("\n");
    llvm::sys::RunInterruptHandlers(); // removes half-written files
    _exit(SNUG_EXIT_MACHINE);
  });
  llvm::install_fatal_error_handler([](void *, const char *reason, bool) {
    say("snugc: error: internal fault: ");
    say(reason);
    say("\nsnugc: ");
    say(howToReport());
    say("\n");
    llvm::sys::RunInterruptHandlers();
    _exit(SNUG_EXIT_FAULT);
  });
  llvm::sys::AddSignalHandler(
      [](void *) {
        if (hasOwnReports)
          return; // the signal is raised again
        llvm::sys::PrintStackTrace(llvm::errs());
        say("snugc: error: internal fault: the compiler crashed\nsnugc: ");
        say(howToReport());
        say("\n");
        _exit(SNUG_EXIT_FAULT);
      },
      nullptr);
  // The linker, too, may stop in the middle: see linkSharedLibrary. Crashes elsewhere still end up above.
  llvm::CrashRecoveryContext::Enable();
  // A file that may not grow further is an error of write(), like a full disk. LLVM takes the signal for a crash.
  signal(SIGXFSZ, SIG_IGN);
}
