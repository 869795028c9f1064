// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/solver/ArenaPacker.h"
#include "lib/solver/ArenaText.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "passes/memory/ChooseBuckets.h"
#include "passes/memory/Passes.h"
#include "lib/analysis/BufferLife.h"
#include "lib/analysis/IndexBounds.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_PLANARENA
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
struct PlanArenaPass : snug::impl::PlanArenaBase<PlanArenaPass> {
  using PlanArenaBase::PlanArenaBase;

  LogicalResult plan(func::FuncOp function, ArrayRef<memref::AllocOp> allocs, IndexBounds &bounds) {
    ModuleOp module = getOperation();
    Timeline timeline(function);
    ArenaProblem arenaProblem;
    SmallVector<memref::AllocOp> planned;
    for (memref::AllocOp alloc : allocs) {
      MemRefType type = alloc.getType();
      if (!type.getLayout().isIdentity() || !alloc.getSymbolOperands().empty())
        return alloc.emitError() << "internal fault: the memory plan needs plain row-major buffers, this one is "
                                 << type;
      auto uses = bufferUses(alloc.getResult());
      if (failed(uses))
        return failure();
      auto live = liveSpan(alloc, uses->accesses, timeline);
      if (failed(live))
        return failure();
      if (!*live) { // nobody looks
        for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
          if (isa<memref::DeallocOp>(user))
            user->erase();
        if (alloc->use_empty()) {
          alloc.erase();
          continue;
        }
        *live = timeline.of(alloc);
      }
      std::optional<int64_t> bytes = bounds.bytes(type, alloc.getDynamicSizes());
      if (!bytes)
        return alloc.emitError() << "a buffer of type " << type
                                 << " has no upper bound: state the bounds of its dims with --dim NAME=A..B";
      arenaProblem.buffers.push_back(
          {static_cast<int64_t>(planned.size()), *bytes, (*live)->lower, (*live)->upper, alignment});
      planned.push_back(alloc);
    }
    std::string error;
    std::optional<int64_t> bound = schedLowerBound(arenaProblem, &error);
    std::optional<ArenaSolution> solution = bound ? packArena(arenaProblem, {}, &error) : std::nullopt;
    if (!solution)
      return function.emitError() << "internal fault: the memory plan cannot be solved: " << error;
    if (failed(writeProblem(arenaProblem, *solution)))
      return failure();

    std::vector<std::vector<int64_t>> offsets(planned.size(), std::vector<int64_t>(1));
    for (auto [list, offset] : llvm::zip_equal(offsets, solution->offsets))
      list[0] = offset;
    if (buckets > 1 && !planned.empty() && failed(planBuckets(arenaProblem, planned, *solution, offsets)))
      return failure();

    Builder attrs(module.getContext());
    module->setAttr("snug.arena_bytes", attrs.getI64IntegerAttr(solution->capacity));
    module->setAttr("snug.sched_bound", attrs.getI64IntegerAttr(*bound));
    if (planned.empty())
      return success();
    OpBuilder builder = OpBuilder::atBlockBegin(&function.front());
    Value arena = plan::ArenaOp::create(builder, function.getLoc(),
                                        MemRefType::get({solution->capacity}, builder.getI8Type()), alignment);
    for (auto [alloc, list] : llvm::zip_equal(planned, offsets)) {
      builder.setInsertionPoint(alloc);
      Value at;
      if (llvm::all_equal(list))
        at = arith::ConstantIndexOp::create(builder, alloc.getLoc(), list[0]);
      else
        at = plan::OffsetOp::create(builder, alloc.getLoc(), builder.getIndexType(), list);
      for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
        if (isa<memref::DeallocOp>(user))
          user->erase();
      Value view = memref::ViewOp::create(builder, alloc.getLoc(), alloc.getType(), arena, at, alloc.getDynamicSizes());
      alloc.replaceAllUsesWith(view);
      alloc.erase();
    }
    return success();
  }

