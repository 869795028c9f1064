// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/Codegen.h"
#include "codegen/cuda/AssembleKernels.h"
#include "codegen/cuda/Kernels.h"
#include "dialects/plan/PlanDialect.h"
#include "snug/ExitCodes.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

LogicalResult CudaKernels::compile(ModuleOp module, const CodegenOptions &options, KernelCode &code,
                                   CodegenReport &report) const {
  code.isForGpu = true;
  // Asked for before work is done that would be in vain.
  llvm::Expected<CudaToolkit> toolkit = CudaToolkit::find(options.cudaToolkit);
  if (!toolkit)
    return fail(module, report, SNUG_EXIT_MACHINE, llvm::toString(toolkit.takeError()));
  if (llvm::Error unknown = toolkit->check(chips))
    return fail(module, report, SNUG_EXIT_USAGE, llvm::toString(std::move(unknown)));

  // A module of its own for the dump, which is what tools for kernels read.
  OwningOpRef<ModuleOp> holder = ModuleOp::create(module.getLoc());
  (*holder)->setAttr(gpu::GPUDialect::getContainerModuleAttrName(), UnitAttr::get(module.getContext()));
  if (Attribute precision = module->getAttr(kPrecision))
    (*holder)->setAttr(kPrecision, precision);
  OpBuilder builder = OpBuilder::atBlockEnd(holder->getBody());
  auto kernels = gpu::GPUModuleOp::create(builder, module.getLoc(), "kernels");
  {
    Stopwatch watch(report.lowerMs);
    for (auto kernel : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      if (kernel.getSymName() == "main")
        continue;
      if (failed(lowerKernel(kernel, kernels)))
        return fail(module, report, SNUG_EXIT_UNSUPPORTED, "the model needs a kernel that code generation does not have");
      code.gpuKernels.push_back({kernel.getSymName().str(), static_cast<uint32_t>(kBlock), /*sharedBytes=*/0,
                                 kernel.getNumArguments()});
      kernel.erase();
    }
  }
  dump(*holder, options, "kernels");
  if (code.gpuKernels.empty())
    return success();
  Stopwatch watch(report.llvmMs);
  AssembleOptions assemble;
  assemble.chips = chips;
  assemble.dumpPrefix = dumpPrefix(options, "kernels");
  assemble.verify = options.verify;
  int exitCode = SNUG_EXIT_FAULT;
  FailureOr<GpuImage> image = assembleKernels(kernels, *toolkit, assemble, exitCode);
  if (failed(image))
    return fail(module, report, exitCode, "the kernels could not be compiled for the GPU");
  report.gpuKernels = std::move(image->resources);
  code.gpuImage.assign(image->bytes.begin(), image->bytes.end());
  return success();
}
