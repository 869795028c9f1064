// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Compile.h"
#include "lib/driver/Faults.h"
#include "snug/ExitCodes.h"
#include <CLI/CLI.hpp>
#include <cstdio>

static std::string exitCodes() {
  std::string text = "Exit codes:\n";
#define SNUG_EXIT_CODE(name, value, meaning) text += "  " #value "  " meaning "\n";
  SNUG_EXIT_CODES(SNUG_EXIT_CODE)
#undef SNUG_EXIT_CODE
  return text;
}

int main(int argc, char **argv) {
  snug::installFaultHandlers();
  CLI::App app("snugc compiles an ONNX model into a shared library that runs inside a memory budget.", "snugc");
  app.set_version_flag("--version", SNUG_VERSION);
  app.footer(exitCodes());
  snug::CompileOptions options;
  snug::bindOptions(app, options);
  options.command.assign(argv, argv + argc);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &request) { // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError &error) {
    std::fprintf(stderr, "snugc: error: %s\nsee snugc --help\n", error.what());
    return SNUG_EXIT_USAGE;
  }
  return snug::compile(options);
}
