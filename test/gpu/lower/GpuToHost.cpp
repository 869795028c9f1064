// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/Kernels.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/GPUCommon/GPUCommonPass.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "test/gpu/lower/HookCalls.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;
using namespace snug::sim;

namespace {
// Bits of an index, on a kernel; without it 64.
constexpr StringLiteral kIndexBits = "snug.index_bits";
// What ptxas takes of static shared memory; more has to be dynamic.
constexpr int64_t kMaxStaticShared = 48 << 10;

int64_t bytesOf(MemRefType type) {
  int64_t bits = type.getElementType().isIndex() ? 64 : type.getElementTypeBitWidth();
  return type.getNumElements() * ((bits + 7) / 8);
}

// cvt.rna.tf32.f32: 10 bits of mantissa, to nearest, ties away from zero; the other bits are 0, and of a NaN it is 0x7fffffff.
struct ToTF32 : ConvertOpToLLVMPattern<NVVM::ConvertFloatToTF32Op> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(NVVM::ConvertFloatToTF32Op op, OpAdaptor adaptor, ConversionPatternRewriter &b) const override {
    if (op.getRnd() != NVVM::FPRoundingMode::RNA || op.getSat() != NVVM::SaturationMode::NONE || op.getRelu())
      return op.emitError("this rounding is not simulated");
    Location loc = op.getLoc();
    auto number = [&](uint32_t bits) { return constantI32(b, loc, static_cast<int32_t>(bits)); };
    Value bits = LLVM::BitcastOp::create(b, loc, b.getI32Type(), adaptor.getSrc());
    Value rounded = LLVM::AndOp::create(b, loc, LLVM::AddOp::create(b, loc, bits, number(0x1000)), number(0xffffe000));
    Value isNan = LLVM::FCmpOp::create(b, loc, LLVM::FCmpPredicate::uno, adaptor.getSrc(), adaptor.getSrc());
    b.replaceOpWithNewOp<LLVM::SelectOp>(op, isNan, number(0x7fffffff), rounded);
    return success();
  }
};

struct KernelIds {
  template <class Op> struct Pattern : ConvertOpToLLVMPattern<Op> {
    size_t offset;
    Pattern(const LLVMTypeConverter &converter, size_t offset) : ConvertOpToLLVMPattern<Op>(converter), offset(offset) {}
    LogicalResult matchAndRewrite(Op op, typename Op::Adaptor, ConversionPatternRewriter &rewriter) const override {
      size_t at = offset;
      if constexpr (std::is_same_v<Op, gpu::ThreadIdOp> || std::is_same_v<Op, gpu::BlockIdOp> ||
                    std::is_same_v<Op, gpu::BlockDimOp> || std::is_same_v<Op, gpu::GridDimOp>)
        at += sizeof(int32_t) * static_cast<size_t>(op.getDimension());
      Value value = loadField(rewriter, op, at, rewriter.getI32Type());
      Type type = this->getTypeConverter()->convertType(op.getType());
      if (type.getIntOrFloatBitWidth() > 32)
        value = LLVM::ZExtOp::create(rewriter, op.getLoc(), type, value);
      rewriter.replaceOp(op, value);
      return success();
    }
  };
  static void add(const LLVMTypeConverter &converter, RewritePatternSet &patterns) {
    const size_t i32 = sizeof(int32_t), tid = offsetof(Context, tid), bid = offsetof(Context, bid),
                 bdim = offsetof(Context, bdim), gdim = offsetof(Context, gdim);
    patterns.add<Pattern<gpu::ThreadIdOp>>(converter, tid);
    patterns.add<Pattern<gpu::BlockIdOp>>(converter, bid);
    patterns.add<Pattern<gpu::BlockDimOp>>(converter, bdim);
    patterns.add<Pattern<gpu::GridDimOp>>(converter, gdim);
    patterns.add<Pattern<gpu::LaneIdOp>, Pattern<NVVM::LaneIdOp>>(converter, offsetof(Context, lane));
    patterns.add<Pattern<gpu::SubgroupIdOp>>(converter, offsetof(Context, warp));
    patterns.add<Pattern<gpu::NumSubgroupsOp>>(converter, offsetof(Context, warps));
    patterns.add<Pattern<NVVM::ThreadIdXOp>>(converter, tid);
    patterns.add<Pattern<NVVM::ThreadIdYOp>>(converter, tid + i32);
    patterns.add<Pattern<NVVM::ThreadIdZOp>>(converter, tid + 2 * i32);
    patterns.add<Pattern<NVVM::BlockIdXOp>>(converter, bid);
    patterns.add<Pattern<NVVM::BlockIdYOp>>(converter, bid + i32);
    patterns.add<Pattern<NVVM::BlockIdZOp>>(converter, bid + 2 * i32);
    patterns.add<Pattern<NVVM::BlockDimXOp>>(converter, bdim);
    patterns.add<Pattern<NVVM::BlockDimYOp>>(converter, bdim + i32);
    patterns.add<Pattern<NVVM::BlockDimZOp>>(converter, bdim + 2 * i32);
    patterns.add<Pattern<NVVM::GridDimXOp>>(converter, gdim);
    patterns.add<Pattern<NVVM::GridDimYOp>>(converter, gdim + i32);
    patterns.add<Pattern<NVVM::GridDimZOp>>(converter, gdim + 2 * i32);
  }
};