  // The same buffers at the same times, but smaller: `offsets` becomes one for each bucket, unless none needs less.
  LogicalResult planBuckets(const ArenaProblem &largest, ArrayRef<memref::AllocOp> planned,
                            const ArenaSolution &solution, std::vector<std::vector<int64_t>> &offsets) {
    ModuleOp module = getOperation();
    Buckets plans = chooseBuckets(module, buckets);
    size_t count = plans.size();
    std::vector<std::vector<int64_t>> bytes(count), places(count);
    plans.arenas.assign(count, 0);
    plans.arenas.back() = solution.capacity;
    places.back() = solution.offsets;
    for (const Buffer &buffer : largest.buffers)
      bytes.back().push_back(buffer.size);
    for (size_t bucket = count - 1; bucket-- > 0;) {
      SmallVector<size_t> larger;
      for (size_t dim = 0; dim < plans.bounds.size(); ++dim)
        if (std::optional<size_t> next = plans.next(bucket, dim))
          larger.push_back(*next);
      IndexBounds bounds(module, plans.boundsOf(bucket));
      ArenaProblem problem = largest;
      for (auto [id, made] : llvm::enumerate(planned)) {
        memref::AllocOp alloc = made;
        // What bounds a buffer for larger dims bounds it here, too.
        int64_t size = bounds.bytes(alloc.getType(), alloc.getDynamicSizes()).value_or(largest.buffers[id].size);
        for (size_t other : larger)
          size = std::min(size, bytes[other][id]);
        problem.buffers[id].size = size;
        bytes[bucket].push_back(size);
      }
      ArenaOptions options;
      options.maxSteps /= static_cast<int64_t>(count);
      std::string error;
      std::optional<ArenaSolution> own = packArena(problem, options, &error);
      if (!own)
        return module.emitError() << "internal fault: the memory plan of a bucket cannot be solved: " << error;
      plans.arenas[bucket] = own->capacity;
      places[bucket] = own->offsets;
      // The plan for larger dims holds as well, so that no bucket ever needs more than a larger one.
      for (size_t other : larger)
        if (plans.arenas[other] <= plans.arenas[bucket]) {
          plans.arenas[bucket] = plans.arenas[other];
          places[bucket] = places[other];
        }
    }
    if (llvm::all_equal(plans.arenas))
      return success();
    plans.write(module);
    for (size_t id = 0; id < offsets.size(); ++id) {
      offsets[id].clear();
      for (const std::vector<int64_t> &place : places)
        offsets[id].push_back(place[id]);
    }
    return success();
  }

  LogicalResult writeProblem(const ArenaProblem &arenaProblem, const ArenaSolution &solution) {
    if (problem.empty())
      return success();
    std::string text = printArenaText(arenaProblem, &solution);
    if (problem == "-") {
      llvm::errs() << text;
      return success();
    }
    std::error_code code;
    llvm::raw_fd_ostream file(problem, code, llvm::sys::fs::OF_Text);
    if (!code) {
      file << text;
      file.close();
      code = file.error();
      file.clear_error();
    }
    if (code)
      return getOperation().emitError() << "cannot write " << problem << ": " << code.message();
    return success();
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (alignment < 1 || !llvm::isPowerOf2_64(alignment)) {
      mlir::emitError(module.getLoc()) << "alignment " << alignment.getValue() << " is no power of two";
      return signalPassFailure();
    }
    IndexBounds bounds(module);
    func::FuncOp host;
    SmallVector<memref::AllocOp> allocs;
    for (auto function : module.getOps<func::FuncOp>()) {
      size_t before = allocs.size();
      function.walk([&](memref::AllocOp alloc) { allocs.push_back(alloc); });
      bool isHost = !function.isDeclaration() && function->hasAttr("snug.num_inputs");
      if (allocs.size() == before && !isHost)
        continue;
      if (host) {
        function.emitError() << "internal fault: the module has two host functions, " << host.getName() << " and "
                             << function.getName() << ", for one arena";
        return signalPassFailure();
      }
      host = function;
    }
    if (!host)
      return;
    if (!llvm::hasSingleElement(host.getBody())) {
      host.emitError("internal fault: the memory plan needs structured control flow");
      return signalPassFailure();
    }
    if (failed(plan(host, allocs, bounds)))
      signalPassFailure();
  }
};
} // namespace
