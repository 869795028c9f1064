// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ActivationPlan.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/DrawMemory.h"
#include "lib/solver/ArenaPacker.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include <chrono>
#include <cmath>

using namespace mlir;
using namespace snug;

static int64_t numberOf(ModuleOp module, StringRef name) {
  auto attribute = module->getAttrOfType<IntegerAttr>(name);
  return attribute ? attribute.getInt() : 0;
}

int64_t snug::plannedArena(ModuleOp scheduled, std::optional<MemoryPicture> *picture) {
  OwningOpRef<ModuleOp> copy(scheduled.clone());
  PassManager manager(scheduled.getContext());
  manager.addPass(createBufferize());
  manager.addPass(createPlanArena());
  manager.addPass(createVerifyPlan());
  if (failed(manager.run(*copy)))
    return -1;
  if (picture)
    *picture = drawMemory(*copy);
  return numberOf(*copy, "snug.arena_bytes");
}

int64_t snug::eagerArena(ModuleOp canonical) {
  ScopedDiagnosticHandler quiet(canonical.getContext(), [](Diagnostic &) { return success(); });
  OwningOpRef<ModuleOp> copy(canonical.clone());
  PassManager manager(canonical.getContext());
  manager.addPass(createSchedule());
  auto main = succeeded(manager.run(*copy)) ? copy->lookupSymbol<func::FuncOp>("main") : func::FuncOp();
  if (!main)
    return -1;
  IndexBounds bounds(*copy);
  auto liveness = Liveness::compute(main, [&](Value value) { return tensorBytes(value, bounds); });
  if (failed(liveness))
    return -1;
  ArenaProblem problem;
  for (const TensorBuffer &buffer : liveness->buffers)
    if (buffer.inArena && buffer.upper > buffer.lower)
      problem.buffers.push_back(
          {static_cast<int64_t>(problem.buffers.size()), buffer.bytes, buffer.lower, buffer.upper, 64});
  std::optional<ArenaSolution> solution = packArena(problem);
  return solution ? solution->capacity : -1;
}

// Chunks a copy to `peak` live bytes (-1: as few as can be reached) and plans its arena.
static std::optional<ActivationPlan> tryPeak(ModuleOp scheduled, int64_t peak, int threads, bool loosen = true) {
  // What the search says of a peak that it cannot reach is said once, by who asked, in terms of the arena.
  ScopedDiagnosticHandler quiet(scheduled.getContext(), [](Diagnostic &) { return success(); });
  ActivationPlan plan;
  plan.program = OwningOpRef<ModuleOp>(scheduled.clone());
  SelectChunksOptions select;
  select.activationBudget = peak;
  select.threads = threads;
  select.loosen = loosen;
  PassManager manager(scheduled.getContext());
  manager.addPass(createSelectChunks(select));
  auto start = std::chrono::steady_clock::now();
  if (failed(manager.run(*plan.program)))
    return std::nullopt;
  std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  plan.figures.searchMs = took.count();
  if (auto attributes = (*plan.program)->getAttrOfType<DictionaryAttr>("snug.chunk_figures")) {
    auto number = [&](StringRef name) { return attributes.getAs<IntegerAttr>(name).getInt(); };
    auto ms = [&](StringRef name) { return attributes.getAs<FloatAttr>(name).getValueAsDouble(); };
    plan.figures.ops = number("ops");
    plan.figures.blocks = number("blocks");
    plan.figures.distinctBlocks = number("distinct_blocks");
    plan.figures.candidates = number("candidates");
    plan.figures.lb1 = number("lb1");
    plan.figures.lb2 = number("lb2");
    plan.figures.unchunkedMs = ms("unchunked_ms");
    plan.figures.chunkedMs = ms("chunked_ms");
  }
  plan.arena = plannedArena(*plan.program);
  if (plan.arena < 0 && loosen)
    return tryPeak(scheduled, peak, threads, /*loosen=*/false);
  return plan.arena < 0 ? std::nullopt : std::optional(std::move(plan));
}