struct SubgroupSize : ConvertOpToLLVMPattern<gpu::SubgroupSizeOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(gpu::SubgroupSizeOp op, OpAdaptor, ConversionPatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<LLVM::ConstantOp>(op, getTypeConverter()->convertType(op.getType()), 32);
    return success();
  }
};

struct DynamicShared : ConvertOpToLLVMPattern<gpu::DynamicSharedMemoryOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(gpu::DynamicSharedMemoryOp op, OpAdaptor, ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value pointer = loadField(rewriter, op, offsetof(Context, dynamicShared), LLVM::LLVMPointerType::get(getContext()));
    pointer.getDefiningOp()->setAttr(kObject, rewriter.getI32IntegerAttr(kDynamicShared));
    Value bytes = loadField(rewriter, op, offsetof(Context, dynamicSharedBytes), rewriter.getI64Type());
    if (getIndexType() != bytes.getType())
      bytes = LLVM::TruncOp::create(rewriter, loc, getIndexType(), bytes);
    auto descriptor = MemRefDescriptor::poison(rewriter, loc, getTypeConverter()->convertType(op.getType()));
    descriptor.setAllocatedPtr(rewriter, loc, pointer);
    descriptor.setAlignedPtr(rewriter, loc, pointer);
    descriptor.setConstantOffset(rewriter, loc, 0);
    descriptor.setSize(rewriter, loc, 0, bytes);
    descriptor.setConstantStride(rewriter, loc, 0, 1);
    rewriter.replaceOp(op, Value(descriptor));
    return success();
  }
};

// What the table says of a kernel, as attributes that outlive the conversion.
DictionaryAttr describeKernel(gpu::GPUFuncOp kernel) {
  Builder b(kernel.getContext());
  SmallVector<int32_t> bytes, pointers, aligns, readOnly, constants;
  for (auto [index, type] : llvm::enumerate(kernel.getArgumentTypes())) {
    bool isPointer = isa<MemRefType, LLVM::LLVMPointerType>(type);
    auto align = kernel.getArgAttrOfType<IntegerAttr>(index, "llvm.align");
    bool isRead = kernel.getArgAttr(index, "llvm.readonly") != nullptr;
    bytes.push_back(isPointer || type.isIndex() ? 8 : (type.getIntOrFloatBitWidth() + 7) / 8);
    pointers.push_back(isPointer);
    aligns.push_back(align ? align.getInt() : 1);
    readOnly.push_back(isRead);
    if (isRead && kernel.getArgAttr(index, "llvm.noalias")) // becomes ld.global.nc
      constants.push_back(kFirstParam + static_cast<int32_t>(index));
  }
  SmallVector<int64_t> shared, sharedAligns;
  for (auto [index, buffer] : llvm::enumerate(kernel.getWorkgroupAttributions())) {
    auto type = cast<MemRefType>(buffer.getType());
    auto align = dyn_cast_or_null<IntegerAttr>(kernel.getWorkgroupAttributionAttr(index, b.getStringAttr("llvm.align")));
    shared.push_back(bytesOf(type));
    sharedAligns.push_back(align ? align.getInt() : std::max<int64_t>(1, bytesOf(type) / type.getNumElements()));
  }
  SmallVector<int32_t> block(3, 0);
  if (std::optional<ArrayRef<int32_t>> known = kernel.getKnownBlockSize())
    block.assign(known->begin(), known->end());
  return b.getDictionaryAttr({
      b.getNamedAttr("param_bytes", b.getDenseI32ArrayAttr(bytes)),
      b.getNamedAttr("param_pointers", b.getDenseI32ArrayAttr(pointers)),
      b.getNamedAttr("param_aligns", b.getDenseI32ArrayAttr(aligns)),
      b.getNamedAttr("param_read_only", b.getDenseI32ArrayAttr(readOnly)),
      b.getNamedAttr("constant_params", b.getDenseI32ArrayAttr(constants)),
      b.getNamedAttr("shared_bytes", b.getDenseI64ArrayAttr(shared)),
      b.getNamedAttr("shared_aligns", b.getDenseI64ArrayAttr(sharedAligns)),
      b.getNamedAttr("block", b.getDenseI32ArrayAttr(block)),
      b.getNamedAttr("waits", b.getBoolAttr(waitsForOthers(kernel))),
  });
}

