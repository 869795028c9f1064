// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Options.h"
#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>

using namespace snug;

const char *snug::stageName(Stage stage) {
  switch (stage) {
#define SNUG_STAGE(Enumerator, Name, Text)                                                                             \
  case Stage::Enumerator:                                                                                              \
    return Name;
#include "lib/driver/Stages.def"
  }
  return "";
}

std::string snug::shellWord(const std::string &word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                              "_-+=./,:@%") == std::string::npos)
    return word;
  std::string quoted = word;
  for (size_t at = 0; (at = quoted.find('\'', at)) != std::string::npos; at += 4)
    quoted.replace(at, 1, "'\\''");
  return "'" + quoted + "'";
}

std::string snug::printable(const std::string &text) {
  std::string result;
  for (unsigned char c : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\x%02x", c);
    result += c < 0x20 || c == 0x7f ? code : std::string(1, static_cast<char>(c));
  }
  return result;
}

std::string snug::commandText(const CompileOptions &options) {
  std::string text;
  for (const std::string &word : options.command)
    text += (text.empty() ? "" : " ") + shellWord(word);
  return text;
}

// The stages that leave IR, in order. The last one leaves the library, and is what happens without --emit.
static std::string stageNames() {
  std::string names;
#define SNUG_STAGE(Enumerator, Name, Text)                                                                             \
  if (Stage::Enumerator != Stage::Library)                                                                             \
    names += std::string(names.empty() ? "" : ", ") + Name;
#include "lib/driver/Stages.def"
  return names;
}

static Stage parseStage(const std::string &name) {
#define SNUG_STAGE(Enumerator, Name, Text)                                                                             \
  if (name == Name)                                                                                                    \
    return Stage::Enumerator;
#include "lib/driver/Stages.def"
  throw CLI::ValidationError("--emit", "there is no stage '" + name + "'; the stages are " + stageNames());
}

int64_t snug::parseBytes(const std::string &text, std::string &error) {
  static const std::map<std::string, double> units = {
      {"B", 1}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
  size_t end = 0;
  double number = -1;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception &) {
    end = 0;
  }
  auto unit = units.find(text.substr(end));
  if (end == 0 || unit == units.end() || !(number >= 0) || !std::isfinite(number) || number * unit->second > 9e15) {
    error = "'" + text + "' is no amount of memory; write a number and B, KiB, MiB or GiB, as in 512MiB";
    return -1;
  }
  return static_cast<int64_t>(number * unit->second);
}

