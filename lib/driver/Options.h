// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a user can ask of the compiler: stated once, bound to flags by bindOptions, used by the command line and the
// API.
#ifndef SNUG_LIB_DRIVER_OPTIONS_H
#define SNUG_LIB_DRIVER_OPTIONS_H

#include "lib/driver/Console.h"
#include "lib/solver/Machine.h"
#include "lib/solver/MeshPrices.h"
#include "lib/solver/Topology.h"
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace snug {

enum class Stage {
#define SNUG_STAGE(Enumerator, Name, Text) Enumerator,
#include "lib/driver/Stages.def"
};
const char *stageName(Stage stage);

// A number of bytes, or a share of the best unchunked arena.
struct Budget {
  int64_t bytes = -1; // -1: none
  double percent = -1;
  bool isSet() const { return bytes >= 0 || percent >= 0; }
};

struct CompileOptions {
  std::vector<std::string> command; // the words of the command line, for messages that print one to copy
  std::string model;                // path of the .onnx file
  std::optional<std::string_view> modelBytes; // what is in that file, where the caller has it in memory; it need not exist
  Console console;                  // where messages and programs go
  std::string output;               // path of the library to write
  std::string target = "cpu";       // the machine to compile for
  std::string cudaToolkit;          // folder; empty: where it is commonly found
  int gpuCapability = 0;            // of the oldest GPU that `target` names (90 of sm_90); 0: a CPU computes
  std::vector<std::string> gpuLibraries{"cublaslt", "cudnn"}; // that a model for GPUs may call
  std::string precision = "f32";    // type in which products of f32 are made; one that the target has
  std::string march = "native";     // CPU whose instructions may be used
  int threads = 0;                  // planned threads; 0: this machine's
  std::string machineFile;          // path of a machine file for the time model; empty: a built-in machine
  Machine machine;                  // what is in that file, or the built-in one; set by chooseMachine
  bool calibrate = false;           // measure this machine and write its file; no model then
  std::array<int64_t, 2> mesh = {1, 1}; // devices along the axes of the mesh to cut the model for
  bool anyMesh = false;             // whatever mesh of the topology's devices is fastest, of those that fit
  bool leastMesh = false;           // of as few devices as fit
  std::optional<MeshFamily> meshFamily; // how matrices of weights are cut for it; nothing said: freely
  std::vector<std::string> meshMix; // RUNS:DIM=V[,DIM=V...]: what runs the mesh is chosen for
  std::map<std::string, std::array<int64_t, 2>> pins; // tensors to be in parts: of each the dim along each axis, or -1
  bool triesMeshes = false;         // this mesh is one of several: that it cannot be had is nothing to speak of
  std::string topologyFile;         // path of a topology file, or name of a preset; empty: all links are alike
  Topology topology;                // what that says; set by chooseTopology
  std::optional<RingAttention> ringAttention; // whether keys go round where rows of an attention are cut
  bool replicateWeights = false;    // matrices may be on several devices as a whole
  int overlap = 0;                  // pieces of kernels whose collectives run meanwhile; 0: by the model, 1: none
  Budget memoryBudget;              // bounds weights + arena + library + inputs + outputs
  Budget activationBudget;          // bounds the arena alone
  std::vector<std::string> dims;    // NAME=V or NAME=A..B[:STEP]; max for V or B
  std::vector<std::string> values;  // NAME=V[,V...]: inputs whose elements are known
  int64_t textBytes = 1 << 20;      // room for the strings that a run makes
  int64_t textPieces = 64;          // into how many a run can split a string
  std::vector<int64_t> imageSize;   // largest height and width of images, where the model states none; or none
  std::vector<std::string> donated; // inputs that a run may overwrite
  Stage emit = Stage::Library;      // last stage to run; its IR goes to standard output
  std::vector<std::string> reports; // paths of reports: a page for .html, else JSON
  std::string depfile;              // path of a Makefile rule naming all files read
  std::string saveTemps;            // folder for the program after each stage
  bool listOps = false;             // print the ops that are supported; no model then
  bool check = false;               // list all that is not supported of the model, and do nothing else
  bool dryRun = false;              // plan only: print what a run would need
  bool budgetSweep = false;         // print the curve of budgets and what they cost
  bool measure = false;             // run the model at each point of that curve
  bool timeReport = false;          // print the time of each stage
  bool verbose = false;             // print remarks: chunk loops and their effect
};

// Declares all flags on `app`, writing to `options`. Conversion errors are CLI::ValidationError with a remedy.
void bindOptions(CLI::App &app, CompileOptions &options);

// A word as a shell takes it: quoted where it holds more than letters, digits and a few signs.
std::string shellWord(const std::string &word);
// Text from a model's file, for a terminal: control characters as \xNN.
std::string printable(const std::string &text);
// The command as it can be typed into a shell again.
std::string commandText(const CompileOptions &options);

// "512MiB" -> bytes; units B, KiB, MiB, GiB. -1 and `error` on anything else.
int64_t parseBytes(const std::string &text, std::string &error);
// 536870912 -> "512.0 MiB"
std::string printBytes(int64_t bytes);

} // namespace snug

#endif