std::optional<ActivationPlan> snug::leastActivations(ModuleOp scheduled, int threads) {
  auto plan = tryPeak(scheduled, -1, threads);
  // Packing luck: without loops it may be as small.
  if (auto whole = tryPeak(scheduled, INT64_MAX, threads); whole && (!plan || whole->arena <= plan->arena))
    return whole;
  // The search goes greedily for the least peak; asked for less than that took, it may find another way.
  for (int attempt = 0; plan && attempt < 4; ++attempt) {
    auto less = tryPeak(scheduled, plan->arena - 1, threads);
    if (!less || less->arena >= plan->arena)
      break;
    plan = std::move(less);
  }
  return plan;
}

std::optional<ActivationPlan> snug::fitActivations(ModuleOp scheduled, int64_t limit, int threads) {
  // The search works on live bytes, the arena adds what packing wastes: where it does not fit, ask for that much less.
  int64_t peak = limit;
  double searchMs = 0;
  for (int attempt = 0; attempt < 4 && peak > 0; ++attempt) {
    auto plan = tryPeak(scheduled, peak, threads);
    if (!plan)
      break;
    searchMs = plan->figures.searchMs += searchMs;
    if (plan->arena <= limit)
      return plan;
    peak -= plan->arena - limit;
  }
  auto least = leastActivations(scheduled, threads);
  if (!least || least->arena > limit)
    return std::nullopt;
  least->figures.searchMs += searchMs;
  return least;
}

Operation *snug::peakOp(ModuleOp scheduled) {
  IndexBounds bounds(scheduled);
  Operation *found = nullptr;
  int64_t most = -1;
  for (auto function : scheduled.getOps<func::FuncOp>()) {
    if (function.isDeclaration())
      continue;
    auto liveness = Liveness::compute(function, [&](Value value) { return tensorBytes(value, bounds); });
    if (succeeded(liveness) && liveness->peak > most) {
      most = liveness->peak;
      found = liveness->peakOp;
    }
  }
  return found;
}

static std::string peakName(ModuleOp scheduled) {
  Operation *op = peakOp(scheduled);
  if (!op)
    return "";
  std::string name = nodeName(op->getLoc());
  return name.empty() ? op->getName().getStringRef().str() : name;
}

// The budgets to ask about between the ends, falling.
static std::vector<int64_t> budgetsBetween(int64_t most, int64_t least, FitSteps steps) {
  std::vector<int64_t> budgets;
  int number = steps == FitSteps::Even ? 3 : 8;
  for (int i = number; i >= 1; --i) {
    double share = double(i) / (number + 1);
    // What is worth knowing about a curve over decades happens at its small end.
    budgets.push_back(steps == FitSteps::Even ? least + (most - least) / (number + 1) * i
                                              : static_cast<int64_t>(least * std::pow(double(most) / least, share)));
  }
  return budgets;
}

std::optional<WhatFits> snug::whatFits(ModuleOp scheduled, int threads, FitSteps steps) {
  WhatFits answer;
  int64_t unchunked = plannedArena(scheduled);
  if (unchunked < 0)
    return std::nullopt;
  answer.peakNode = answer.leastNode = peakName(scheduled);
  auto add = [&](int64_t budget) {
    auto plan = fitActivations(scheduled, budget, threads);
    if (!plan)
      return;
    const ChunkFigures &figures = plan->figures;
    answer.points.push_back({budget, plan->arena, figures.chunkedMs,
                             figures.unchunkedMs > 0 ? figures.chunkedMs / figures.unchunkedMs : 1});
  };
  add(unchunked);
  if (answer.points.empty()) // not even searched: what stands is all there is
    answer.points.push_back({unchunked, unchunked});
  auto least = leastActivations(scheduled, threads);
  if (!least || least->arena >= unchunked)
    return answer;
  answer.leastNode = peakName(*least->program);
  for (int64_t budget : budgetsBetween(unchunked, least->arena, steps))
    add(budget);
  add(least->arena);
  if (steps == FitSteps::Curve) {
    std::vector<FitPoint> curve;
    for (size_t i = answer.points.size(); i-- > 0;) {
      const FitPoint &point = answer.points[i];
      if (curve.empty() || i == 0 || point.ms < curve.back().ms)
        curve.push_back(point);
    }
    answer.points.assign(curve.rbegin(), curve.rend());
  }
  return answer;
}
