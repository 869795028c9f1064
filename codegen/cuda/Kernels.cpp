// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/Kernels.h"
#include "codegen/Codegen.h"
#include "codegen/cuda/GenericPlan.h"
#include "codegen/cuda/GpuToNvvm.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/ScatterOp.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

llvm::Expected<std::vector<std::string>> codegen::parseCudaChips(const std::string &target) {
  auto [device, list] = StringRef(target).split(':');
  if (device != "cuda" || (list.empty() && target != "cuda"))
    return llvm::createStringError("--target is cpu, cuda, or cuda:CHIP[,CHIP...] with chips like sm_90, not '" + target + "'");
  if (list.empty())
    return std::vector<std::string>{"sm_80", "sm_90", "sm_100"};
  std::vector<std::pair<unsigned, std::string>> chips;
  for (StringRef chip : llvm::split(list, ',')) {
    StringRef digits = chip;
    unsigned number = 0;
    if (!digits.consume_front("sm_") || digits.consumeInteger(10, number) || !(digits.empty() || digits == "a" || digits == "f"))
      return llvm::createStringError("--target: '" + chip.str() + "' is no chip; they are called sm_80, sm_90, sm_100 and so on");
    if (number < 80)
      return llvm::createStringError("--target: '" + chip.str() + "' is older than sm_80, the first one that kernels are made for");
    if (!llvm::is_contained(chips, std::pair(number, chip.str())))
      chips.push_back({number, chip.str()});
  }
  llvm::sort(chips);
  std::vector<std::string> names;
  for (auto &[number, name] : chips)
    names.push_back(name);
  return names;
}

std::string CudaKernels::name() const { return "cuda:" + llvm::join(chips, ","); }

int CudaKernels::gpuCapability() const {
  int capability = 0;
  StringRef(chips.front()).drop_front(3).consumeInteger(10, capability);
  return capability;
}

bool codegen::multipliesInTf32(Operation *op) {
  for (; op; op = op->getParentOp())
    if (auto precision = op->getAttrOfType<StringAttr>(kPrecision))
      return precision.getValue() == "tf32";
  return false;
}

CudaKernelBuilder::CudaKernelBuilder(Operation *op, gpu::GPUFuncOp kernel)
    : KernelBuilder(op->getLoc(), op), kernel(kernel) {}

Value CudaKernelBuilder::block() { return gpu::BlockIdOp::create(*this, gpu::Dimension::x); }
Value CudaKernelBuilder::thread() { return gpu::ThreadIdOp::create(*this, gpu::Dimension::x); }
Value CudaKernelBuilder::lane() { return rem(thread(), constant(kWarp)); }
Value CudaKernelBuilder::warpInBlock() { return div(thread(), constant(kWarp)); }

Value CudaKernelBuilder::shared(ArrayRef<int64_t> shape, Type elementType) {
  auto space = gpu::AddressSpaceAttr::get(getContext(), gpu::AddressSpace::Workgroup);
  auto type = MemRefType::get(shape, elementType, MemRefLayoutAttrInterface(), space);
  unsigned number = kernel.getNumWorkgroupAttributions();
  Value buffer = kernel.addWorkgroupAttribution(type, getLoc());
  // Without it the buffer is aligned to its element only.
  kernel.setWorkgroupAttributionAttr(number, "llvm.align", getI64IntegerAttr(16));
  return buffer;
}

void CudaKernelBuilder::barrier() { gpu::BarrierOp::create(*this); }

// The argument that a memref is a view of.
static BlockArgument argumentOf(Value memref, gpu::GPUFuncOp kernel) {
  while (auto view = memref.getDefiningOp<memref::ReinterpretCastOp>())
    memref = view.getSource();
  auto argument = dyn_cast<BlockArgument>(memref);
  return argument && argument.getArgNumber() < kernel.getNumArguments() ? argument : BlockArgument();
}

void CudaKernelBuilder::loadAgain(Value memref) {
  if (BlockArgument argument = argumentOf(memref, kernel))
    for (StringRef said : {"llvm.noalias", "llvm.readonly"})
      kernel.removeArgAttr(argument.getArgNumber(), said);
}

void CudaKernelBuilder::ifTrue(Value condition, function_ref<void()> body) {
  auto choice = scf::IfOp::create(*this, condition, /*withElse=*/false);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(choice.thenBlock());
  body();
}

Value CudaKernelBuilder::isBelow(Value a, Value b) {
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::ult, a, b);
}

