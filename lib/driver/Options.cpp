// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Options.h"
#include <CLI/CLI.hpp>
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
  app.add_option("model", o.model, "The .onnx file to compile")->required();
  app.add_option("-o,--output", o.output, "The library to write; its weights go beside it");
  app.add_option("--target", o.target, "Machine to compile for")->check(CLI::IsMember({"cpu"}))->capture_default_str();
  app.add_option("--march", o.march, "CPU whose instructions may be used")->capture_default_str();
  app.add_option("--threads", o.threads, "Threads that a run may use at most (default: this machine's)")
      ->check(CLI::Range(1, 1024));
  addBudget(app, "--memory-budget", o.memoryBudget, false,
            "Bound on weights + arena + library + inputs + outputs (B, KiB, MiB, GiB)");
  addBudget(app, "--activation-budget", o.activationBudget, true, "Bound on the arena, or a share of the unchunked arena");
  app.add_option("--dim", o.dims, "Fixes or bounds a named dim: NAME=VALUE or NAME=MIN..MAX[:STEP]; repeatable")
      ->type_name("NAME=V|A..B")
      ->allow_extra_args(false);
  std::map<std::string, Stage> stages = {
#define SNUG_STAGE(Enumerator, Name, Text) {Name, Stage::Enumerator},
#include "lib/driver/Stages.def"
  };
  app.add_option("--emit", o.emit, "Stop after a stage and print its IR")
      ->transform(CLI::CheckedTransformer(stages))
      ->type_name("STAGE");
  app.add_option("--report", o.report, "Write a report of the plan as JSON");
  app.add_option("--depfile", o.depfile, "Write a Makefile rule naming the files read");
  app.add_flag("--dry-run", o.dryRun, "Plan only: print what a run would need, write nothing");
  app.add_flag("--time-report", o.timeReport, "Print the time of each stage");
  app.add_flag("-v,--verbose", o.verbose, "Print remarks of the stages");
}
