// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Command.h"
#include "codegen/Codegen.h"
#include "lib/driver/Compile.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <CLI/CLI.hpp>
#include <sstream>

using namespace snug;

int snug::runCommand(const std::vector<std::string> &words, const CommandContext &context) {
  CLI::App app("snugc compiles an ONNX model into a shared library that runs inside a memory budget.", "snugc");
  app.set_version_flag("--version", SNUG_VERSION);
  app.footer(SNUG_EXIT_CODES_TEXT);
  CompileOptions options;
  bindOptions(app, options);
  options.command = words;
  options.console = context.console;
  std::vector<const char *> arguments;
  for (const std::string &word : words)
    arguments.push_back(word.c_str());
  try {
    app.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::Success &request) { // --help, --version
    std::ostringstream text, none;
    app.exit(request, text, none);
    context.console.output() << text.str();
    return context.console.flushOutput();
  } catch (const CLI::ParseError &error) {
    context.console.fail(SNUG_EXIT_USAGE, error.what());
    context.console.messages() << "see snugc --help\n";
    return SNUG_EXIT_USAGE;
  }
  if (context.modelBytes) {
    if (!options.model.empty())
      return context.console.fail(SNUG_EXIT_USAGE, "the model is given in memory; leave '" + options.model + "' out");
    options.model = context.modelName;
    options.modelBytes = context.modelBytes;
  }
  return compile(options);
}

std::vector<std::string> snug::partialFiles(const std::string &output) {
  std::vector<std::string> files{output + ".partial", output + ".safetensors.partial"};
  // They are written one rank after the other.
  for (int64_t rank = 0; llvm::sys::fs::exists(rankWeightsPath(output, rank) + ".partial"); ++rank)
    files.push_back(rankWeightsPath(output, rank) + ".partial");
  return files;
}
