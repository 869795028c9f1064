// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-run: runs a compiled model on files or random data, and measures it.

#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Options.h"
#include "tools/snug-run/Ranks.h"
#include "tools/snug-run/Run.h"

#include <cstdio>
#include <new>

int main(int argc, char **argv) {
  try {
    if (auto options = snug::parseOptions(argc, argv))
      snug::runModel(*options);
    return SNUG_EXIT_DONE;
  } catch (const snug::CommandFailure &failure) {
    snug::tellOnce(failure);
    return failure.code;
  } catch (const std::bad_alloc &) {
    fprintf(stderr, "snug-run: error: out of memory\n");
    return SNUG_EXIT_MACHINE;
  } catch (const std::exception &error) {
    fprintf(stderr, "snug-run: error: internal fault: %s; please report it with this command\n", error.what());
    return SNUG_EXIT_FAULT;
  }
}
