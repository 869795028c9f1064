// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels given by their scalar code: loops over the parallel dims around it.
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/TextOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "snug/ModelABI.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

static_assert(static_cast<int>(nn::PixelsRGB) == SNUG_PIXELS_RGB && static_cast<int>(nn::PixelsBGR) == SNUG_PIXELS_BGR &&
              static_cast<int>(nn::PixelsGrayscale) == SNUG_PIXELS_GRAYSCALE);
static_assert(static_cast<int>(nn::TextKind::Compare) == SNUG_TEXT_COMPARE &&
              static_cast<int>(nn::TextKind::AtMost) == SNUG_TEXT_AT_MOST &&
              static_cast<int>(nn::TextKind::DecodeImage) == SNUG_TEXT_DECODE_IMAGE &&
              static_cast<int>(nn::TextKind::ImageSize) == SNUG_TEXT_IMAGE_SIZE &&
              nn::getMaxEnumValForTextKind() == SNUG_TEXT_IMAGE_SIZE);

KernelRange codegen::planScalarKernel(nn::ScalarKernelOp op) {
  SmallVector<AffineMap> maps = op.getMaps();
  KernelRange range;
  for (unsigned dim = 0; dim < op.getNumParallelDims(); ++dim)
    range.factors.push_back({{*extentPlace(maps, dim)}});
  double operations = 0, turns = 1;
  op.getBody().walk([&](Operation *inner) {
    ++operations;
    if (isa<LoopLikeOpInterface>(inner))
      turns = 64; // that many are data
  });
  range.grain = grainOf(0.5 * operations * turns);
  return range;
}

// Calls the runtime's function on strings. Operands and results travel in words on the stack, a place for each op.
static SmallVector<Value> callText(CpuKernelBuilder &b, nn::TextOp op) {
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  Block *entry = &b.lo.getParentRegion()->front();
  auto isString = [](Value value) { return value.getType().isInteger(128); };
  auto words = [&](ValueRange values) -> Value {
    int64_t count = 0;
    for (Value value : values)
      count += isString(value) ? 2 : 1;
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(entry);
    Value size = LLVM::ConstantOp::create(b, i64, b.getI64IntegerAttr(count));
    return LLVM::AllocaOp::create(b, pointer, i64, size, /*alignment=*/16);
  };
  auto each = [&](Value place, ValueRange values, function_ref<void(Value, Value)> body) {
    int32_t word = 0;
    for (Value value : values) {
      body(value, LLVM::GEPOp::create(b, pointer, i64, place, ArrayRef<LLVM::GEPArg>{word}));
      word += isString(value) ? 2 : 1;
    }
  };
  Value operands = words(op.getOperands()), results = words(op.getResults());
  each(operands, op.getOperands(), [&](Value value, Value at) { LLVM::StoreOp::create(b, value, at, 8); });
  ValueRange runtime = ValueRange(entry->getArguments()).drop_back(3).take_back(3); // in front of lo, hi and thread
  Value function = LLVM::IntToPtrOp::create(b, pointer, runtime[0]);
  Value state = LLVM::IntToPtrOp::create(b, pointer, runtime[1]);
  Value kind = arith::ConstantOp::create(b, b.getI64IntegerAttr(static_cast<int64_t>(op.getKind())));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, i64, i64, pointer, pointer});
  LLVM::CallOp::create(b, type, ValueRange{function, state, kind, runtime[2], operands, results});
  SmallVector<Value> loaded;
  each(results, op.getResults(),
       [&](Value value, Value at) { loaded.push_back(LLVM::LoadOp::create(b, value.getType(), at, 8)); });
  return loaded;
}

// Address and, in the upper half, number.
static Value bytesOf(CpuKernelBuilder &b, Value memref) {
  Type i64 = b.getI64Type(), i128 = b.getIntegerType(128);
  Value address = arith::IndexCastOp::create(b, i64, memref::ExtractAlignedPointerAsIndexOp::create(b, memref));
  Value count = arith::ConstantIndexOp::create(b, 1);
  for (int64_t dim = 0; dim < cast<MemRefType>(memref.getType()).getRank(); ++dim)
    count = arith::MulIOp::create(b, count, b.size(memref, dim));
  Value upper = arith::ExtUIOp::create(b, i128, arith::IndexCastOp::create(b, i64, count).getResult());
  upper = arith::ShLIOp::create(b, upper, arith::ConstantOp::create(b, b.getIntegerAttr(i128, 64)));
  return arith::OrIOp::create(b, upper, arith::ExtUIOp::create(b, i128, address).getResult());
}

LogicalResult codegen::lowerScalarKernel(nn::ScalarKernelOp op, CpuKernelBuilder &b) {
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned parallel = op.getNumParallelDims();
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim < parallel; ++dim)
    sizes.push_back(b.size(op, extentPlace(maps, dim)));
  Block &body = op.getBody().front();
  for (nn::TextBytesOp bytes : body.getOps<nn::TextBytesOp>())
    if (!cast<MemRefType>(op->getOperand(bytes.getNumber()).getType()).getLayout().isIdentity())
      return op.emitOpError("needs the bytes of an operand in a row");
  auto callRuntime = [&](Operation *access) -> SmallVector<Value> {
    if (auto bytes = dyn_cast<nn::TextBytesOp>(access))
      return {bytesOf(b, op->getOperand(bytes.getNumber()))};
    return callText(b, cast<nn::TextOp>(access));
  };
  b.overRange(sizes, [&](ArrayRef<Value> outer, Value first, Value end) {
    b.loop(first, end, 1, [&](Value i) {
      SmallVector<Value> place(outer);
      if (parallel)
        place.push_back(i);
      emitRegion(op, b, place, callRuntime);
    });
  });
  return success();
}
