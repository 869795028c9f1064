// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Options.h"
#include "tools/snug-run/CommandFailure.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>
#include <vector>

using namespace snug;

// Cuts NAME=VALUE at the first '='.
static std::pair<std::string, std::string> cut(const std::string &flag, const std::string &text) {
  size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    throw CommandFailure(SNUG_EXIT_USAGE, flag + " " + text + ": expected NAME=VALUE");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

static int64_t integer(const std::string &flag, const std::string &text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw CommandFailure(SNUG_EXIT_USAGE, flag + ": '" + text + "' is not a whole number");
  return value;
}

static std::map<std::string, std::string> named(const std::string &flag, const std::vector<std::string> &texts) {
  std::map<std::string, std::string> values;
  for (const std::string &text : texts) {
    auto [name, value] = cut(flag, text);
    if (!values.emplace(name, value).second)
      throw CommandFailure(SNUG_EXIT_USAGE, flag + " names '" + name + "' twice");
  }
  return values;
}

static void readComm(const std::string &text, RunOptions &options) {
  const std::string loopback = "loopback";
  if (text == "mpi")
    options.comm = CommKind::Mpi;
  else if (text.rfind(loopback, 0) == 0)
    options.comm = CommKind::Loopback;
  if (text.rfind(loopback + ":", 0) == 0) {
    int64_t ranks = integer("--comm", text.substr(loopback.size() + 1));
    if (ranks < 1 || ranks > 1024)
      throw CommandFailure(SNUG_EXIT_USAGE, "--comm " + text + ": 1 to 1024 ranks are possible");
    options.loopbackRanks = uint32_t(ranks);
  } else if (!text.empty() && text != "mpi" && text != loopback) {
    throw CommandFailure(SNUG_EXIT_USAGE, "--comm " + text + ": expected mpi, loopback or loopback:N");
  }
}

std::optional<RunOptions> snug::parseOptions(int argc, char **argv) {
  RunOptions options;
  std::vector<std::string> inputs, outputs, dims, ranges;
  std::string comm;
  uint64_t seed = 0;
  CLI::App app("snug-run runs a model that snugc compiled.", "snug-run");
  app.footer(SNUG_EXIT_CODES_TEXT);
  app.set_version_flag("--version", snug_version());
  // Required, but not said so here: CLI11 would name it before a flag that it does not know.
  app.add_option("MODEL", options.model, "The compiled model (.so)")->type_name("");
  app.add_option("--input", inputs, "An input of the model from a NumPy or ONNX tensor file; once for each")
      ->type_name("NAME=FILE.npy|.pb")
      ->allow_extra_args(false);
  app.add_option("--inputs", options.inputArchive, "Inputs by name")->type_name("FILE.npz");
  auto *random = app.add_option("--random-inputs", seed,
                                "Fill the other inputs: floats uniform in [-1, 1), integers and bools 0 or 1")
                     ->type_name("SEED");
  app.add_option("--random-range", ranges, "Range of a random integer input; once for each")
      ->type_name("NAME=LO..HI")
      ->allow_extra_args(false);
  app.add_option("--output", outputs, "Write an output; once for each")
      ->type_name("NAME=FILE.npy|.pb")
      ->allow_extra_args(false);
  app.add_option("--outputs", options.outputArchive, "Write all outputs by name")->type_name("FILE.npz");
  app.add_option("--dim", dims, "A dim that no input file determines; once for each")
      ->type_name("NAME=V")
      ->allow_extra_args(false);
  app.add_option("--comm", comm,
                 "Of a mesh: processes of MPI (as under mpirun), or threads; {rank} in names of files is theirs")
      ->type_name("mpi|loopback[:N]");
  app.add_option("--threads", options.threads, "Threads to use, at most the planned number (default: as planned)")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("N");
  app.add_option("--device", options.device, "Of a model for a GPU: the number of the device (default: 0; of a mesh each rank of a machine another one)")->type_name("N");
  app.add_flag("--cuda-graph", options.cudaGraph, "Of a model for CUDA: record the first run as a graph, and replay it");
  app.add_flag("--tune", options.tune, "Of a model for CUDA: time what libraries offer, and keep the fastest in MODEL.so.tune");
  app.add_option("--warmup", options.warmup, "Runs before those that are timed (default: 0)")->type_name("N");
  app.add_option("--repeat", options.repeat, "Runs that are timed (default: 1)")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("N");
  app.add_option("--stats", options.stats, "Write planned and measured bytes and latency as JSON")->type_name("FILE.json");
  app.add_flag("--profile", options.profile, "Print where the time of the timed runs went, by kernel");
  app.add_flag("--info", options.info, "Print what the model takes, gives and needs, and stop");
  bool measures = false;
  std::string links;
  app.add_flag("--measure-links", measures, "Measure what connects the processes of mpirun, and write it as a topology; takes no model");
  app.add_option("-o", links, "The topology to write")->type_name("FILE.json");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0) { // --help, --version
      app.exit(error);
      return std::nullopt;
    }
    throw CommandFailure(SNUG_EXIT_USAGE, std::string(error.what()) + " (see --help)");
  }
  if (measures != !links.empty() || (measures && !options.model.empty()))
    throw CommandFailure(SNUG_EXIT_USAGE, "write mpirun -n N snug-run --measure-links -o FILE.json, without a model (see --help)");
  options.links = links;
  if (options.model.empty() && !measures)
    throw CommandFailure(SNUG_EXIT_USAGE, "no model named; write snug-run MODEL.so (see --help)");
  readComm(comm, options);
  if (measures && options.comm == CommKind::Loopback)
    throw CommandFailure(SNUG_EXIT_USAGE, "--measure-links: threads of one process have no links; start one process on each device, with mpirun -n N");
  if (*random)
    options.randomSeed = seed;
  else if (!ranges.empty())
    throw CommandFailure(SNUG_EXIT_USAGE, "--random-range needs --random-inputs SEED");
  options.inputs = named("--input", inputs);
  options.outputs = named("--output", outputs);
  for (const auto &[name, value] : named("--dim", dims))
    options.dims[name] = integer("--dim " + name, value);
  for (const auto &[name, value] : named("--random-range", ranges)) {
    std::string flag = "--random-range " + name;
    size_t dots = value.find("..");
    if (dots == std::string::npos)
      throw CommandFailure(SNUG_EXIT_USAGE, flag + ": expected LO..HI");
    auto range = std::make_pair(integer(flag, value.substr(0, dots)), integer(flag, value.substr(dots + 2)));
    if (range.first > range.second)
      throw CommandFailure(SNUG_EXIT_USAGE, flag + ": " + value + " is empty");
    options.randomRanges[name] = range;
  }
  return options;
}
