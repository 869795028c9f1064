// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_COMMAND_H
#define SNUG_LIB_DRIVER_COMMAND_H

#include "lib/driver/Console.h"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snug {

// What the words of a command line leave open.
struct CommandContext {
  Console console;
  std::optional<std::string_view> modelBytes; // the model in memory; the words name none then
  std::string modelName;                      // what it is called
};

// snugc: parses the words, program name first, and does what they say. Returns an exit code.
int runCommand(const std::vector<std::string> &words, const CommandContext &context = {});

// The files that a compilation to `output` writes to before they are complete; a crash may leave them.
std::vector<std::string> partialFiles(const std::string &output);

} // namespace snug

#endif
