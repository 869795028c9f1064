// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/EmitObject.h"
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/Kernels.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// The pass that makes strides explicit crashes on a dim that is expanded to several dynamic ones; such expansions are
// written as casts before it.
void castDynamicExpansions(ModuleOp module) {
  SmallVector<memref::ExpandShapeOp> expansions;
  module.walk([&](memref::ExpandShapeOp op) {
    if (llvm::any_of(op.getReassociationIndices(), [&](ArrayRef<int64_t> group) {
          return llvm::count_if(group, [&](int64_t dim) { return op.getResultType().isDynamicDim(dim); }) > 1;
        }))
      expansions.push_back(op);
  });
  for (memref::ExpandShapeOp op : expansions) {
    OpBuilder b(op);
    auto metadata = memref::ExtractStridedMetadataOp::create(b, op.getLoc(), op.getSrc());
    SmallVector<OpFoldResult> sizes = op.getMixedOutputShape(), strides(sizes.size());
    int64_t offset;
    SmallVector<int64_t> known;
    (void)op.getResultType().getStridesAndOffset(known, offset); // the verifier has seen to it
    for (auto [source, group] : llvm::enumerate(op.getReassociationIndices())) {
      Value stride = getValueOrCreateConstantIndexOp(b, op.getLoc(), metadata.getConstifiedMixedStrides()[source]);
      for (int64_t dim : llvm::reverse(group)) {
        strides[dim] = ShapedType::isDynamic(known[dim]) ? OpFoldResult(stride) : b.getIndexAttr(known[dim]);
        Value size = getValueOrCreateConstantIndexOp(b, op.getLoc(), sizes[dim]);
        stride = arith::MulIOp::create(b, op.getLoc(), stride, size);
      }
    }
    OpFoldResult start = ShapedType::isDynamic(offset) ? OpFoldResult(metadata.getOffset()) : b.getIndexAttr(offset);
    Value cast = memref::ReinterpretCastOp::create(b, op.getLoc(), op.getResultType(), metadata.getBaseBuffer(), start,
                                                   sizes, strides);
    op.replaceAllUsesWith(cast);
    op.erase();
  }
}

void writeDump(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> print) {
  std::error_code code;
  llvm::raw_fd_ostream os(path, code);
  if (code)
    llvm::errs() << "cannot write " << path << ": " << code.message() << "\n";
  else
    print(os);
}
} // namespace

LogicalResult codegen::lowerKernels(ModuleOp module, const CpuTarget &target) {
  RewritePatternSet patterns(module.getContext());
  populateMathApproximationPatterns(patterns, target);
  populateFloatConversionPatterns(patterns, target);
  // Blocks that are transposed in registers: by shuffles, not element by element.
  vector::populateVectorTransposeLoweringPatterns(patterns, vector::VectorTransposeLowering::Shuffle16x16);
  vector::populateVectorShapeCastLoweringPatterns(patterns);
  FrozenRewritePatternSet frozen(std::move(patterns));
  for (auto kernel : module.getOps<func::FuncOp>()) {
    if (failed(lowerKernel(kernel, target)))
      return failure();
    bytesForBools(kernel);
    if (failed(applyPatternsGreedily(kernel, frozen)))
      return kernel.emitError("math approximations did not come to an end");
  }
  return success();
}

