// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/GpuToNvvm.h"
#include "codegen/cuda/Passes.h"
#include "mlir/Conversion/ArithCommon/AttrToLLVMConverter.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/LLVMCommon/VectorPattern.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/NVGPUToNVVM/NVGPUToNVVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/DialectConversion.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/DataLayout.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_GPUTONVVM
#include "codegen/cuda/Passes.h.inc"
} // namespace snug

namespace {
// nvgpu.mma.sync on bf16. A fragment vector<Nx2xbf16> is array<N x vector<2xbf16>> in LLVM; nvvm.mma.sync wants it in N
// registers of 32 bits.
struct Bf16Mma : ConvertOpToLLVMPattern<nvgpu::MmaSyncOp> {
  explicit Bf16Mma(const LLVMTypeConverter &converter) : ConvertOpToLLVMPattern(converter, /*benefit=*/2) {}

  LogicalResult matchAndRewrite(nvgpu::MmaSyncOp op, OpAdaptor adaptor, ConversionPatternRewriter &b) const override {
    if (!op.getMatrixA().getType().getElementType().isBF16())
      return failure();
    Location loc = op.getLoc();
    Type f32 = b.getF32Type(), i32 = b.getI32Type();
    auto index = [&](int64_t i) { return LLVM::ConstantOp::create(b, loc, i32, b.getI32IntegerAttr(i)); };
    auto pairs = [&](Value fragment) {
      SmallVector<Value> all;
      for (int64_t i = 0, n = cast<LLVM::LLVMArrayType>(fragment.getType()).getNumElements(); i < n; ++i)
        all.push_back(LLVM::ExtractValueOp::create(b, loc, fragment, i));
      return all;
    };
    auto registers = [&](Value fragment) {
      SmallVector<Value> all;
      for (Value pair : pairs(fragment))
        all.push_back(LLVM::BitcastOp::create(b, loc, i32, pair));
      return all;
    };
    SmallVector<Value> sums;
    for (Value pair : pairs(adaptor.getMatrixC()))
      for (int64_t i : {0, 1})
        sums.push_back(LLVM::ExtractElementOp::create(b, loc, pair, index(i)));
    Type four = LLVM::LLVMStructType::getLiteral(b.getContext(), {f32, f32, f32, f32});
    Value product = NVVM::MmaOp::create(b, loc, four, registers(adaptor.getMatrixA()), registers(adaptor.getMatrixB()),
                                        sums, op.getMmaShapeAsArray(), std::nullopt, std::nullopt,
                                        std::array{NVVM::MMATypes::bf16, NVVM::MMATypes::bf16},
                                        std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
    auto type = cast<LLVM::LLVMArrayType>(adaptor.getMatrixC().getType());
    Value result = LLVM::PoisonOp::create(b, loc, type);
    for (int64_t i : {0, 1}) {
      Value pair = LLVM::PoisonOp::create(b, loc, type.getElementType());
      for (int64_t j : {0, 1}) {
        Value element = LLVM::ExtractValueOp::create(b, loc, product, i * 2 + j);
        pair = LLVM::InsertElementOp::create(b, loc, pair, element, index(j));
      }
      result = LLVM::InsertValueOp::create(b, loc, result, pair, i);
    }
    b.replaceOp(op, result);
    return success();
  }
};

// Ops that are one instruction, or a few without a branch: upstream calls libdevice for them, element by element, and
// widens f16 and bf16 to f32 first.
template <typename Op, typename Instruction>
using ToInstruction = VectorConvertToLLVMPattern<Op, Instruction, arith::AttrConvertFastMathToLLVM>;

void populateInstructionPatterns(const LLVMTypeConverter &converter, RewritePatternSet &patterns) {
  patterns.add<ToInstruction<math::AbsFOp, LLVM::FAbsOp>, ToInstruction<math::CeilOp, LLVM::FCeilOp>,
               ToInstruction<math::FloorOp, LLVM::FFloorOp>, ToInstruction<math::FmaOp, LLVM::FMAOp>,
               ToInstruction<math::RoundEvenOp, LLVM::RoundEvenOp>, ToInstruction<math::SqrtOp, LLVM::SqrtOp>,
               ToInstruction<math::TruncOp, LLVM::FTruncOp>>(converter, /*benefit=*/2);
}

// What becomes ops that the conversion has patterns for.
LogicalResult expand(gpu::GPUModuleOp module) {
  RewritePatternSet patterns(module.getContext());
  // Elements of 64 bits are shuffled as such; others as 32 bits.
  populateGpuLowerSubgroupReduceToShufflePatterns(patterns, /*subgroupSize=*/32, /*shuffleBitwidth=*/32, /*benefit=*/2);
  populateGpuLowerSubgroupReduceToShufflePatterns(patterns, /*subgroupSize=*/32, /*shuffleBitwidth=*/64, /*benefit=*/1);
  populateGpuRewritePatterns(patterns);
  arith::populateCeilFloorDivExpandOpsPatterns(patterns);
  vector::populateVectorBitCastLoweringPatterns(patterns);
  vector::populateVectorBroadcastLoweringPatterns(patterns);
  vector::populateVectorInterleaveLoweringPatterns(patterns);
  vector::populateVectorShapeCastLoweringPatterns(patterns);
  vector::populateVectorTransposeLoweringPatterns(patterns, vector::VectorTransposeLowering::EltWise);
  vector::populateVectorInsertExtractStridedSliceTransforms(patterns);
  vector::populateVectorRankReducingFMAPattern(patterns);
  vector::populateVectorStepLoweringPatterns(patterns);
  vector::populateVectorFromElementsUnrollPatterns(patterns);
  vector::populateVectorToElementsUnrollPatterns(patterns);
  return applyPatternsGreedily(module, std::move(patterns));
}

LogicalResult convert(gpu::GPUModuleOp module, ArrayRef<Operation *> kernels, unsigned indexBits, StringRef layout) {
  MLIRContext *context = module.getContext();
  LowerToLLVMOptions options(context, DataLayout(module));
  options.overrideIndexBitwidth(indexBits);
  options.useBarePtrCallConv = true;
  options.dataLayout = llvm::DataLayout(layout);
  LLVMTypeConverter converter(context, options);
  configureGpuToNVVMTypeConverter(converter);
  nvgpu::populateCommonGPUTypeAndAttributeConversions(converter);
  converter.addConversion(
      [](nvgpu::DeviceAsyncTokenType type) -> Type { return IntegerType::get(type.getContext(), 32); });

  RewritePatternSet patterns(context);
  arith::populateArithToLLVMConversionPatterns(converter, patterns);
  cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
  populateFinalizeMemRefToLLVMConversionPatterns(converter, patterns);
  populateVectorToLLVMConversionPatterns(converter, patterns);
  ub::populateUBToLLVMConversionPatterns(converter, patterns);
  populateMathToLLVMConversionPatterns(converter, patterns, /*approximateLog1p=*/false, /*benefit=*/0);
  populateInstructionPatterns(converter, patterns);
  populateGpuToNVVMConversionPatterns(converter, patterns);
  populateNVGPUToNVVMConversionPatterns(converter, patterns);
  patterns.add<Bf16Mma>(converter);

  LLVMConversionTarget target(*context);
  configureGpuToNVVMConversionLegality(target);
  target.addLegalOp<LLVM::FAbsOp, LLVM::FCeilOp, LLVM::FFloorOp, LLVM::SqrtOp>();
  target.addIllegalDialect<nvgpu::NVGPUDialect, memref::MemRefDialect, vector::VectorDialect, math::MathDialect,
                           arith::ArithDialect, cf::ControlFlowDialect>();
  return applyPartialConversion(kernels, target, std::move(patterns));
}

LogicalResult checkArguments(gpu::GPUFuncOp kernel) {
  for (auto [index, type] : llvm::enumerate(kernel.getArgumentTypes()))
    if (auto memref = dyn_cast<MemRefType>(type);
        isa<UnrankedMemRefType>(type) || (memref && !(memref.hasStaticShape() && memref.getLayout().isIdentity())))
      return mlir::emitError(kernel.getLoc(), "argument ")
             << index << " of kernel '" << kernel.getName() << "' is " << type
             << ", but kernels take bare pointers: memrefs of static shape, of which the body makes views";
  return success();
}

struct GpuToNvvmPass : snug::impl::GpuToNvvmBase<GpuToNvvmPass> {
  using GpuToNvvmBase::GpuToNvvmBase;

