// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one table of exit codes: snugc and snug-run exit with them, snug_error_code() returns them, --help prints them.
#ifndef SNUG_EXIT_CODES_H
#define SNUG_EXIT_CODES_H

// X(enumerator, value, meaning)
#define SNUG_EXIT_CODES(X)                                                                                             \
  X(SNUG_EXIT_DONE, 0, "done")                                                                                         \
  X(SNUG_EXIT_USAGE, 1, "wrong usage (a flag, --dim or --value; an argument of the C API)")                            \
  X(SNUG_EXIT_INVALID, 2, "the file is not valid or unsafe, its external data or weights included")                    \
  X(SNUG_EXIT_UNSUPPORTED, 3, "it uses what Snug does not support or cannot bound")                                    \
  X(SNUG_EXIT_BUDGET, 4, "it cannot fit the budget; compiling at the printed least budget works")                      \
  X(SNUG_EXIT_MACHINE, 5, "the machine lacks something (path, tool, disk, memory, permission)")                        \
  X(SNUG_EXIT_RUN, 6, "a run failed (input shape or dtype, a bound exceeded, a peer lost)")                            \
  X(SNUG_EXIT_FAULT, 70, "a fault of Snug's own: please report it")

// The table as the text that --help ends with.
#define SNUG_EXIT_CODE_LINE(name, value, meaning) "  " #value "  " meaning "\n"
#define SNUG_EXIT_CODES_TEXT "Exit codes:\n" SNUG_EXIT_CODES(SNUG_EXIT_CODE_LINE)

typedef enum snug_exit_code {
#define SNUG_EXIT_CODE(name, value, meaning) name = value,
  SNUG_EXIT_CODES(SNUG_EXIT_CODE)
#undef SNUG_EXIT_CODE
} snug_exit_code;

#endif
