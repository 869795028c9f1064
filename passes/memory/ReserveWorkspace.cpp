// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/memory/Passes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_RESERVEWORKSPACE
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
struct ReserveWorkspacePass : snug::impl::ReserveWorkspaceBase<ReserveWorkspacePass> {
  using ReserveWorkspaceBase::ReserveWorkspaceBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto stated = module->getAttrOfType<IntegerAttr>("snug.arena_bytes");
    if (!stated) {
      module.emitError("internal fault: the arena has to be planned before a workspace is put behind it");
      return signalPassFailure();
    }
    int64_t start = llvm::alignTo(stated.getInt(), kWorkspaceAlignment);
    int64_t room = limit < 0 ? bytes : std::min<int64_t>(bytes, limit - start);
    room -= room % kWorkspaceAlignment;
    if (room <= 0)
      return;
    Builder builder(module.getContext());
    auto type = MemRefType::get({start + room}, builder.getI8Type());
    plan::ArenaOp arena;
    func::FuncOp host;
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isDeclaration() && function->hasAttr("snug.num_inputs"))
        host = function;
    if (!host)
      return;
    host.walk([&](plan::ArenaOp op) { arena = op; });
    if (arena) {
      arena.getResult().setType(type);
    } else {
      OpBuilder at = OpBuilder::atBlockBegin(&host.front());
      plan::ArenaOp::create(at, host.getLoc(), type, kWorkspaceAlignment);
    }
    if (std::optional<Buckets> buckets = Buckets::read(module)) {
      for (int64_t &needed : buckets->arenas)
        needed = llvm::alignTo(needed, kWorkspaceAlignment) + room;
      buckets->write(module);
    }
    module->setAttr("snug.arena_bytes", builder.getI64IntegerAttr(start + room));
    module->setAttr(kWorkspaceBytes, builder.getI64IntegerAttr(room));
  }
};
} // namespace
