// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_FAULTS_H
#define SNUG_LIB_DRIVER_FAULTS_H

namespace snug {

// Makes a crash of the process, whoever caused it, end with SNUG_EXIT_FAULT, a backtrace and what to report, and want
// of memory with SNUG_EXIT_MACHINE; half-written files are removed first. Once, at the start of main.
void installFaultHandlers();

// Why memory ran out, and what to do, as one line.
const char *outOfMemory();

// What a user can do about a fault of Snug's own, as one line.
const char *howToReport();

} // namespace snug

#endif
