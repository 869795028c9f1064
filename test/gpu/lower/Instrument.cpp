// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Interfaces/DataLayoutInterfaces.h"
#include "test/gpu/lower/HookCalls.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;
using namespace snug::sim;

namespace {
struct Access {
  Value pointer;
  Type type;
  std::optional<uint64_t> alignment;
  Hook hook;
};

std::optional<Access> accessOf(Operation *op) {
  if (op->hasAttr(kOwnAccess))
    return std::nullopt;
  if (auto load = dyn_cast<LLVM::LoadOp>(op)) {
    // The first guess of a loop that compares and exchanges: a stale one costs a round, nothing else.
    bool isGuess = llvm::any_of(load.getAddr().getUsers(), llvm::IsaPred<LLVM::AtomicCmpXchgOp>);
    return Access{load.getAddr(), load.getType(), load.getAlignment(), isGuess ? kAtomic : kRead};
  }
  if (auto store = dyn_cast<LLVM::StoreOp>(op))
    return Access{store.getAddr(), store.getValue().getType(), store.getAlignment(), kWrite};
  if (auto atomic = dyn_cast<LLVM::AtomicRMWOp>(op))
    return Access{atomic.getPtr(), atomic.getType(), std::nullopt, kAtomic};
  if (auto atomic = dyn_cast<LLVM::AtomicCmpXchgOp>(op))
    return Access{atomic.getPtr(), atomic.getVal().getType(), std::nullopt, kAtomic};
  return std::nullopt;
}

// Accesses that no check is made for. None of them is left out silently.
bool isUnknownAccess(Operation *op) {
  return isa<LLVM::masked_gather, LLVM::masked_scatter, LLVM::masked_expandload, LLVM::masked_compressstore, LLVM::MemcpyOp,
             LLVM::MemcpyInlineOp, LLVM::MemmoveOp, LLVM::MemsetOp>(op);
}

// Of the thread alone, or a constant.
bool isPrivate(Value pointer) {
  while (auto element = pointer.getDefiningOp<LLVM::GEPOp>())
    pointer = element.getBase();
  return pointer.getDefiningOp<LLVM::AllocaOp>() || pointer.getDefiningOp<LLVM::AddressOfOp>();
}

// An access of those elements of a vector whose bits are set, as one access an element.
struct MaskedAccess {
  Value pointer, mask;
  VectorType type;
  uint64_t alignment; // of the first element
  Hook hook;
};

std::optional<MaskedAccess> maskedAccessOf(Operation *op) {
  if (auto load = dyn_cast<LLVM::MaskedLoadOp>(op))
    return MaskedAccess{load.getData(), load.getMask(), cast<VectorType>(load.getRes().getType()), load.getAlignment(), kRead};
  if (auto store = dyn_cast<LLVM::MaskedStoreOp>(op))
    return MaskedAccess{store.getData(), store.getMask(), cast<VectorType>(store.getValue().getType()), store.getAlignment(),
                        kWrite};
  return std::nullopt;
}

void checkMasked(Operation *op, const MaskedAccess &access, Hook hook, int32_t elementBytes) {
  Location loc = op->getLoc();
  for (int64_t i = 0; i < access.type.getNumElements(); ++i) {
    OpBuilder b(op);
    Value isMade = LLVM::ExtractElementOp::create(b, loc, access.mask, constantI32(b, loc, i));
    Block *before = op->getBlock(), *rest = before->splitBlock(op), *made = b.createBlock(rest);
    Value pointer = LLVM::GEPOp::create(b, loc, access.pointer.getType(), b.getI8Type(), access.pointer,
                                        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i * elementBytes)});
    int32_t align = std::min<int64_t>(access.alignment, elementBytes);
    callHook(b, op, hook, {elementBytes, align, objectOf(access.pointer)}, pointer);
    LLVM::BrOp::create(b, loc, rest);
    b.setInsertionPointToEnd(before);
    LLVM::CondBrOp::create(b, loc, isMade, made, rest);
  }
}

struct Instrument : PassWrapper<Instrument, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Instrument)
  StringRef getArgument() const override { return "snug-sim-instrument"; }
  StringRef getDescription() const override { return "Check bounds, alignment and races before each access to memory"; }

  void runOnOperation() override {
    DataLayout layout(getOperation());
    // Upstream's conversions leave what they do not know.
    WalkResult all = getOperation().walk([](Operation *op) {
      if (isa<ModuleOp>(op) || (isa<LLVM::LLVMDialect>(op->getDialect()) && !isUnknownAccess(op)))
        return WalkResult::advance();
      op->emitError("the simulator has no lowering for ") << op->getName();
      return WalkResult::interrupt();
    });
    if (all.wasInterrupted())
      return signalPassFailure();
    for (auto function : getOperation().getOps<LLVM::LLVMFuncOp>()) {
      auto kernel = function->getAttrOfType<DictionaryAttr>(kKernel);
      if (!kernel)
        continue;
      auto constants = kernel.getAs<DenseI32ArrayAttr>("constant_params");
      SmallVector<std::pair<Operation *, Access>> accesses;
      SmallVector<std::pair<Operation *, MaskedAccess>> maskedAccesses;
      function.walk([&](Operation *op) {
        if (auto call = dyn_cast<LLVM::CallOp>(op))
          fillInObjects(call);
        if (std::optional<Access> access = accessOf(op); access && !isPrivate(access->pointer))
          accesses.push_back({op, *access});
        if (std::optional<MaskedAccess> access = maskedAccessOf(op); access && !isPrivate(access->pointer))
          maskedAccesses.push_back({op, *access});
      });
      auto hookOf = [&](Hook hook, int32_t object) {
        return hook == kRead && llvm::is_contained(constants.asArrayRef(), object) ? kReadConstant : hook;
      };
      for (auto &[op, access] : maskedAccesses)
        checkMasked(op, access, hookOf(access.hook, objectOf(access.pointer)),
                    layout.getTypeSize(access.type.getElementType()).getFixedValue());
      for (auto &[op, access] : accesses) {
        OpBuilder b(op);
        int32_t object = objectOf(access.pointer);
        uint64_t align = access.alignment.value_or(layout.getTypeABIAlignment(access.type));
        int32_t bytes = layout.getTypeSize(access.type).getFixedValue();
        callHook(b, op, hookOf(access.hook, object), {bytes, static_cast<int32_t>(align), object}, access.pointer);
      }
    }
  }
};
} // namespace

std::unique_ptr<Pass> snug::sim::createInstrumentPass() { return std::make_unique<Instrument>(); }