int64_t CudaKernelBuilder::lanesOf(Value memref, int64_t most) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t ignored, element = elementBytes(type.getElementType());
  SmallVector<int64_t> strides;
  if (type.getRank() == 0 || failed(type.getStridesAndOffset(strides, ignored)) || strides.back() != 1)
    return 1;
  BlockArgument argument = argumentOf(memref, kernel);
  auto alignment = argument
                       ? kernel.getArgAttrOfType<IntegerAttr>(argument.getArgNumber(), "llvm.align")
                       : IntegerAttr();
  int64_t lanes = std::gcd(most, alignment ? std::max<int64_t>(1, alignment.getInt() / element) : 1);
  for (int64_t stride : ArrayRef(strides).drop_back())
    lanes = std::gcd(lanes, ShapedType::isDynamic(stride) ? 1 : stride);
  return lanes;
}

Value CudaKernelBuilder::onLanes(Value value, int64_t lanes) {
  if (lanes == 1 || isa<VectorType>(value.getType()))
    return value;
  return vector::BroadcastOp::create(*this, VectorType::get({lanes}, value.getType()), value);
}

Value CudaKernelBuilder::loadLanes(int64_t lanes, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto type = VectorType::get({lanes}, element);
  return vector::LoadOp::create(*this, type, memref, indices, /*nontemporal=*/false, llvm::MaybeAlign(lanes * elementBytes(element)));
}

void CudaKernelBuilder::storeLanes(Value vector, Value memref, ValueRange indices) {
  int64_t bytes = elementBytes(cast<MemRefType>(memref.getType()).getElementType());
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  vector::StoreOp::create(*this, vector, memref, indices, /*nontemporal=*/false, llvm::MaybeAlign(lanes * bytes));
}

static Value product(KernelBuilder &b, ArrayRef<Value> sizes) {
  Value total = b.constant(1);
  for (Value size : sizes)
    total = b.mul(total, size);
  return total;
}

void CudaKernelBuilder::points(ArrayRef<Value> sizes, function_ref<void(ArrayRef<Value>)> body) {
  points(sizes, 1, 1, [&](ArrayRef<Value> place, int64_t) { body(place); });
}

void CudaKernelBuilder::points(ArrayRef<Value> sizes, int64_t unit, int64_t lanes, function_ref<void(ArrayRef<Value>, int64_t)> body) {
  Value total = product(*this, sizes);
  bool hasRest = sizes.size() == 1 && lanes > 1 && (!getConstantIntValue(total) || *getConstantIntValue(total) % lanes != 0);
  Value first = add(mul(block(), constant(kBlock * unit)), mul(thread(), constant(lanes)));
  auto at = [&](Value point) {
    ifTrue(isBelow(point, total), [&] {
      if (!hasRest)
        return body(delinearize(point, sizes), lanes);
      auto choice = scf::IfOp::create(*this, isBelow(sub(total, point), constant(lanes)), /*withElse=*/true);
      OpBuilder::InsertionGuard guard(*this);
      setInsertionPointToStart(choice.thenBlock());
      loop(point, total, 1, [&](Value one) { body(one, 1); });
      setInsertionPointToStart(choice.elseBlock());
      body(point, lanes);
    });
  };
  if (unit == lanes)
    return at(first);
  // Neighbouring threads have neighbouring vectors.
  loop(constant(0), constant(unit / lanes), 1, [&](Value i) { at(add(first, mul(i, constant(kBlock * lanes)))); });
}

void CudaKernelBuilder::blockRows(ArrayRef<Value> sizes, function_ref<void(ArrayRef<Value>)> body) {
  body(delinearize(block(), sizes)); // there are as many blocks as rows
}

void CudaKernelBuilder::warpRows(ArrayRef<Value> sizes, function_ref<void(ArrayRef<Value>)> body) {
  Value row = add(mul(block(), constant(kBlock / kWarp)), warpInBlock());
  ifTrue(isBelow(row, product(*this, sizes)), [&] { body(delinearize(row, sizes)); });
}

