// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ActivationPlan.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/DrawMemory.h"
#include "lib/solver/ArenaPacker.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "passes/chunk/ChunkPlanner.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
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
  manager.enableVerifier(false); // of many copies the one that is compiled is verified
  manager.addPass(createPlaceParts());
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

ActivationPlanner::ActivationPlanner(ModuleOp scheduled, int threads) : scheduled(scheduled), threads(threads) {
  DialectRegistry registry;
  ChunkPlanner::registerDialects(registry);
  scheduled.getContext()->appendDialectRegistry(registry);
  for (StringRef name : registry.getDialectNames())
    scheduled.getContext()->getOrLoadDialect(name);
}

ActivationPlanner::~ActivationPlanner() = default;

bool ActivationPlanner::prepare() {
  if (prepared)
    return planner != nullptr;
  prepared = OwningOpRef<ModuleOp>(scheduled.clone());
  ChunkPlanner::prepare(*prepared);
  auto made = ChunkPlanner::create(*prepared, /*machineFile=*/"", threads, /*exact=*/false);
  if (succeeded(made))
    planner = std::move(*made);
  return planner != nullptr;
}

static ChunkFigures figuresOf(ModuleOp chunked) {
  ChunkFigures figures;
  auto attributes = chunked->getAttrOfType<DictionaryAttr>("snug.chunk_figures");
  auto number = [&](StringRef name) { return attributes.getAs<IntegerAttr>(name).getInt(); };
  auto ms = [&](StringRef name) { return attributes.getAs<FloatAttr>(name).getValueAsDouble(); };
  figures.ops = number("ops");
  figures.blocks = number("blocks");
  figures.distinctBlocks = number("distinct_blocks");
  figures.candidates = number("candidates");
  figures.lb1 = number("lb1");
  figures.lb2 = number("lb2");
  figures.unchunkedMs = ms("unchunked_ms");
  figures.chunkedMs = ms("chunked_ms");
  return figures;
}

// Chunked to `peak` live bytes (-1: as few as can be reached), with its arena planned.
const ActivationPlan *ActivationPlanner::atPeak(int64_t peak, bool loosen) {
  auto [entry, isNew] = plans.try_emplace({peak, loosen});
  if (!isNew)
    return entry->second.get();
  // What the search says of a peak that it cannot reach is said once, by who asked, in terms of the arena.
  ScopedDiagnosticHandler quiet(scheduled.getContext(), [](Diagnostic &) { return success(); });
  auto plan = std::make_unique<ActivationPlan>();
  if (!prepare())
    return nullptr;
  plan->program = OwningOpRef<ModuleOp>(prepared->clone());
  bool reached = succeeded(planner->apply(*plan->program, peak, loosen));
  if (!reached)
    return nullptr;
  plan->figures = figuresOf(*plan->program);
  plan->arena = plannedArena(*plan->program);
  if (plan->arena < 0)
    return loosen ? atPeak(peak, /*loosen=*/false) : nullptr;
  entry->second = std::move(plan);
  return entry->second.get();
}

double ActivationPlanner::searchMs() const { return planner ? 1e3 * planner->searchTime() : 0; }

// Chunk loops with which the arena fits `limit`; null where the search does not come by any.
const ActivationPlan *ActivationPlanner::within(int64_t limit) {
  // The search works on live bytes, the arena adds what packing wastes: where it does not fit, ask for that much less.
  int64_t peak = limit;
  for (int attempt = 0; attempt < 4 && peak > 0; ++attempt) {
    const ActivationPlan *plan = atPeak(peak);
    if (!plan || plan->arena <= limit)
      return plan;
    peak -= plan->arena - limit;
  }
  return nullptr;
}

const ActivationPlan *ActivationPlanner::least() {
  const ActivationPlan *plan = atPeak(-1);
  // Packing luck: without loops it may be as small.
  if (const ActivationPlan *whole = atPeak(INT64_MAX); whole && (!plan || whole->arena <= plan->arena))
    plan = whole;
  // The search goes greedily for the least peak; asked for less than that took, it may find another way.
  for (const ActivationPlan *less = plan; less; less = within(plan->arena - 1))
    plan = less;
  return plan;
}

const ActivationPlan *ActivationPlanner::fit(int64_t limit) {
  // Without loops the arena may be less than what is live in the search's eyes (PlaceParts).
  if (const ActivationPlan *whole = atPeak(INT64_MAX); whole && whole->arena <= limit)
    return whole;
  if (const ActivationPlan *plan = within(limit))
    return plan;
  const ActivationPlan *plan = least();
  return plan && plan->arena <= limit ? plan : nullptr;
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

std::optional<WhatFits> ActivationPlanner::whatFits(FitSteps steps) {
  WhatFits answer;
  int64_t unchunked = plannedArena(scheduled);
  if (unchunked < 0)
    return std::nullopt;
  answer.peakNode = answer.leastNode = peakName(scheduled);
  auto add = [&](int64_t budget) {
    const ActivationPlan *plan = fit(budget);
    if (!plan)
      return;
    const ChunkFigures &figures = plan->figures;
    answer.points.push_back({budget, plan->arena, figures.chunkedMs,
                             figures.unchunkedMs > 0 ? figures.chunkedMs / figures.unchunkedMs : 1});
  };
  add(unchunked);
  if (answer.points.empty()) // not even searched: what stands is all there is
    answer.points.push_back({unchunked, unchunked});
  const ActivationPlan *least = this->least();
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