LogicalResult checkKernel(gpu::GPUFuncOp kernel) {
  if (!kernel.isKernel())
    return kernel.emitError("functions that kernels call are not simulated: inline them");
  for (Type type : kernel.getArgumentTypes())
    if (auto memref = dyn_cast<MemRefType>(type); memref && !memref.hasStaticShape())
      return kernel.emitError("a kernel takes bare pointers: memrefs of static shape, not ") << type;
  int64_t shared = 0;
  for (BlockArgument buffer : kernel.getWorkgroupAttributions())
    shared += bytesOf(cast<MemRefType>(buffer.getType()));
  if (shared > kMaxStaticShared)
    return kernel.emitError("has ") << shared << " bytes of static shared memory, more than " << kMaxStaticShared
                                    << ": make it dynamic";
  return success();
}

// The kernel as a function of the thread's context and its parameters, its buffers taken from the context and the stack.
func::FuncOp takeKernel(gpu::GPUFuncOp kernel, const LLVMTypeConverter &converter) {
  OpBuilder b(kernel->getParentOp());
  Location loc = kernel.getLoc();
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  unsigned numParams = kernel.getNumArguments(), numShared = kernel.getNumWorkgroupAttributions();
  SmallVector<Type> types{pointer};
  llvm::append_range(types, kernel.getArgumentTypes());
  auto function = func::FuncOp::create(b, loc, kernel.getName(), b.getFunctionType(types, {}));
  function->setAttr(kKernel, describeKernel(kernel));
  function.getBody().takeBody(kernel.getBody());
  Block &entry = function.getBody().front();
  entry.insertArgument(0u, pointer, loc);
  b.setInsertionPointToStart(&entry);
  for (unsigned i = 1 + numParams; i < entry.getNumArguments(); ++i) {
    BlockArgument buffer = entry.getArgument(i);
    auto type = cast<MemRefType>(buffer.getType());
    Value address;
    if (unsigned number = i - 1 - numParams; number < numShared) {
      Value buffers = loadField(b, &entry.back(), offsetof(Context, shared), pointer);
      Value place = LLVM::GEPOp::create(b, loc, pointer, pointer, buffers, ArrayRef<LLVM::GEPArg>{int32_t(number)});
      auto load = LLVM::LoadOp::create(b, loc, pointer, place, 0, false, false, /*isInvariant=*/true);
      load->setAttr(kOwnAccess, b.getUnitAttr());
      load->setAttr(kObject, b.getI32IntegerAttr(kFirstShared + number));
      address = load;
    } else {
      Type array = LLVM::LLVMArrayType::get(b.getI8Type(), bytesOf(type));
      address = LLVM::AllocaOp::create(b, loc, pointer, array, constantI32(b, loc, 1), /*alignment=*/16);
    }
    Value descriptor = MemRefDescriptor::fromStaticShape(b, loc, converter, type, address);
    buffer.replaceAllUsesWith(UnrealizedConversionCastOp::create(b, loc, type, descriptor).getResult(0));
  }
  entry.eraseArguments(1 + numParams, entry.getNumArguments() - 1 - numParams);
  function.walk([](gpu::ReturnOp op) {
    OpBuilder returns(op);
    func::ReturnOp::create(returns, op.getLoc());
    op.erase();
  });
  kernel.erase();
  addIndexChecks(function);
  return function;
}

