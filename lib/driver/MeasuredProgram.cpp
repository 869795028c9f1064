// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/MeasuredProgram.h"
#include "codegen/Codegen.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "passes/fuse/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include "snug/Runtime.h"
#include "llvm/Support/FileSystem.h"
#include <algorithm>
#include <chrono>
#include <ctime>

using namespace mlir;
using namespace snug;

// A measurement takes at least so many runs, and ends when none was faster than those before for a while.
static constexpr int kLeastRuns = 8;
static constexpr std::chrono::milliseconds kSettled(250), kSettledTogether(750), kLongest(3000);

static std::string messageOf(snug_error *error) {
  std::string message = snug_error_message(error);
  snug_error_destroy(error);
  return message;
}

MeasuredProgram::MeasuredProgram(MLIRContext &context, const std::string &text, const std::string &folder, int threads,
                                 bool fuse) {
  static int count = 0; // a library that is still open must not be written over
  library = folder + "/program" + std::to_string(count++) + ".so";
  if (compile(context, text, threads, fuse))
    load();
}

MeasuredProgram::~MeasuredProgram() {
  snug_model_release(model);
  llvm::sys::fs::remove(library);
  llvm::sys::fs::remove(library + ".safetensors");
}

bool MeasuredProgram::compile(MLIRContext &context, const std::string &text, int threads, bool fuse) {
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &d) {
    if (d.getSeverity() == DiagnosticSeverity::Error && failure.empty())
      failure = d.str();
    return success();
  });
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
  if (!module)
    return false;
  (*module)->setAttr("snug.threads", Builder(&context).getI64IntegerAttr(threads));
  PassManager manager(&context);
  if (fuse)
    manager.addNestedPass<func::FuncOp>(createFuse());
  manager.addPass(createSchedule());
  manager.addPass(createPlaceParts());
  manager.addPass(createBufferize());
  manager.addPass(createPlanArena());
  manager.addPass(createVerifyPlan());
  CodegenOptions codegen;
  codegen.outputPath = library;
  codegen.threads = threads;
  CodegenReport report;
  return succeeded(manager.run(*module)) && succeeded(compileToLibrary(*module, codegen, report));
}

bool MeasuredProgram::load() {
  if (snug_error *error = snug_model_load(library.c_str(), &model)) {
    failure = messageOf(error);
    return false;
  }
  auto elements = [](const snug_value_info *info) {
    int64_t count = 1;
    for (int32_t dim = 0; dim < info->rank; ++dim)
      count *= info->extents[dim].offset;
    return static_cast<size_t>(count);
  };
  for (uint32_t i = 0; i < snug_model_num_inputs(model); ++i)
    inputs.emplace_back(elements(snug_model_input(model, i)), 0.5f);
  for (uint32_t i = 0; i < snug_model_num_outputs(model); ++i)
    outputs.emplace_back(elements(snug_model_output(model, i)));
  return true;
}

double MeasuredProgram::seconds(int threads) {
  if (!failure.empty())
    return 0;
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.num_threads = static_cast<uint32_t>(threads);
  snug_context *context = nullptr;
  if (snug_error *error = snug_context_create(model, &options, &context)) {
    failure = messageOf(error);
    return 0;
  }
  std::vector<std::vector<int64_t>> shapes;
  std::vector<DLTensor> tensors;
  auto add = [&](std::vector<float> &data, const snug_value_info *info) {
    shapes.emplace_back();
    for (int32_t dim = 0; dim < info->rank; ++dim)
      shapes.back().push_back(info->extents[dim].offset);
    tensors.push_back({data.data(), {kDLCPU, 0}, info->rank, {kDLFloat, 32, 1}, nullptr, nullptr, 0});
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    add(inputs[i], snug_model_input(model, i));
  for (size_t i = 0; i < outputs.size(); ++i)
    add(outputs[i], snug_model_output(model, i));
  std::vector<const DLTensor *> pointers;
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].shape = shapes[i].data();
    pointers.push_back(&tensors[i]);
  }
  using Clock = std::chrono::steady_clock;
  // Of one thread the time that it computed, not that in which others had its core.
  auto now = [&] {
    timespec time;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  // Several threads need a moment in which all of them are left alone.
  std::chrono::milliseconds settled = threads == 1 ? kSettled : kSettledTogether;
  double best = 0;
  std::vector<double> all;
  Clock::time_point begin = Clock::now(), improved = begin;
  for (int run = 0; run <= kLeastRuns || (Clock::now() - improved < settled && Clock::now() - begin < kLongest);
       ++run) {
    double start = now();
    if (snug_error *error =
            snug_run(context, pointers.data(), inputs.size(), pointers.data() + inputs.size(), outputs.size())) {
      failure = messageOf(error);
      break;
    }
    double took = now() - start;
    if (run == 0) // it warms up
      continue;
    if (run == 1 || took < 0.99 * best)
      improved = Clock::now();
    best = run == 1 ? took : std::min(best, took);
    all.push_back(took);
  }
  snug_context_destroy(context);
  if (!failure.empty() || all.empty())
    return 0;
  // One of the fastest, but not the very fastest: clocks of virtual machines jump now and then.
  auto low = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 10);
  std::nth_element(all.begin(), low, all.end());
  return *low;
}
