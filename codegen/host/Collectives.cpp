// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/host/Collectives.h"
#include "codegen/kernel/KernelTarget.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

Value codegen::addressOfFirst(ImplicitLocOpBuilder &b, Value memref) {
  Value address = memref::ExtractAlignedPointerAsIndexOp::create(b, memref);
  Value offset = memref::ExtractStridedMetadataOp::create(b, memref).getOffset();
  Value scale =
      arith::ConstantIndexOp::create(b, elementBytes(cast<MemRefType>(memref.getType()).getElementType()));
  return arith::AddIOp::create(b, address, arith::MulIOp::create(b, offset, scale));
}

// Elements of one part: what the ABI counts.
static Value countOf(ImplicitLocOpBuilder &b, mesh::CollectiveOpInterface op) {
  bool isGathered = op.getCollectiveKind() == mesh::CollectiveKind::AllGather;
  bool hasGroup = op.getCollectiveKind() == mesh::CollectiveKind::AllToAll;
  Value part = isGathered ? op.getInput() : op.getInit(), count = arith::ConstantIndexOp::create(b, 1);
  auto type = cast<MemRefType>(part.getType());
  for (int64_t dim = hasGroup ? 1 : 0; dim < type.getRank(); ++dim)
    count = arith::MulIOp::create(b, count, b.createOrFold<memref::DimOp>(part, dim));
  return arith::IndexCastOp::create(b, b.getI64Type(), count);
}

void codegen::lowerCollective(mesh::CollectiveOpInterface op, int64_t number, Value function, Value state) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto pointerTo = [&](Value memref) -> Value {
    Value address = arith::IndexCastOp::create(b, i64, addressOfFirst(b, memref));
    return LLVM::IntToPtrOp::create(b, pointer, address);
  };
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, i64, pointer, pointer, i64});
  Value place = arith::ConstantOp::create(b, b.getI64IntegerAttr(number));
  Value send = pointerTo(op.getInput()), receive = pointerTo(op.getInit()), count = countOf(b, op);
  LLVM::CallOp::create(b, type, ValueRange{function, state, place, send, receive, count});
  op->erase();
}

void codegen::lowerWait(mesh::WaitOp op, int64_t number, Value function, Value state) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, i64});
  Value place = arith::ConstantOp::create(b, b.getI64IntegerAttr(number));
  LLVM::CallOp::create(b, type, ValueRange{function, state, place});
  op->erase();
}

void codegen::lowerMeshIndex(mesh::IndexOp op, Value meshIndex) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  Value address = LLVM::GEPOp::create(b, pointer, i64, meshIndex,
                                      ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(op.getAxis())});
  Value place = LLVM::LoadOp::create(b, i64, address);
  op.getResult().replaceAllUsesWith(arith::IndexCastOp::create(b, b.getIndexType(), place).getResult());
  op.erase();
}