// Shuffles move 32 bits: others travel as integers, wider ones in two halves.
Value CudaKernelBuilder::shuffle(Value value, Value offset, gpu::ShuffleMode mode) {
  CudaKernelBuilder &b = *this;
  Type type = value.getType();
  unsigned width = type.getIntOrFloatBitWidth();
  Value whole = arith::ConstantOp::create(b, b.getI32IntegerAttr(kWarp));
  auto word = [&](Value bits) -> Value {
    return gpu::ShuffleOp::create(b, bits, offset, whole, mode).getShuffleResult();
  };
  if (type.isF32() || type.isInteger(32))
    return word(value);
  Value bits = type.isFloat() ? arith::BitcastOp::create(b, b.getIntegerType(width), value).getResult() : value;
  if (width < 32) {
    bits = arith::TruncIOp::create(b, b.getIntegerType(width), word(arith::ExtUIOp::create(b, b.getI32Type(), bits)));
  } else {
    Value half = arith::ConstantOp::create(b, b.getI64IntegerAttr(32));
    Value low = word(arith::TruncIOp::create(b, b.getI32Type(), bits));
    Value high = word(arith::TruncIOp::create(b, b.getI32Type(), arith::ShRUIOp::create(b, bits, half)));
    high = arith::ShLIOp::create(b, arith::ExtUIOp::create(b, b.getI64Type(), high), half);
    bits = arith::OrIOp::create(b, arith::ExtUIOp::create(b, b.getI64Type(), low), high);
  }
  return type.isFloat() ? arith::BitcastOp::create(b, type, bits).getResult() : bits;
}

Value CudaKernelBuilder::ofOtherLane(Value value, int32_t differing) {
  return shuffle(value, arith::ConstantOp::create(*this, getI32IntegerAttr(differing)), gpu::ShuffleMode::XOR);
}

Value CudaKernelBuilder::reduceWarp(Value value, Combine combine, int64_t lanes, int64_t apart) {
  // A butterfly: both of a pair combine the same two values, so all lanes end with the same bits.
  for (int32_t distance = lanes / 2; distance > 0; distance /= 2)
    value = combine(value, ofOtherLane(value, distance * apart));
  return value;
}

Value CudaKernelBuilder::reduceBlock(Value value, Value neutral, Combine combine) {
  constexpr int64_t warps = kBlock / kWarp;
  value = reduceWarp(value, combine);
  // A buffer of its own for each reduction: none waits for readers of the one before.
  Value buffer = shared({warps}, value.getType());
  Value isFirst = arith::CmpIOp::create(*this, arith::CmpIPredicate::eq, lane(), constant(0));
  ifTrue(isFirst, [&] { store(value, buffer, warpInBlock()); });
  barrier();
  Value all = neutral;
  for (int64_t warp = 0; warp < warps; ++warp) // every thread in the same order
    all = combine(all, load(buffer, constant(warp)));
  return all;
}

CudaKernelBuilder::Scan CudaKernelBuilder::scanBlock(Value value, Value neutral, Combine combine) {
  constexpr int64_t warps = kBlock / kWarp;
  auto ifIn = [&](Value condition, Value x, Value y) { return arith::SelectOp::create(*this, condition, x, y).getResult(); };
  auto above = [&](int32_t distance) {
    return shuffle(value, arith::ConstantOp::create(*this, getI32IntegerAttr(distance)), gpu::ShuffleMode::UP);
  };
  for (int32_t distance = 1; distance < kWarp; distance *= 2) {
    Value both = combine(above(distance), value);
    value = ifIn(isBelow(lane(), constant(distance)), value, both);
  }
  Value inWarp = ifIn(isBelow(lane(), constant(1)), neutral, above(1));
  Value buffer = shared({warps}, value.getType());
  ifTrue(isBelow(constant(kWarp - 2), lane()), [&] { store(value, buffer, warpInBlock()); });
  barrier();
  Value before = neutral, total = neutral;
  for (int64_t warp = 0; warp < warps; ++warp) {
    Value next = combine(total, load(buffer, constant(warp)));
    before = ifIn(isBelow(constant(warp), warpInBlock()), next, before);
    total = next;
  }
  barrier();
  return {combine(before, inWarp), total};
}

LogicalResult CudaKernels::check(Operation *op) const {
  if (failed(checkOperands(op)))
    return failure();
  for (Value operand : op->getOperands()) {
    Type type = operand.getType();
    if (auto memref = dyn_cast<MemRefType>(type))
      type = memref.getElementType();
    if (type.isInteger(128))
      return op->emitOpError("works on strings, which a GPU has none of; compile with --target cpu");
  }
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](linalg::GenericOp generic) { return checkGeneric(generic); })
      .Case([&](nn::PartialReduceOp partial) { return checkPartialReduce(partial); })
      .Case([&](nn::AttentionOp attention) { return checkAttention(attention); })
      .Case([&](nn::ScalarKernelOp scalar) { return checkScalarKernel(scalar); })
      .Default([](Operation *) { return success(); });
}

