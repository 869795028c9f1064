// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "test/gpu/lower/HookCalls.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;
using namespace snug::sim;

namespace {
struct AsyncCopy : ConvertOpToLLVMPattern<nvgpu::DeviceAsyncCopyOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(nvgpu::DeviceAsyncCopyOp op, OpAdaptor adaptor,
                                ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    auto to = cast<MemRefType>(op.getDst().getType()), from = cast<MemRefType>(op.getSrc().getType());
    int64_t elementBytes = to.getElementTypeBitWidth() / 8;
    int64_t bytes = op.getDstElements().getZExtValue() * elementBytes;
    if (bytes != 16 && (op.getBypassL1() || (bytes != 4 && bytes != 8)))
      return op.emitError("cp.async copies 4, 8 or 16 bytes, past L1 16, not ") << bytes;
    Value destination = getStridedElementPtr(rewriter, loc, to, adaptor.getDst(), adaptor.getDstIndices());
    Value source = getStridedElementPtr(rewriter, loc, from, adaptor.getSrc(), adaptor.getSrcIndices());
    Value live = constantI32(rewriter, loc, bytes);
    if (Value elements = adaptor.getSrcElements()) {
      if (elements.getType() != rewriter.getI32Type())
        elements = LLVM::TruncOp::create(rewriter, loc, rewriter.getI32Type(), elements);
      live = LLVM::MulOp::create(rewriter, loc, elements, constantI32(rewriter, loc, elementBytes));
    }
    Value unknown = constantI32(rewriter, loc, kUnknown);
    callHook(rewriter, op, kAsyncCopy, {static_cast<int32_t>(bytes)}, {destination, unknown, source, unknown, live}, {},
             /*pointers=*/{0, 2});
    rewriter.replaceOp(op, constantI32(rewriter, loc, 0));
    return success();
  }
};

struct AsyncCommit : ConvertOpToLLVMPattern<nvgpu::DeviceAsyncCreateGroupOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(nvgpu::DeviceAsyncCreateGroupOp op, OpAdaptor,
                                ConversionPatternRewriter &rewriter) const override {
    callHook(rewriter, op, kAsyncCommit, {}, {});
    rewriter.replaceOp(op, constantI32(rewriter, op.getLoc(), 0));
    return success();
  }
};

struct AsyncWait : ConvertOpToLLVMPattern<nvgpu::DeviceAsyncWaitOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(nvgpu::DeviceAsyncWaitOp op, OpAdaptor, ConversionPatternRewriter &rewriter) const override {
    callHook(rewriter, op, kAsyncWait, {static_cast<int32_t>(op.getNumGroups().value_or(0))}, {});
    rewriter.eraseOp(op);
    return success();
  }
};
} // namespace

void snug::sim::populateAsyncCopyPatterns(const LLVMTypeConverter &converter, RewritePatternSet &patterns) {
  patterns.add<AsyncCopy, AsyncCommit, AsyncWait>(converter);
}
