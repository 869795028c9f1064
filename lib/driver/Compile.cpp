// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Compile.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/InitAll.h"
#include "lib/driver/Pipeline.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace snug;

namespace {
LogicalResult printDiagnostic(Diagnostic &diagnostic, bool verbose) {
  DiagnosticSeverity severity = diagnostic.getSeverity();
  if (severity == DiagnosticSeverity::Note || (severity == DiagnosticSeverity::Remark && !verbose))
    return success();
  const char *kind = severity == DiagnosticSeverity::Error     ? "error"
                     : severity == DiagnosticSeverity::Warning ? "warning"
                                                               : "remark";
  std::string name = nodeName(diagnostic.getLocation());
  llvm::errs() << "snugc: " << kind << ": " << (name.empty() ? "" : "node '" + name + "': ") << diagnostic.str() << "\n";
  return success();
}

nlohmann::json reportJson(const CompileOptions &options, const CompileReport &r) {
  nlohmann::json timing = nlohmann::json::object();
  for (const auto &[stage, ms] : r.timing)
    timing[stage] = ms;
  auto orNull = [](int64_t value) { return value < 0 ? nlohmann::json() : nlohmann::json(value); };
  nlohmann::json dims = nlohmann::json::object();
  for (const std::string &definition : options.dims) {
    size_t equals = definition.find('=');
    dims[definition.substr(0, equals)] = definition.substr(equals + 1);
  }
  return {{"snug", SNUG_VERSION},
          {"model", options.model},
          {"target", options.target},
          {"dims", dims},
          {"budget",
           {{"memory", orNull(r.memoryBudget)},
            {"activation", orNull(r.activationBudget)},
            {"least_reachable", orNull(r.leastReachable)}}},
          {"memory",
           {{"weights", r.weights},
            {"arena", r.arena},
            {"library", r.library},
            {"inputs", r.inputs},
            {"outputs", r.outputs},
            {"total", r.total()},
            {"unchunked_arena", r.unchunkedArena}}},
          {"bounds", {{"sched", r.schedBound}}},
          {"chunk_loops", nlohmann::json::parse(r.chunkLoops)},
          {"time_model", {{"unchunked_ms", r.chunkFigures.unchunkedMs}, {"chunked_ms", r.chunkFigures.chunkedMs}}},
          {"search",
           {{"ops", r.chunkFigures.ops},
            {"blocks", r.chunkFigures.blocks},
            {"distinct_blocks", r.chunkFigures.distinctBlocks},
            {"candidates", r.chunkFigures.candidates},
            {"ms", r.chunkFigures.searchMs}}},
          {"timing_ms", timing}};
}

// Written beside and renamed, so that no half-written file is ever seen.
int writeFile(const std::string &path, const std::string &text) {
  std::string temporary = path + ".tmp";
  std::error_code problem;
  {
    llvm::raw_fd_ostream os(temporary, problem);
    if (!problem) {
      os << text;
      os.close();
      problem = os.error();
    }
  }
  if (!problem)
    problem = llvm::sys::fs::rename(temporary, path);
  if (problem) {
    llvm::sys::fs::remove(temporary);
    llvm::errs() << "snugc: error: cannot write '" << path << "': " << problem.message() << "\n";
    return SNUG_EXIT_MACHINE;
  }
  return SNUG_EXIT_DONE;
}

void printSummary(const CompileReport &r) {
  llvm::errs() << "arena " << printBytes(r.arena);
  if (r.arena != r.unchunkedArena)
    llvm::errs() << " (unchunked " << printBytes(r.unchunkedArena) << ")";
  llvm::errs() << ", weights " << printBytes(r.weights) << ", inputs " << printBytes(r.inputs) << ", outputs "
               << printBytes(r.outputs) << ", total " << printBytes(r.total()) << "\n";
}

void printWhatFits(const WhatFits &fits) {
  llvm::errs() << "unchunked " << printBytes(fits.unchunked) << ", most at node '" << fits.peakNode << "'\n";
  auto line = [](const FitPoint &point) {
    llvm::errs() << llvm::format("--activation-budget %lldB", static_cast<long long>(point.arena)) << " ("
                 << printBytes(point.arena) << "): " << llvm::format("%.2fx", point.slowdown) << " the time";
  };
  for (const FitPoint &point : fits.between) {
    line(point);
    llvm::errs() << "\n";
  }
  line(fits.least);
  llvm::errs() << ", the least: node '" << fits.leastNode << "' is in the way\n";
}
} // namespace

int snug::compile(const CompileOptions &options) {
  bool writes = !options.dryRun && options.emit == Stage::Library;
  if (writes && options.output.empty()) {
    llvm::errs() << "snugc: error: no output named; add -o FILE.so (or --dry-run)\n";
    return SNUG_EXIT_USAGE;
  }
  DialectRegistry registry;
  registerAllSnugDialects(registry);
  MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &d) { return printDiagnostic(d, options.verbose); });
  CompileReport report;
  Pipeline pipeline(context, options, report);
  int code = pipeline.run();
  if (!options.report.empty() && (code == SNUG_EXIT_DONE || code == SNUG_EXIT_BUDGET))
    if (int written = writeFile(options.report, reportJson(options, report).dump(2) + "\n"))
      return written;
  if (code != SNUG_EXIT_DONE)
    return code;
  if (!writes && !options.dryRun) {
    pipeline.module()->print(llvm::outs(), OpPrintingFlags().enableDebugInfo(options.verbose));
    llvm::outs() << "\n";
  } else {
    printSummary(report);
    if (options.dryRun)
      printWhatFits(report.whatFits);
  }
  if (options.timeReport)
    for (const auto &[stage, ms] : report.timing)
      llvm::errs() << llvm::format("%12s %9.1f ms\n", stage.c_str(), ms);
  if (!options.depfile.empty())
    return writeFile(options.depfile, options.output + ": " + options.model + "\n");
  return SNUG_EXIT_DONE;
}