  void runOnOperation() override {
    gpu::GPUModuleOp module = getOperation();
    if (failed(expand(module)))
      return signalPassFailure();
    SmallVector<Operation *> narrow, wide;
    for (auto kernel : module.getOps<gpu::GPUFuncOp>()) {
      if (failed(checkArguments(kernel)))
        return signalPassFailure();
      auto stated = kernel->getAttrOfType<IntegerAttr>(codegen::kIndexBits);
      int64_t bits = stated ? stated.getInt() : indexBits;
      if (bits != 32 && bits != 64) {
        mlir::emitError(kernel.getLoc(), "an index has 32 or 64 bits on a GPU, not ") << bits;
        return signalPassFailure();
      }
      (bits == 32 ? narrow : wide).push_back(kernel);
    }
    // Without it, translation takes an i64 to be aligned to 4 bytes only, and loads it in halves.
    std::string layout = llvm::Triple(codegen::kGpuTriple).computeDataLayout();
    module->setAttr(LLVM::LLVMDialect::getDataLayoutAttrName(), StringAttr::get(&getContext(), layout));
    if (failed(convert(module, narrow, 32, layout)) || failed(convert(module, wide, 64, layout)))
      return signalPassFailure();

    // Upstream's buffer for dynamic shared memory is internal: ptxas then gives it one byte among the static ones, and
    // what follows overlaps them. An external one stands behind them.
    for (auto global : module.getOps<LLVM::GlobalOp>())
      if (global.getSymName().starts_with("__dynamic_shmem__"))
        global.setLinkage(LLVM::Linkage::External);
    // Atomic operations order nothing but themselves: upstream's would wait for all that the thread has written, in the whole system.
    module.walk([](LLVM::AtomicCmpXchgOp op) {
      op.setSuccessOrdering(LLVM::AtomicOrdering::monotonic);
      op.setFailureOrdering(LLVM::AtomicOrdering::monotonic);
      op.setSyncscope("device");
    });
    module.walk([](LLVM::AtomicRMWOp op) {
      op.setOrdering(LLVM::AtomicOrdering::monotonic);
      op.setSyncscope("device");
    });
    // A kernel is launched with the very block size that it was made for.
    for (auto kernel : module.getOps<LLVM::LLVMFuncOp>())
      if (Attribute size = kernel->removeAttr(NVVM::NVVMDialect::getMaxntidAttrName()))
        kernel->setAttr(NVVM::NVVMDialect::getReqntidAttrName(), size);
  }
};
} // namespace

void codegen::addFlattenKernelsPasses(OpPassManager &kernels) {
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  kernels.addPass(createSCFToControlFlowPass());
}

void codegen::addGpuToNvvmPasses(OpPassManager &kernels) {
  addFlattenKernelsPasses(kernels);
  kernels.addPass(createGpuToNvvm());
  kernels.addPass(createConvertNVVMToLLVMPass()); // what LLVM has no intrinsic for, as PTX
  kernels.addPass(createReconcileUnrealizedCastsPass());
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
}