// K_entry(context, addresses of parameters).
void addEntry(LLVM::LLVMFuncOp kernel) {
  OpBuilder b(kernel.getContext());
  b.setInsertionPointAfter(kernel);
  Location loc = kernel.getLoc();
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, pointer});
  auto entry = LLVM::LLVMFuncOp::create(b, loc, (kernel.getName() + "_entry").str(), type);
  Block *block = entry.addEntryBlock(b);
  b.setInsertionPointToStart(block);
  SmallVector<Value> arguments{block->getArgument(0)};
  for (auto [index, param] : llvm::enumerate(kernel.getFunctionType().getParams().drop_front())) {
    Value place = LLVM::GEPOp::create(b, loc, pointer, pointer, block->getArgument(1), ArrayRef<LLVM::GEPArg>{int32_t(index)});
    arguments.push_back(LLVM::LoadOp::create(b, loc, param, LLVM::LoadOp::create(b, loc, pointer, place)));
  }
  LLVM::CallOp::create(b, loc, kernel, arguments);
  LLVM::ReturnOp::create(b, loc, ValueRange());
  kernel.setLinkage(LLVM::Linkage::Internal);
}

struct GpuToHost : PassWrapper<GpuToHost, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(GpuToHost)
  StringRef getArgument() const override { return "snug-gpu-to-host"; }
  StringRef getDescription() const override { return "Lower the kernels of gpu.modules for the simulator"; }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<LLVM::LLVMDialect, func::FuncDialect, arith::ArithDialect, cf::ControlFlowDialect,
                    memref::MemRefDialect, vector::VectorDialect>();
  }

  // What both lowerings make of ops that no instruction stands for, in the same way.
  LogicalResult expand(gpu::GPUModuleOp kernels) {
    RewritePatternSet patterns(&getContext());
    for (unsigned bits : {32, 64}) // of one shuffle at most; 64 are two
      populateGpuLowerSubgroupReduceToShufflePatterns(patterns, /*subgroupSize=*/32, bits, /*benefit=*/bits == 32 ? 2 : 1);
    populateGpuRewritePatterns(patterns);
    vector::populateVectorFromElementsUnrollPatterns(patterns);
    vector::populateVectorToElementsUnrollPatterns(patterns);
    vector::populateVectorTransferLoweringPatterns(patterns, /*maxTransferRank=*/1);
    vector::populateVectorBroadcastLoweringPatterns(patterns);
    vector::populateVectorShapeCastLoweringPatterns(patterns);
    vector::populateVectorTransposeLoweringPatterns(patterns, vector::VectorTransposeLowering::EltWise);
    vector::populateVectorInsertExtractStridedSliceTransforms(patterns);
    vector::populateVectorRankReducingFMAPattern(patterns);
    vector::populateVectorStepLoweringPatterns(patterns);
    arith::populateCeilFloorDivExpandOpsPatterns(patterns);
    math::populateExpansionPatterns(patterns, {"rsqrt"}); // of which the host has no function
    snug::codegen::populateFloatConversionPatterns(patterns, *target);
    return applyPatternsGreedily(kernels, std::move(patterns));
  }

  LogicalResult convert(ArrayRef<Operation *> ops, unsigned indexBits, LLVMTypeConverter &converter) {
    RewritePatternSet patterns(&getContext());
    arith::populateArithToLLVMConversionPatterns(converter, patterns);
    cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
    populateFuncToLLVMConversionPatterns(converter, patterns);
    populateFinalizeMemRefToLLVMConversionPatterns(converter, patterns);
    populateMathToLLVMConversionPatterns(converter, patterns, /*approximateLog1p=*/false);
    populateMathToLibmConversionPatterns(patterns, /*benefit=*/2); // upstream's other patterns lose digits
    ub::populateUBToLLVMConversionPatterns(converter, patterns);
    populateVectorToLLVMConversionPatterns(converter, patterns);
    KernelIds::add(converter, patterns);
    patterns.add<SubgroupSize, DynamicShared, ToTF32>(converter);
    populateWarpOpPatterns(converter, patterns);
    populateAsyncCopyPatterns(converter, patterns);
    LLVMConversionTarget legal(getContext());
    legal.addIllegalDialect<gpu::GPUDialect, nvgpu::NVGPUDialect, NVVM::NVVMDialect, func::FuncDialect, math::MathDialect>();
    return applyPartialConversion(ops, legal, std::move(patterns));
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    llvm::Expected<snug::codegen::CpuTarget> host = snug::codegen::CpuTarget::create("");
    if (!host) {
      module.emitError(llvm::toString(host.takeError()));
      return signalPassFailure();
    }
    target = &*host;
    std::map<unsigned, std::unique_ptr<LLVMTypeConverter>> converters;
    for (unsigned bits : {32u, 64u}) {
      LowerToLLVMOptions options(&getContext());
      options.overrideIndexBitwidth(bits);
      options.useBarePtrCallConv = true;
      auto converter = std::make_unique<LLVMTypeConverter>(&getContext(), options);
      converter->addTypeAttributeConversion([](BaseMemRefType, IntegerAttr space) { return IntegerAttr::get(space.getType(), 0); });
      populateGpuMemorySpaceAttributeConversions(*converter, [](gpu::AddressSpace) { return 0u; });
      converter->addConversion([](nvgpu::DeviceAsyncTokenType type) { return IntegerType::get(type.getContext(), 32); });
      converters[bits] = std::move(converter);
    }
    for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
      if (!isa<gpu::GPUModuleOp>(op)) // of the host's program
        op.erase();
    std::map<unsigned, SmallVector<Operation *>> groups;
    for (auto kernels : llvm::make_early_inc_range(module.getOps<gpu::GPUModuleOp>())) {
      if (failed(expand(kernels)))
        return signalPassFailure();
      for (Operation &op : llvm::make_early_inc_range(*kernels.getBody())) {
        auto kernel = dyn_cast<gpu::GPUFuncOp>(op);
        unsigned bits = 64;
        if (kernel) {
          if (failed(checkKernel(kernel)))
            return signalPassFailure();
          if (auto given = kernel->getAttrOfType<IntegerAttr>(kIndexBits))
            bits = given.getInt();
          if (!converters.count(bits)) {
            kernel.emitError(kIndexBits) << " is 32 or 64, not " << bits;
            return signalPassFailure();
          }
        }
        Operation *taken = kernel ? takeKernel(kernel, *converters[bits]).getOperation() : &op;
        taken->moveBefore(module.getBody(), module.getBody()->end());
        groups[bits].push_back(taken);
      }
      kernels.erase();
    }
    for (auto &[bits, ops] : groups)
      if (failed(convert(ops, bits, *converters[bits])))
        return signalPassFailure();
    for (auto function : llvm::make_early_inc_range(module.getOps<LLVM::LLVMFuncOp>()))
      if (function->hasAttr(kKernel))
        addEntry(function);
  }

  const snug::codegen::CpuTarget *target = nullptr;
};
} // namespace

std::unique_ptr<Pass> snug::sim::createGpuToHostPass() { return std::make_unique<GpuToHost>(); }

void snug::sim::registerSimPasses() {
  registerPass(createGpuToHostPass);
  registerPass(createInstrumentPass);
}

void snug::sim::addHostPasses(OpPassManager &modules) {
  OpPassManager &kernels = modules.nest<gpu::GPUModuleOp>();
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  kernels.addPass(createSCFToControlFlowPass());
  modules.addPass(createGpuToHostPass());
  modules.addPass(createReconcileUnrealizedCastsPass());
  modules.addPass(createCanonicalizerPass());
  modules.addPass(createCSEPass());
  modules.addPass(createInstrumentPass());
}
