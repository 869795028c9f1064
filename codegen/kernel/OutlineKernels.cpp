// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each kernel op of @main becomes a function of its own (equal ones once) and a snug_plan.launch in its place.
#include "codegen/Codegen.h"
#include "codegen/kernel/Alignment.h"
#include "codegen/kernel/KernelTarget.h"
#include "dialects/nn/TextOps.h"
#include "lib/analysis/IndexBounds.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "mlir/Transforms/RegionUtils.h"
#include <map>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// Where a memref starts: a base value and bytes from it. Unknown bytes: somewhere in it.
struct Address {
  Value base;
  std::optional<int64_t> bytes = 0;
  bool operator==(const Address &other) const { return base == other.base && bytes == other.bytes; }
};

// Looks through views. With `exact`, only through those that keep the first element, so that equal results mean the
// same pointer; without, up to the buffer, so that different results mean different memory.
Address addressOf(Value value, bool exact) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto view = dyn_cast<memref::ViewOp>(op))
      return {view.getSource(), plannedOffset(view.getByteShift())}; // in one bucket they are apart as in any
    if (isa<memref::CastOp, memref::ExpandShapeOp, memref::CollapseShapeOp>(op)) {
      value = op->getOperand(0);
      continue;
    }
    if (auto slice = dyn_cast<memref::SubViewOp>(op)) {
      if (llvm::all_of(slice.getMixedOffsets(), isZeroInteger)) {
        value = slice.getSource();
        continue;
      }
    }
    auto viewLike = dyn_cast<ViewLikeOpInterface>(op);
    if (exact || !viewLike)
      break;
    value = viewLike.getViewSource();
  }
  return {value};
}

bool mayOverlap(const Address &a, const Address &b) {
  if (a.base != b.base)
    return false;                                      // arena, weights, inputs and outputs are apart from each other
  return !a.bytes || !b.bytes || *a.bytes == *b.bytes; // planned buffers are equal or disjoint
}

LogicalResult generalize(func::FuncOp main) {
  SmallVector<Operation *> ops;
  main.walk([&](Operation *op) {
    if (isa<memref::CopyOp>(op) || (isa<linalg::LinalgOp>(op) && !isa<linalg::GenericOp, nn::PartialReduceOp>(op)))
      ops.push_back(op);
  });
  IRRewriter rewriter(main.getContext());
  for (Operation *op : ops) {
    rewriter.setInsertionPoint(op);
    if (auto copy = dyn_cast<memref::CopyOp>(op)) {
      linalg::makeMemRefCopyOp(rewriter, op->getLoc(), copy.getSource(), copy.getTarget());
      rewriter.eraseOp(op);
    } else if (failed(linalg::generalizeNamedOp(rewriter, cast<linalg::LinalgOp>(op)))) {
      return op->emitOpError("cannot be written as linalg.generic, so it has no kernel");
    }
  }
  return success();
}

// Elements that the host program sets become kernels.
void fillForStores(func::FuncOp main) {
  SmallVector<memref::StoreOp> stores;
  main.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (isKernelOp(op))
      return WalkResult::skip();
    if (auto store = dyn_cast<memref::StoreOp>(op))
      stores.push_back(store);
    return WalkResult::advance();
  });
  for (memref::StoreOp store : stores) {
    OpBuilder b(store);
    Value place = store.getMemRef();
    MemRefType type = store.getMemRefType();
    if (type.getRank()) {
      SmallVector<OpFoldResult> offsets = getAsOpFoldResult(store.getIndices()), ones(type.getRank(), b.getIndexAttr(1));
      auto element = memref::SubViewOp::inferRankReducedResultType({}, type, offsets, ones, ones);
      place = memref::SubViewOp::create(b, store.getLoc(), cast<MemRefType>(element), place, offsets, ones, ones);
    }
    linalg::FillOp::create(b, store.getLoc(), store.getValue(), place);
    store.erase();
  }
}

class Outliner {
public:
  Outliner(ModuleOp module, func::FuncOp main, const KernelTarget &target, CodegenReport &report)
      : module(module), main(main), target(target), report(report), bounds(module) {}