// What NCCL combines (runtime/cuda/Nccl.h): no integers of 16 bits. What only moves does so as bytes, and bools are bytes of 0 or 1.
LogicalResult CudaKernels::checkProgram(ModuleOp module) const {
  bool isKnown = true;
  module.walk([&](mesh::CollectiveOpInterface op) {
    Type element = cast<ShapedType>(op.getInput().getType()).getElementType();
    bool combines = element.isF16() || element.isBF16() || element.isF32() || element.isF64() || element.isInteger(1) ||
                    element.isInteger(8) || element.isInteger(32) || element.isInteger(64);
    if (!op.getCombination() || combines)
      return;
    isKnown = false;
    op->emitError() << "devices have to combine elements of type " << element
                    << " here, which NCCL cannot; convert them to i32 before, cut the model in another way (--mesh-family, --shard), or "
                       "compile with --target cpu";
  });
  return success(isKnown);
}

KernelRange CudaKernels::range(Operation *op) const {
  return llvm::TypeSwitch<Operation *, KernelRange>(op)
      .Case([&](nn::ContractOp contract) { return planContract(contract); })
      .Case([&](nn::AttentionOp attention) { return planAttentionRows(attention); })
      .Case([&](nn::ScalarKernelOp scalar) { return planScalarPoints(scalar); })
      .Case<nn::ScanOp, nn::TopKOp>([&](auto along) { return planAlongDim(along, along.getDim()); })
      .Case([&](nn::ScatterOp scatter) { return planUpdates(scatter); })
      .Case<nn::SoftmaxOp, nn::NormOp>([&](Operation *rows) { return planRowBlocks(rows); })
      .Case<linalg::GenericOp, nn::PartialReduceOp>([&](auto generic) { return GenericPlan::of(generic).range(generic); })
      .Default([&](Operation *other) { return planPoints(other); });
}

LogicalResult codegen::lowerKernel(func::FuncOp source, gpu::GPUModuleOp module) {
  // Sizes travel as 64 bits whatever the width of an index in the kernel.
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  SmallVector<Type> types;
  for (Type type : source.getArgumentTypes())
    types.push_back(type.isIndex() ? builder.getI64Type() : type);
  auto kernel = gpu::GPUFuncOp::create(builder, source.getLoc(), source.getSymName(), builder.getFunctionType(types, {}));
  kernel->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), builder.getUnitAttr());
  kernel.setKnownBlockSizeAttr(builder.getDenseI32ArrayAttr({kBlock, 1, 1}));
  // Half the registers for addresses. One below the range's end, a thread may count past it.
  kernel->setAttr(kIndexBits, builder.getI64IntegerAttr(source->hasAttr(kSmallOffsets) ? 32 : 64));
  if (ArrayAttr attributes = source.getArgAttrsAttr())
    kernel.setArgAttrsAttr(attributes);
  Block &entry = kernel.front();
  builder.setInsertionPointToStart(&entry);
  IRMapping mapping;
  for (auto [argument, given] : llvm::zip(source.getArguments(), entry.getArguments()))
    mapping.map(argument, argument.getType().isIndex()
                              ? arith::IndexCastOp::create(builder, source.getLoc(), builder.getIndexType(), given).getResult()
                              : given);
  for (Operation &op : source.front().without_terminator())
    builder.clone(op, mapping);
  gpu::ReturnOp::create(builder, source.getLoc());

  Operation *op = kernelOpOf(kernel);
  CudaKernelBuilder b(op, kernel);
  LogicalResult known = llvm::TypeSwitch<Operation *, LogicalResult>(op)
                            .Case<linalg::GenericOp, nn::PartialReduceOp, nn::ContractOp, nn::AttentionOp, nn::SoftmaxOp, nn::NormOp, nn::GatherOp,
                                  nn::ScalarKernelOp, nn::ScanOp, nn::ScatterOp, nn::TopKOp>([&](auto concrete) {
                              emitKernel(concrete, b);
                              return success();
                            })
                            .Default([](Operation *other) { return other->emitOpError("has no GPU kernel"); });
  if (failed(known))
    return failure();
  op->erase();
  bytesForBools(kernel);
  return success();
}
