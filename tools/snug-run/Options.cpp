// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Options.h"
#include "tools/snug-run/Failure.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>
#include <vector>

using namespace snug;

// Cuts NAME=VALUE at the first '='.
static std::pair<std::string, std::string> cut(const std::string &flag, const std::string &text) {
  size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    throw Failure(SNUG_EXIT_USAGE, flag + " " + text + ": expected NAME=VALUE");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

static int64_t integer(const std::string &flag, const std::string &text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Failure(SNUG_EXIT_USAGE, flag + ": '" + text + "' is not a whole number");
  return value;
}

static std::map<std::string, std::string> named(const std::string &flag, const std::vector<std::string> &texts) {
  std::map<std::string, std::string> values;
  for (const std::string &text : texts) {
    auto [name, value] = cut(flag, text);
    if (!values.emplace(name, value).second)
      throw Failure(SNUG_EXIT_USAGE, flag + " names '" + name + "' twice");
  }
  return values;
}

static std::string exitCodes() {
  std::string text = "Exit codes:\n";
#define SNUG_EXIT_CODE(name, value, meaning) text += "  " #value "\t" meaning "\n";
  SNUG_EXIT_CODES(SNUG_EXIT_CODE)
#undef SNUG_EXIT_CODE
  return text;
}

std::optional<RunOptions> snug::parseOptions(int argc, char **argv) {
  RunOptions options;
  std::vector<std::string> inputs, outputs, dims, ranges;
  uint64_t seed = 0;
  CLI::App app("Runs a model that snugc compiled.");
  app.footer(exitCodes());
  app.set_version_flag("--version", snug_version());
  app.add_option("MODEL", options.model, "The compiled model (.so)")->required();
  app.add_option("--input", inputs, "NAME=FILE.npy: an input of the model; may be repeated")->allow_extra_args(false);
  app.add_option("--inputs", options.inputArchive, "FILE.npz: inputs by name");
  auto *random = app.add_option("--random-inputs", seed,
                                "SEED: fill the other inputs; floats uniform in [-1, 1), integers and bools 0 or 1");
  app.add_option("--random-range", ranges, "NAME=LO..HI: range of a random integer input; may be repeated")
      ->allow_extra_args(false)
      ->needs(random);
  app.add_option("--output", outputs, "NAME=FILE.npy: write an output; may be repeated")->allow_extra_args(false);
  app.add_option("--outputs", options.outputArchive, "FILE.npz: write all outputs by name");
  app.add_option("--dim", dims, "NAME=V: a dim that no input file determines; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--threads", options.threads, "N: threads to use, at most the planned number (default: as planned)")
      ->check(CLI::PositiveNumber);
  app.add_option("--warmup", options.warmup, "N: runs before those that are timed (default 0)");
  app.add_option("--repeat", options.repeat, "N: runs that are timed (default 1)")->check(CLI::PositiveNumber);
  app.add_option("--stats", options.stats, "FILE.json: planned and measured bytes, latency");
  app.add_flag("--profile", options.profile, "Print where the time of the timed runs went, by kernel");
  app.add_flag("--info", options.info, "Print what the model takes, gives and needs, and stop");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0) { // --help, --version
      app.exit(error);
      return std::nullopt;
    }
    throw Failure(SNUG_EXIT_USAGE, std::string(error.what()) + " (see --help)");
  }
  if (*random)
    options.randomSeed = seed;
  options.inputs = named("--input", inputs);
  options.outputs = named("--output", outputs);
  for (const auto &[name, value] : named("--dim", dims))
    options.dims[name] = integer("--dim " + name, value);
  for (const auto &[name, value] : named("--random-range", ranges)) {
    std::string flag = "--random-range " + name;
    size_t dots = value.find("..");
    if (dots == std::string::npos)
      throw Failure(SNUG_EXIT_USAGE, flag + ": expected LO..HI");
    auto range = std::make_pair(integer(flag, value.substr(0, dots)), integer(flag, value.substr(dots + 2)));
    if (range.first > range.second)
      throw Failure(SNUG_EXIT_USAGE, flag + ": " + value + " is empty");
    options.randomRanges[name] = range;
  }
  return options;
}