LogicalResult codegen::convertToLLVM(ModuleOp module, bool verify) {
  PassManager simplify(module.getContext(), ModuleOp::getOperationName());
  simplify.enableVerifier(verify);
  simplify.addPass(createCanonicalizerPass());
  simplify.addPass(createCSEPass());
  if (failed(simplify.run(module)))
    return failure();
  castDynamicExpansions(module);
  PassManager pm(module.getContext(), ModuleOp::getOperationName());
  pm.enableVerifier(verify);
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addNestedPass<func::FuncOp>(createConvertMathToLLVMPass());
  pm.addPass(createConvertMathToLibmPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  ConvertFuncToLLVMPassOptions functions;
  functions.useBarePtrCallConv = true;
  pm.addPass(createConvertFuncToLLVMPass(functions));
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  return pm.run(module);
}

// x * y + z is rounded once, where the machine has that. Which products these are is decided here, op by op: what LLVM chooses to fuse of
// x * y + z * w, or across loops, depends on the loops around it, and a chunk loop's slices have to give the bits of the whole.
static void fuseMultiplyAdds(llvm::Module &code) {
  for (llvm::Function &function : code)
    for (llvm::BasicBlock &block : function)
      for (llvm::Instruction &sum : llvm::make_early_inc_range(block)) {
        bool isDifference = sum.getOpcode() == llvm::Instruction::FSub;
        if (!isDifference && sum.getOpcode() != llvm::Instruction::FAdd)
          continue;
        for (unsigned side : {0u, 1u}) {
          auto *product = dyn_cast<llvm::BinaryOperator>(sum.getOperand(side));
          if (!product || product->getOpcode() != llvm::Instruction::FMul || !product->hasOneUse() || product->getParent() != &block)
            continue;
          llvm::IRBuilder<> b(&sum);
          b.setFastMathFlags(sum.getFastMathFlags());
          llvm::Value *x = product->getOperand(0), *y = product->getOperand(1), *z = sum.getOperand(1 - side);
          if (isDifference)
            (side == 0 ? z : x) = b.CreateFNeg(side == 0 ? z : x);
          sum.replaceAllUsesWith(b.CreateIntrinsic(llvm::Intrinsic::fmuladd, {sum.getType()}, {x, y, z}));
          sum.eraseFromParent();
          product->eraseFromParent();
          break;
        }
      }
}

LogicalResult codegen::emitObject(ModuleOp module, const CpuTarget &target,
                                  const std::function<void(llvm::Module &)> &finish, const std::string &dumpPrefix,
                                  llvm::SmallVector<char, 0> &object) {
  std::unique_ptr<llvm::TargetMachine> machine = target.createMachine();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code = translateModuleToLLVMIR(module, context, "snug");
  if (!code)
    return module.emitError("translation to LLVM IR failed");
  code->setDataLayout(machine->createDataLayout());
  code->setTargetTriple(llvm::Triple(target.triple));
  finish(*code);
  for (llvm::Function &function : *code) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty())
      function.addFnAttr("target-features", target.features);
    // Without it LLVM stays at 256 bits on every x86 CPU.
    if (target.vectorBits >= 512)
      function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("no-trapping-math", "true");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
  fuseMultiplyAdds(*code);
  if (!dumpPrefix.empty())
    writeDump(dumpPrefix + ".unoptimized.ll", [&](llvm::raw_ostream &os) { code->print(os, nullptr); });
  std::string message;
  llvm::raw_string_ostream stream(message);
  if (llvm::verifyModule(*code, &stream))
    return module.emitError("generated LLVM IR is not valid: ") << message;

  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = true;
  tuning.SLPVectorization = false; // kernels are loops; on unrolled register tiles it only costs time
  tuning.LoopUnrolling = true;
  llvm::TargetLibraryInfoImpl library{llvm::Triple(target.triple)};
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(machine.get(), tuning);
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(*code, modules);

  auto emit = [&](llvm::Module &from, llvm::CodeGenFileType type, llvm::raw_pwrite_stream &os) {
    llvm::legacy::PassManager codegen;
    if (machine->addPassesToEmitFile(codegen, os, nullptr, type))
      return false;
    codegen.run(from);
    return true;
  };
  if (!dumpPrefix.empty()) {
    writeDump(dumpPrefix + ".ll", [&](llvm::raw_ostream &os) { code->print(os, nullptr); });
    llvm::SmallVector<char, 0> text;
    llvm::raw_svector_ostream os(text);
    if (emit(*llvm::CloneModule(*code), llvm::CodeGenFileType::AssemblyFile, os))
      writeDump(dumpPrefix + ".s", [&](llvm::raw_ostream &file) { file << StringRef(text.data(), text.size()); });
  }
  llvm::raw_svector_ostream os(object);
  if (!emit(*code, llvm::CodeGenFileType::ObjectFile, os))
    return module.emitError("LLVM cannot write object files for ") << target.triple;
  return success();
}