std::string snug::printBytes(int64_t bytes) {
  const char *units[] = {"B", "KiB", "MiB", "GiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 3) {
    value /= 1024;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

// "2x4": two whole numbers.
static std::optional<std::array<int64_t, 2>> parsePair(const std::string &text) {
  std::array<int64_t, 2> pair{0, 0};
  const char *end = text.data() + text.size();
  const char *middle = std::from_chars(text.data(), end, pair[0]).ptr;
  if (middle == end || *middle != 'x' || std::from_chars(middle + 1, end, pair[1]).ptr != end || middle + 1 == end)
    return std::nullopt;
  return pair;
}

static std::array<int64_t, 2> parseMesh(const std::string &text) {
  auto mesh = parsePair(text);
  if (!mesh || (*mesh)[0] < 1 || (*mesh)[1] < 1 || (*mesh)[0] > kMostDevices || (*mesh)[1] > kMostDevices / (*mesh)[0])
    throw CLI::ValidationError("--mesh", "'" + text + "' is no mesh; write the devices along its two axes, as in 2x4, at most " +
                                             std::to_string(kMostDevices) + " in all, or auto, or least");
  return *mesh;
}

// NAME=DIM:AXIS, where a name may have both signs.
static void addPin(const std::string &text, CompileOptions &o) {
  auto wrong = [&](const std::string &why) { throw CLI::ValidationError("--shard", "'" + printable(text) + "' " + why); };
  size_t colon = text.rfind(':'), equals = text.rfind('=', colon);
  auto number = [&](size_t from, size_t to) {
    int64_t value = -1;
    const char *begin = text.data() + from, *end = text.data() + to;
    auto [at, error] = std::from_chars(begin, end, value);
    return error == std::errc() && at == end && from < to ? value : -1;
  };
  bool isWhole = colon != std::string::npos && equals != std::string::npos && equals > 0 && equals < colon;
  int64_t dim = isWhole ? number(equals + 1, colon) : -1, axis = isWhole ? number(colon + 1, text.size()) : -1;
  if (dim < 0 || axis < 0)
    wrong("does not say which dim is cut along which axis of the mesh; write NAME=DIM:AXIS, as in x=1:0");
  if (axis > 1)
    wrong("names axis " + std::to_string(axis) + "; a mesh has the axes 0 and 1");
  auto &dims = o.pins.try_emplace(text.substr(0, equals), std::array<int64_t, 2>{-1, -1}).first->second;
  if (dims[size_t(axis)] >= 0)
    wrong("says for the second time what is cut along axis " + std::to_string(axis) + "; leave one out");
  dims[size_t(axis)] = dim;
}

static void addBudget(CLI::App &app, const std::string &flag, Budget &budget, bool percent, const std::string &help) {
  app.add_option_function<std::string>(
         flag,
         [&budget, percent, flag](const std::string &text) {
           std::string error;
           if (percent && !text.empty() && text.back() == '%') {
             char *end = nullptr;
             budget.percent = std::strtod(text.c_str(), &end);
             if (*end != '%' || !(budget.percent > 0 && budget.percent <= 100))
               throw CLI::ValidationError(flag, "'" + text + "' is no share; write 1% to 100%");
             return;
           }
           budget.bytes = parseBytes(text, error);
           if (budget.bytes < 0)
             throw CLI::ValidationError(flag, error);
         },
         help)
      ->type_name(percent ? "BYTES|N%" : "BYTES");
}

void snug::bindOptions(CLI::App &app, CompileOptions &o) {
  // Required, but not said so here: CLI11 would name it before a flag that it does not know.
  app.add_option("MODEL", o.model, "The .onnx file to compile")->type_name("");
  app.add_option("-o,--output", o.output, "The library to write; its weights go beside it")->type_name("OUT.so");
  app.add_option("--target", o.target,
                 "What computes: cpu (default), cuda for GPUs of NVIDIA, or cuda:CHIP[,CHIP...] like cuda:sm_90")
      ->type_name("T");
  app.add_option("--cuda-toolkit", o.cudaToolkit, "Folder of the CUDA toolkit, for --target cuda (default: where it is commonly found)")
      ->type_name("DIR");
  app.add_option_function<std::string>(
         "--gpu-libraries",
         [&o](const std::string &text) {
           o.gpuLibraries.clear();
           for (const std::string &name : CLI::detail::split(text, ',')) {
             if (name != "cublaslt" && name != "cudnn" && (name != "none" || text != "none"))
               throw CLI::ValidationError("--gpu-libraries", "'" + printable(text) + "' is no list of libraries; write cublaslt, cudnn, both "
                                                                                     "with a comma between them, or none");
             if (name != "none")
               o.gpuLibraries.push_back(name);
           }
         },
         "Libraries of NVIDIA's that a model for GPUs may call, or none (default: cublaslt,cudnn)")
      ->type_name("NAME,...|none");
  app.add_option("--precision", o.precision,
                 "Type in which products of f32 are made: f32 (default), or tf32, less exact and faster, on GPUs")
      ->type_name("f32|tf32");
  app.add_option("--march", o.march, "CPU whose instructions may be used, as LLVM names it (default: native)")
      ->type_name("M");
  app.add_option("--threads", o.threads, "Threads that a run may use at most (default: this machine's)")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N");
  app.add_option("--machine", o.machineFile,
                 "What the time model knows of the machine, from --calibrate (default: a built-in table per --march)")
      ->type_name("FILE.json");
  app.add_flag("--calibrate", o.calibrate, "Measure this machine with small kernels and write -o FILE.json for --machine");
  app.add_option_function<std::string>(
         "--mesh",
         [&o](const std::string &text) {
           o.anyMesh = text == "auto";
           o.leastMesh = text == "least";
           if (!o.anyMesh && !o.leastMesh)
             o.mesh = parseMesh(text);
         },
         "Cuts the model for so many devices along two axes, as 2x4; budgets are for each")
      ->type_name("AxB|auto|least");
  app.add_option_function<std::vector<std::string>>(
         "--shard", [&o](const std::vector<std::string> &texts) {
           for (const std::string &text : texts)
             addPin(text, o);
         },
         "Each device has a part of this dim of an input, output, weight or other tensor; once for each axis")
      ->type_name("NAME=DIM:AXIS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--mesh-family",
         [&o](const std::string &text) {
           o.meshFamily = familyOf(text);
           if (!o.meshFamily)
             throw CLI::ValidationError("--mesh-family", "'" + text + "' is no family; write free, 1d, hierarchical, column-first or "
                                                                      "row-first");
         },
         "How matrices of weights are cut: free (default), 1d, hierarchical, column-first, row-first")
      ->type_name("FAMILY");
  app.add_option("--mesh-mix", o.meshMix,
                 "Runs that the mesh is chosen for: how often, and their dims; once for each kind of run")
      ->type_name("RUNS:DIM=V[,DIM=V...]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--topology", o.topologyFile, "What connects these devices: a file, or a preset (default: links all alike)")
      ->type_name("FILE.json|PRESET");
  app.add_option_function<std::string>(
         "--ring-attention",
         [&o](const std::string &text) {
           o.ringAttention = ringAttentionOf(text);
           if (!o.ringAttention)
             throw CLI::ValidationError("--ring-attention", "'" + text + "' is none of auto, off, on");
         },
         "Whether keys go round where rows of an attention are cut (default: auto, where that is faster)")
      ->type_name("auto|off|on");
  app.add_flag("--replicate-weights", o.replicateWeights, "Allows matrices of weights on several devices as a whole, where that is faster");
  app.add_option_function<std::string>(
         "--overlap",
         [&o](const std::string &text) {
           static const std::map<std::string, int> known{{"auto", 0}, {"off", 1}, {"1", 1}, {"2", 2}, {"4", 4}, {"8", 8}};
           auto found = known.find(text);
           if (found == known.end())
             throw CLI::ValidationError("--overlap", "'" + text + "' is none of auto, off, 1, 2, 4, 8");
           o.overlap = found->second;
         },
         "Pieces of kernels that compute while others are sent (default: auto, by the model)")
      ->type_name("auto|off|C");
  addBudget(app, "--memory-budget", o.memoryBudget, false,
            "Bound on weights + arena + library + inputs + outputs, as in 512MiB (B, KiB, MiB, GiB)");
  addBudget(app, "--activation-budget", o.activationBudget, true,
            "Bound on the arena, or a share of the unchunked arena");
  app.add_option("--dim", o.dims, "Fixes or bounds a named dim; once for each. max: the most that fits the budgets")
      ->type_name("NAME=V|A..B[:STEP]|max")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--value", o.values, "Elements of an input that decides shapes, in row-major order, or ranges A..B of them; once for each")
      ->type_name("NAME=V[,V...]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--text-bytes",
         [&o](const std::string &text) {
           std::string error;
           o.textBytes = parseBytes(text, error);
           if (o.textBytes < 0)
             throw CLI::ValidationError("--text-bytes", error);
         },
         "Room for the strings that a run makes, if the model makes any (default: 1MiB)")
      ->type_name("BYTES");
  app.add_option("--text-pieces", o.textPieces,
                 "Pieces that StringSplit or Tokenizer can give, where the model does not say how many (default: 64)")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->type_name("N");
  app.add_option_function<std::string>(
         "--image-size",
         [&o](const std::string &text) {
           constexpr int64_t most = 1 << 20;
           auto size = parsePair(text);
           if (!size || (*size)[0] < 1 || (*size)[0] > most || (*size)[1] < 1 || (*size)[1] > most)
             throw CLI::ValidationError("--image-size", "'" + text + "' is no HEIGHTxWIDTH, each from 1 to " + std::to_string(most));
           o.imageSize = {(*size)[0], (*size)[1]};
         },
         "The largest image that ImageDecoder can give, where the model does not state its size")
      ->type_name("HEIGHTxWIDTH");
  app.add_option("--donate", o.donated, "An input that a run may overwrite, so as to need less memory; once for each")
      ->type_name("NAME")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--emit", [&o](const std::string &name) { o.emit = parseStage(name); },
         "Stop after a stage and print its IR: " + stageNames())
      ->type_name("STAGE");
  app.add_flag("--dry-run", o.dryRun,
               "Say what a run would need and which budgets can be met; read no weights, write no library");
  app.add_flag("--check", o.check, "List all that is not supported of the model; exit code 0 if there is nothing, else 3");
  app.add_flag("--list-ops", o.listOps, "Print the ops that are supported");
  auto *sweep = app.add_flag("--budget-sweep", o.budgetSweep,
                             "Print budgets from unchunked to the least that can be reached, and what keeping them costs");
  app.add_flag("--measure", o.measure, "Of --budget-sweep, compile and run the model at each budget")->needs(sweep);
  app.add_option("--report", o.reports,
                 "Write the plan and what led to it, as a page to look at (.html) or as JSON; may be given twice")
      ->type_name("FILE.json|.html")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--depfile", o.depfile, "Write a Makefile rule naming the files read")->type_name("FILE");
  app.add_option("--save-temps", o.saveTemps, "Write the program after each stage to a folder")->type_name("DIR");
  app.add_flag("--time-report", o.timeReport, "Print the time of each stage");
  app.add_flag("-v,--verbose", o.verbose, "Print remarks of the stages, and the chunk loops");
}
