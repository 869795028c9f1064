// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/MeasureSweep.h"
#include "lib/driver/Pipeline.h"
#include "mlir/IR/Diagnostics.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace snug;
using nlohmann::operator""_json_pointer;

static int fail(const CompileOptions &options, int code, const Twine &message) {
  return options.console.fail(code, "--measure: " + message);
}

// Other work on the machine comes and goes: what is compared runs side by side, in as many rounds.
constexpr int kRounds = 3;

// Of one process; short runs more often.
static int timedRuns(double expectedMs) { return std::clamp(static_cast<int>(300 / std::max(expectedMs, 1.0)), 1, 20); }

static double median(std::vector<double> values) {
  llvm::sort(values);
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

static std::string findRunner() {
  int here = 0;
  std::string self = llvm::sys::fs::getMainExecutable(nullptr, &here);
  StringRef folder = llvm::sys::path::parent_path(self);
  if (auto beside = llvm::sys::findProgramByName("snug-run", {folder}))
    return *beside;
  auto onPath = llvm::sys::findProgramByName("snug-run");
  return onPath ? *onPath : "";
}

// NAME=B of each bounded dim NAME=A..B[:STEP], the largest that its steps reach.
static std::vector<std::string> largestDims(const CompileOptions &options) {
  std::vector<std::string> dims;
  for (StringRef definition : options.dims) {
    auto [name, range] = definition.split('=');
    if (!range.contains(".."))
      continue;
    auto [lower, rest] = range.split("..");
    auto [upper, stepText] = rest.split(':');
    int64_t low = 0, high = 0, step = 1;
    if (lower.trim().getAsInteger(10, low) || upper.trim().getAsInteger(10, high))
      continue;
    if (stepText.trim().getAsInteger(10, step) || step < 1)
      step = 1;
    dims.push_back((name.trim() + "=" + Twine(low + (high - low) / step * step)).str());
  }
  return dims;
}

namespace {
class Sweep {
public:
  Sweep(MLIRContext &context, const CompileOptions &options, std::string runner, std::string folder)
      : context(context), options(options), runner(std::move(runner)), folder(std::move(folder)) {}

  // The first point is what the others are compared with.
  int measure(std::vector<FitPoint> &points) {
    for (size_t i = 0; i < points.size(); ++i) {
      FitPoint &point = points[i];
      std::string library = at(i == 0 ? "first.so" : "point.so");
      if (int code = compile(point.budget, library))
        return code;
      std::vector<double> times, ratios;
      for (int round = 0; round < kRounds; ++round) {
        double first = 0, ms = 0;
        if (i > 0)
          if (int code = run(at("first.so"), points[0], first))
            return code;
        if (int code = run(library, point, ms))
          return code;
        times.push_back(ms);
        ratios.push_back(i > 0 ? ms / first : 1);
      }
      point.measuredMs = median(times);
      point.measuredSlowdown = median(ratios);
    }
    return SNUG_EXIT_DONE;
  }

private:
  std::string at(StringRef name) const {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }

  int compile(int64_t budget, const std::string &library) {
    CompileOptions one = options;
    one.output = library;
    one.activationBudget = {budget, -1};
    one.memoryBudget = {};
    one.emit = Stage::Library;
    one.reports.clear();
    one.saveTemps.clear();
    one.dryRun = one.budgetSweep = one.measure = one.verbose = false;
    // What there is to remark was remarked when the curve was made.
    ScopedDiagnosticHandler quiet(&context, [](Diagnostic &diagnostic) {
      return success(diagnostic.getSeverity() != DiagnosticSeverity::Error);
    });
    CompileReport report;
    return Pipeline(context, one, report).run();
  }

  int run(const std::string &library, const FitPoint &point, double &ms) {
    std::string stats = at("stats.json"), output = at("out.txt"), error;
    std::string repeat = std::to_string(timedRuns(point.ms));
    std::vector<std::string> words = {runner,     library, "--random-inputs", "1",  "--warmup", "1",
                                      "--repeat", repeat,  "--stats",         stats};
    for (const std::string &dim : largestDims(options))
      words.insert(words.end(), {"--dim", dim});
    SmallVector<StringRef> arguments(words.begin(), words.end());
    int status = llvm::sys::ExecuteAndWait(runner, arguments, std::nullopt,
                                           {StringRef(""), StringRef(output), StringRef(output)}, 0, 0, &error);
    auto said = llvm::MemoryBuffer::getFile(output);
    if (status != 0)
      return fail(options, status > 0 ? status : SNUG_EXIT_RUN,
                  "snug-run failed with the arena at " + printBytes(point.budget) + ": " +
                      (error.empty() && said ? (*said)->getBuffer().trim().str() : error));
    auto text = llvm::MemoryBuffer::getFile(stats);
    nlohmann::json json =
        nlohmann::json::parse(text ? (*text)->getBuffer().str() : "", nullptr, /*allow_exceptions=*/false);
    ms = json.is_object() ? json.value("/latency_ms/median"_json_pointer, -1.0) : -1;
    if (ms <= 0)
      return fail(options, SNUG_EXIT_FAULT, "snug-run wrote no latency that can be read");
    return SNUG_EXIT_DONE;
  }

  MLIRContext &context;
  const CompileOptions &options;
  std::string runner, folder;
};
} // namespace

int snug::measureSweep(MLIRContext &context, const CompileOptions &options, CompileReport &report) {
  std::string runner = findRunner();
  if (runner.empty())
    return fail(options, SNUG_EXIT_MACHINE,
                "there is no snug-run beside snugc or on the PATH; install it, or leave --measure out");
  llvm::SmallString<128> folder;
  if (std::error_code code = llvm::sys::fs::createUniqueDirectory("snugc-sweep", folder))
    return fail(options, SNUG_EXIT_MACHINE,
                "cannot make a temporary folder: " + code.message() + "; set TMPDIR to one with room");
  llvm::scope_exit remove([&] { llvm::sys::fs::remove_directories(folder); });
  return Sweep(context, options, runner, folder.str().str()).measure(report.fits->points);
}
