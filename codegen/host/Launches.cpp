// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/host/Launches.h"
#include "codegen/host/Collectives.h"
#include "codegen/host/HostProgram.h"
#include "codegen/kernel/KernelTarget.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

// What 64 bits hold of a value: a memref's address, a float's bits. Null where they cannot.
static Value slotOf(ImplicitLocOpBuilder &b, Value value) {
  Type i64 = b.getI64Type();
  if (isa<MemRefType>(value.getType()))
    value = addressOfFirst(b, value);
  Type type = value.getType();
  if (type.isIndex())
    return arith::IndexCastOp::create(b, i64, value);
  if (type.getIntOrFloatBitWidth() > 64)
    return {};
  Type integer = b.getIntegerType(type.getIntOrFloatBitWidth());
  if (type.isFloat())
    value = arith::BitcastOp::create(b, integer, value);
  return integer == i64 ? value : arith::ExtUIOp::create(b, i64, value).getResult();
}

LogicalResult codegen::lowerLaunch(plan::LaunchOp launch, int64_t index, int64_t contraction, const KernelCode &code, const LaunchCalls &calls) {
  ImplicitLocOpBuilder b(launch.getLoc(), launch);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto place = [&](int64_t slot, Value array) {
    return LLVM::GEPOp::create(b, pointer, i64, array, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(slot)});
  };
  auto number = [&](int64_t value) { return arith::ConstantOp::create(b, b.getI64IntegerAttr(value)).getResult(); };
  LLVM::StoreOp::create(b, number(index), place(0, calls.slots));
  for (auto [argument, value] : llvm::enumerate(launch.getArgs())) {
    Value slot = slotOf(b, value);
    if (!slot)
      return launch.emitOpError() << "has an argument of type " << value.getType() << ", which does not fit 64 bits";
    LLVM::StoreOp::create(b, slot, place(1 + argument, calls.slots));
  }
  for (auto [field, value] : llvm::enumerate(launch.getShape()))
    LLVM::StoreOp::create(b, slotOf(b, value), place(field, calls.shape));
  Value extent = arith::IndexCastOp::create(b, i64, launch.getExtent());
  Value grain = arith::ConstantOp::create(b, b.getI64IntegerAttr(launch.getGrain()));
  auto call = [&](Value function, ArrayRef<Value> operands) {
    SmallVector<Type> types(ValueRange(operands).getTypes());
    auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
    SmallVector<Value> called{function};
    llvm::append_range(called, operands);
    LLVM::CallOp::create(b, type, called);
    launch.erase();
    return success();
  };
  if (code.isForGpu) {
    auto kernel = llvm::find_if(code.gpuKernels, [&](const auto &one) { return one.name == launch.getKernel(); });
    Value kernelNumber = number(kernel - code.gpuKernels.begin()), blocks = arith::CeilDivUIOp::create(b, extent, grain);
    Value arguments = place(1, calls.slots);
    if (launch.getLibrary())
      return call(calls.contract, {calls.state, number(index), number(contraction), calls.shape, kernelNumber, blocks, arguments});
    return call(calls.start, {calls.state, number(index), kernelNumber, blocks, arguments});
  }
  auto module = launch->getParentOfType<ModuleOp>();
  std::string entry = kernelEntryName(launch.getKernel());
  if (!module.lookupSymbol(entry)) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    auto declaration = LLVM::LLVMFuncOp::create(
        b, entry, LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, i64, i64, i64}));
    declaration.setVisibility_(LLVM::Visibility::Hidden);
  }
  return call(calls.start, {calls.state, LLVM::AddressOfOp::create(b, pointer, entry), place(1, calls.slots), extent, grain});
}

void codegen::lowerRead(memref::LoadOp load, Value read, Value state) {
  ImplicitLocOpBuilder b(load.getLoc(), load);
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type(), type = load.getType();
  Value element = load.getMemRef();
  if (int64_t rank = load.getMemRefType().getRank()) {
    SmallVector<OpFoldResult> ones(rank, b.getIndexAttr(1));
    element = memref::SubViewOp::create(b, element, getAsOpFoldResult(load.getIndices()), ones, ones);
  }
  Value address = LLVM::IntToPtrOp::create(b, pointer, arith::IndexCastOp::create(b, i64, addressOfFirst(b, element)).getResult());
  Value bytes = arith::ConstantOp::create(b, b.getI64IntegerAttr(elementBytes(type)));
  auto call = LLVM::CallOp::create(b, LLVM::LLVMFunctionType::get(i64, {pointer, pointer, i64}), ValueRange{read, state, address, bytes});
  Value value = call.getResult();
  if (type.isInteger(1)) { // a bool is a byte
    value = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, value, arith::ConstantOp::create(b, b.getI64IntegerAttr(0)));
  } else if (type.isIndex()) {
    value = arith::IndexCastOp::create(b, type, value);
  } else {
    unsigned width = type.getIntOrFloatBitWidth();
    if (width < 64)
      value = arith::TruncIOp::create(b, b.getIntegerType(width), value);
    if (type.isFloat())
      value = arith::BitcastOp::create(b, type, value);
  }
  load.replaceAllUsesWith(value);
  load.erase();
}
