// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_OPTIONS_H
#define SNUG_TOOLS_SNUG_RUN_OPTIONS_H

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace snug {

// What connects the devices of a mesh. Unstated: MPI where it started several processes.
enum class CommKind { Unstated, Mpi, Loopback };

// The command line of snug-run; Options.cpp binds each to its flag.
struct RunOptions {
  std::string model;
  std::map<std::string, std::string> inputs;                       // name -> .npy or .pb
  std::string inputArchive;                                        // .npz
  std::optional<uint64_t> randomSeed;                              // for inputs that no file gives
  std::map<std::string, std::pair<int64_t, int64_t>> randomRanges; // integer inputs: lo, hi
  std::map<std::string, std::string> outputs;                      // name -> .npy
  std::string outputArchive;                                       // .npz
  std::set<std::string> ownFiles; // of these, those that are one rank's own: they hold its part of a tensor
  std::map<std::string, int64_t> dims;
  uint32_t threads = 0; // 0: as planned
  std::optional<uint32_t> device; // of a model for a GPU; else that of the rank
  bool cudaGraph = false, tune = false;
  uint32_t warmup = 0, repeat = 1;
  std::string stats; // .json
  CommKind comm = CommKind::Unstated;
  uint32_t loopbackRanks = 0; // 0: as many as the model has devices
  bool info = false, profile = false;
  std::string links; // .json: measure, and run no model
};

// Parses the command line; throws CommandFailure (SNUG_EXIT_USAGE). Without a value, help or version was printed and all is
// done.
std::optional<RunOptions> parseOptions(int argc, char **argv);

} // namespace snug

#endif