  LogicalResult run() {
    SmallVector<Operation *> ops;
    main.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (!isKernelOp(op))
        return WalkResult::advance();
      ops.push_back(op);
      return WalkResult::skip();
    });
    for (Operation *op : ops)
      if (failed(outline(op)))
        return failure();
    report.kernels = known.size();
    report.launches = ops.size();
    return success();
  }

private:
  LogicalResult outline(Operation *op) {
    Location loc = op->getLoc();
    OpBuilder host(op);
    // What the kernel reads from outside: operands, and values that its regions capture.
    llvm::SetVector<Value> uses(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), uses);

    auto written = [&](Value value) {
      return llvm::is_contained(ValueRange(cast<DestinationStyleOpInterface>(op).getDpsInits()), value);
    };
    struct Pointer {
      Address address;
      Value value;
      Type elementType;
      bool written = false;
    };
    SmallVector<Pointer> pointers;
    llvm::DenseMap<Value, unsigned> pointerOf;
    for (Value value : uses) {
      auto type = dyn_cast<MemRefType>(value.getType());
      if (!type)
        continue;
      int64_t ignored;
      SmallVector<int64_t> strides;
      if (failed(type.getStridesAndOffset(strides, ignored)))
        return op->emitOpError() << "has an operand without strides: " << type;
      Address address = addressOf(value, /*exact=*/true);
      auto found = llvm::find_if(
          pointers, [&](Pointer &p) { return p.address == address && p.elementType == type.getElementType(); });
      // Operands at one address (in place) share a pointer, so that LLVM sees that they are the same.
      if (found == pointers.end())
        found = pointers.insert(pointers.end(), Pointer{address, value, type.getElementType()});
      found->written |= written(value);
      pointerOf[value] = found - pointers.begin();
    }

    // The function's arguments in order: pointers, then scalars; `arguments` are the launch's.
    SmallVector<Type> types;
    SmallVector<Value> arguments;
    for (Pointer &p : pointers) {
      types.push_back(MemRefType::get({}, p.elementType));
      arguments.push_back(p.value);
    }
    auto kernel = func::FuncOp::create(loc, "kernel", host.getFunctionType({}, {}));
    Block *entry = kernel.addEntryBlock();
    entry->addArguments(types, SmallVector<Location>(types.size(), loc));
    OpBuilder b = OpBuilder::atBlockEnd(entry);
    auto scalar = [&](Value value) -> Value {
      arguments.push_back(value);
      return entry->addArgument(value.getType(), loc);
    };
    IRMapping mapping;
    for (Value value : uses) {
      if (auto type = dyn_cast<MemRefType>(value.getType())) {
        mapping.map(value, view(host, b, value, type, entry->getArgument(pointerOf[value]), scalar));
        continue;
      }
      Attribute constant;
      if (matchPattern(value, m_Constant(&constant)))
        mapping.map(value, b.clone(*value.getDefiningOp())->getResult(0));
      else if (value.getType().isIntOrIndexOrFloat())
        mapping.map(value, scalar(value));
      else
        return op->emitOpError() << "uses a value of type " << value.getType() << ", which no kernel can take";
    }
    if (op->walk([](nn::TextOp) { return WalkResult::interrupt(); }).wasInterrupted())
      for (Value needed : plan::TextRuntimeOp::create(host, loc, SmallVector<Type>(3, host.getI64Type()))->getResults())
        scalar(needed);
    KernelRange range = target.range(op);
    Value extent;
    for (RangeFactor factor : range.factors) {
      Value size = arith::ConstantIndexOp::create(host, loc, 1);
      for (ExtentPlace place : factor.extents)
        size = host.createOrFold<arith::MulIOp>(
            loc, size, host.createOrFold<memref::DimOp>(loc, op->getOperand(place.operand), place.dim));
      if (factor.tile != 1)
        size = host.createOrFold<arith::CeilDivUIOp>(loc, size, arith::ConstantIndexOp::create(host, loc, factor.tile));
      extent = extent ? host.createOrFold<arith::MulIOp>(loc, extent, size) : size;
    }
    if (!extent)
      extent = arith::ConstantIndexOp::create(host, loc, 1);
    if (target.gpuCapability() && hasSmallOffsets(uses.getArrayRef()))
      kernel->setAttr(kSmallOffsets, b.getUnitAttr());
    Operation *clone = b.clone(*op, mapping);
    for (NamedAttribute attr : llvm::to_vector(clone->getDiscardableAttrs()))
      clone->removeDiscardableAttr(attr.getName()); // notes for other stages would make equal kernels differ
    func::ReturnOp::create(b, loc);
    for (unsigned i = 0; i < target.numWorkArguments(); ++i)
      entry->addArgument(b.getIndexType(), loc);
    kernel.setFunctionType(b.getFunctionType(entry->getArgumentTypes(), {}));
    for (auto [index, p] : llvm::enumerate(pointers)) {
      Address root = addressOf(p.value, /*exact=*/false);
      bool alone = true;
      for (auto [otherIndex, other] : llvm::enumerate(pointers))
        if (index != otherIndex && (p.written || other.written))
          alone &= !mayOverlap(root, addressOf(other.value, /*exact=*/false));
      if (alone)
        kernel.setArgAttr(index, "llvm.noalias", b.getUnitAttr());
      if (!p.written)
        kernel.setArgAttr(index, "llvm.readonly", b.getUnitAttr());
      // No more than a vector wants, so that kernels at differently aligned places stay equal.
      if (int64_t alignment = alignmentOf(p.value, target.tensorAlignment()); alignment > 1)
        kernel.setArgAttr(index, "llvm.align", b.getI64IntegerAttr(alignment));
    }
    StringRef name = unique(kernel, kindOf(op));
    LibraryCall library;
    if (op->hasAttr(kLibrary)) {
      std::optional<LibraryCall> call = target.libraryCall(op, host, workspace());
      if (!call) // it was there when the op was marked
        return op->emitOpError("internal fault: a library was to do this, and cannot");
      library = *call;
    }
    plan::LaunchOp::create(host, loc, name, arguments, extent, range.grain, library.library, library.shape);
    op->erase();
    return success();
  }

  // Whether 31 bits hold the place of each element, counted from the first one.
  bool hasSmallOffsets(ArrayRef<Value> uses) {
    return llvm::all_of(uses, [&](Value value) {
      auto type = dyn_cast<MemRefType>(value.getType());
      if (!type)
        return true;
      while (auto view = value.getDefiningOp<ViewLikeOpInterface>()) {
        if (isa<memref::ViewOp>(view))
          break;
        value = view.getViewSource();
      }
      std::optional<int64_t> bytes = tensorBytes(value, bounds);
      // Loops count beyond the last element by up to what a block does at once.
      constexpr int64_t stride = 1 << 20;
      return bytes && *bytes / elementBytes(type.getElementType()) <= std::numeric_limits<int32_t>::max() - stride;
    });
  }

  // The operand inside of the kernel: static sizes and strides stay, others are arguments; a dense operand's strides
  // follow from its sizes.
  Value view(OpBuilder &host, OpBuilder &b, Value value, MemRefType type, Value pointer,
             function_ref<Value(Value)> scalar) {
    Location loc = value.getLoc();
    int64_t offset;
    SmallVector<int64_t> strides;
    (void)type.getStridesAndOffset(strides, offset);
    SmallVector<OpFoldResult> sizeValues, strideValues;
    for (int64_t dim = 0; dim < type.getRank(); ++dim) {
      if (!type.isDynamicDim(dim))
        sizeValues.push_back(b.getIndexAttr(type.getDimSize(dim)));
      else
        sizeValues.push_back(scalar(memref::DimOp::create(host, loc, value, dim)));
    }
    memref::ExtractStridedMetadataOp metadata;
    OpFoldResult running = b.getIndexAttr(1);
    strideValues.resize(type.getRank());
    for (int64_t dim = type.getRank(); dim-- > 0;) {
      if (!ShapedType::isDynamic(strides[dim])) {
        strideValues[dim] = b.getIndexAttr(strides[dim]);
      } else if (type.getLayout().isIdentity()) {
        Value inner = getValueOrCreateConstantIndexOp(b, loc, strideValues[dim + 1]);
        Value size = getValueOrCreateConstantIndexOp(b, loc, sizeValues[dim + 1]);
        strideValues[dim] = arith::MulIOp::create(b, loc, inner, size).getResult();
      } else {
        if (!metadata)
          metadata = memref::ExtractStridedMetadataOp::create(host, loc, value);
        strideValues[dim] = scalar(metadata.getStrides()[dim]);
      }
    }
    auto layout = type.getLayout().isIdentity()
                      ? MemRefLayoutAttrInterface()
                      : MemRefLayoutAttrInterface(StridedLayoutAttr::get(b.getContext(), 0, strides));
    auto viewType = MemRefType::get(type.getShape(), type.getElementType(), layout);
    return memref::ReinterpretCastOp::create(b, loc, viewType, pointer, b.getIndexAttr(0), sizeValues, strideValues);
  }

  // Where libraries work: the end of the arena.
  Value workspace() {
    int64_t bytes = workspaceBytes(module);
    if (!bytes || workspaceView)
      return workspaceView;
    plan::ArenaOp arena;
    main.walk([&](plan::ArenaOp op) { arena = op; });
    OpBuilder b = OpBuilder::atBlockBegin(&main.front());
    Location loc = main.getLoc();
    if (!arena) // no buffer was in it, so it went
      arena = plan::ArenaOp::create(b, loc, MemRefType::get({module->getAttrOfType<IntegerAttr>("snug.arena_bytes").getInt()}, b.getI8Type()),
                                    kWorkspaceAlignment);
    b.setInsertionPointAfter(arena);
    Value start;
    if (std::optional<Buckets> buckets = Buckets::read(module)) {
      SmallVector<int64_t> starts(buckets->arenas);
      for (int64_t &one : starts)
        one -= bytes;
      start = plan::OffsetOp::create(b, loc, b.getIndexType(), starts);
    } else {
      start = arith::ConstantIndexOp::create(b, loc, cast<MemRefType>(arena.getType()).getDimSize(0) - bytes);
    }
    return workspaceView = memref::ViewOp::create(b, loc, MemRefType::get({bytes}, b.getI8Type()), arena, start, ValueRange());
  }

  // What a kernel is called in dumps, debuggers and profiles.
  static StringRef kindOf(Operation *op) {
    if (auto generic = dyn_cast<linalg::GenericOp>(op))
      return generic.getNumReductionLoops() ? "reduce" : "elementwise";
    return op->getName().stripDialect();
  }

  // Keeps the first of equal kernels. Equal is: prints the same without locations.
  StringRef unique(func::FuncOp kernel, StringRef kind) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    kernel.print(stream, OpPrintingFlags().useLocalScope());
    auto [place, isNew] = known.try_emplace(std::move(text), (kind + "_" + Twine(known.size())).str());
    if (isNew) {
      kernel.setSymName(place->second);
      kernel.setPrivate();
      module.push_back(kernel);
    } else {
      kernel.erase();
    }
    return place->second;
  }

  ModuleOp module;
  func::FuncOp main;
  const KernelTarget &target;
  CodegenReport &report;
  std::map<std::string, std::string> known;
  IndexBounds bounds;
  Value workspaceView;
};
} // namespace

LogicalResult codegen::outlineKernels(ModuleOp module, const KernelTarget &target, const CodegenOptions &options,
                                      CodegenReport &report) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal())
    return fail(module, report, 70, "code generation wants a function @main");
  if (failed(target.checkProgram(module)))
    return fail(module, report, 3, "the model's program cannot run on what it is compiled for");
  if (!target.hostSeesMemory())
    fillForStores(main);
  // Views at one place become one value, which is how operands in place are recognized.
  PassManager pm(module.getContext(), ModuleOp::getOperationName());
  pm.enableVerifier(options.verify);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  if (failed(generalize(main)) || failed(pm.run(module)) || failed(Outliner(module, main, target, report).run())) {
    report.exitCode = 70;
    report.error = "kernels could not be outlined";
    return failure();
  }
  return success();
}
