// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "test/gpu/lower/HookCalls.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;
using namespace snug::sim;

namespace {
Value allLanes(OpBuilder &b, Location loc) { return constantI32(b, loc, -1); }

// A value's place in memory, for a hook to read.
Value spill(OpBuilder &b, Operation *at, Value value) {
  Value slot = stackSlot(b, at, value.getType());
  LLVM::StoreOp::create(b, at->getLoc(), value, slot)->setAttr(kOwnAccess, b.getUnitAttr());
  return slot;
}
Value reload(OpBuilder &b, Operation *at, Type type, Value slot) {
  auto load = LLVM::LoadOp::create(b, at->getLoc(), type, slot);
  load->setAttr(kOwnAccess, b.getUnitAttr());
  return load;
}

Value asI32(OpBuilder &b, Location loc, Value value) {
  return value.getType().isInteger(32) ? value : LLVM::BitcastOp::create(b, loc, b.getI32Type(), value);
}
Value fromI32(OpBuilder &b, Location loc, Value bits, Type type) {
  return type.isInteger(32) ? bits : LLVM::BitcastOp::create(b, loc, type, bits);
}

template <class Op> struct Barrier : ConvertOpToLLVMPattern<Op> {
  using ConvertOpToLLVMPattern<Op>::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(Op op, typename Op::Adaptor, ConversionPatternRewriter &rewriter) const override {
    if constexpr (std::is_same_v<Op, NVVM::BarrierOp>)
      if (op.getNumOperands() != 0)
        return op.emitError("only the barrier of the whole block is simulated");
    callHook(rewriter, op, kBarrier, {}, {});
    rewriter.eraseOp(op);
    return success();
  }
};

struct WarpBarrier : ConvertOpToLLVMPattern<NVVM::SyncWarpOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(NVVM::SyncWarpOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    callHook(rewriter, op, kWarpBarrier, {}, adaptor.getMask());
    rewriter.eraseOp(op);
    return success();
  }
};

// The value and whether the lane it is from exists.
std::pair<Value, Value> shuffle(OpBuilder &b, Operation *op, Shuffle mode, Value mask, Value value, Value offset, Value clamp) {
  Location loc = op->getLoc();
  Type i32 = b.getI32Type(), i64 = b.getI64Type();
  Value both = callHook(b, op, kShuffle, {static_cast<int32_t>(mode)}, {mask, asI32(b, loc, value), offset, clamp}, i64);
  Value shift = LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(32));
  Value low = LLVM::TruncOp::create(b, loc, i32, both);
  Value high = LLVM::TruncOp::create(b, loc, b.getI1Type(), LLVM::LShrOp::create(b, loc, both, shift));
  return {fromI32(b, loc, low, value.getType()), high};
}

// As the conversion to NVVM has it: the first `width` lanes take part, and the clamp is `width` - 1, but 32 - `width` for up.
struct GpuShuffle : ConvertOpToLLVMPattern<gpu::ShuffleOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(gpu::ShuffleOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    if (!adaptor.getValue().getType().isIntOrFloat() || adaptor.getValue().getType().getIntOrFloatBitWidth() != 32)
      return rewriter.notifyMatchFailure(op, "a shuffle moves 32 bits");
    Value missing = LLVM::SubOp::create(rewriter, loc, constantI32(rewriter, loc, 32), adaptor.getWidth());
    Value mask = LLVM::LShrOp::create(rewriter, loc, allLanes(rewriter, loc), missing);
    Value last = LLVM::SubOp::create(rewriter, loc, adaptor.getWidth(), constantI32(rewriter, loc, 1));
    bool isUp = op.getMode() == gpu::ShuffleMode::UP;
    Shuffle mode = isUp                                       ? Shuffle::Up
                   : op.getMode() == gpu::ShuffleMode::DOWN ? Shuffle::Down
                   : op.getMode() == gpu::ShuffleMode::XOR  ? Shuffle::Xor
                                                            : Shuffle::Idx;
    auto [value, valid] =
        shuffle(rewriter, op, mode, mask, adaptor.getValue(), adaptor.getOffset(), isUp ? missing : last);
    rewriter.replaceOp(op, {value, valid});
    return success();
  }
};

struct NvvmShuffle : ConvertOpToLLVMPattern<NVVM::ShflOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(NVVM::ShflOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    Shuffle mode = op.getKind() == NVVM::ShflKind::up     ? Shuffle::Up
                   : op.getKind() == NVVM::ShflKind::down ? Shuffle::Down
                   : op.getKind() == NVVM::ShflKind::bfly ? Shuffle::Xor
                                                          : Shuffle::Idx;
    auto [value, valid] = shuffle(rewriter, op, mode, adaptor.getThreadMask(), adaptor.getVal(), adaptor.getOffset(),
                                  adaptor.getMaskAndClamp());
    if (op.getReturnValueAndIsValid()) {
      Location loc = op.getLoc();
      Value pair = LLVM::PoisonOp::create(rewriter, loc, op.getType());
      pair = LLVM::InsertValueOp::create(rewriter, loc, pair, value, ArrayRef<int64_t>{0});
      value = LLVM::InsertValueOp::create(rewriter, loc, pair, valid, ArrayRef<int64_t>{1});
    }
    rewriter.replaceOp(op, value);
    return success();
  }
};

struct NvvmVote : ConvertOpToLLVMPattern<NVVM::VoteSyncOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(NVVM::VoteSyncOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Vote kind = op.getKind() == NVVM::VoteSyncKind::any   ? Vote::Any
                : op.getKind() == NVVM::VoteSyncKind::all ? Vote::All
                : op.getKind() == NVVM::VoteSyncKind::uni ? Vote::Uni
                                                          : Vote::Ballot;
    Type i32 = rewriter.getI32Type();
    Value predicate = LLVM::ZExtOp::create(rewriter, loc, i32, adaptor.getPred());
    Value result = callHook(rewriter, op, kVote, {static_cast<int32_t>(kind)}, {adaptor.getMask(), predicate}, i32);
    if (op.getType() != i32)
      result = LLVM::TruncOp::create(rewriter, loc, op.getType(), result);
    rewriter.replaceOp(op, result);
    return success();
  }
};

struct NvvmReduce : ConvertOpToLLVMPattern<NVVM::ReduxOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(NVVM::ReduxOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    static const std::map<NVVM::ReduxKind, Reduce> kinds{
        {NVVM::ReduxKind::ADD, Reduce::Add},   {NVVM::ReduxKind::AND, Reduce::And},   {NVVM::ReduxKind::MAX, Reduce::Max},
        {NVVM::ReduxKind::MIN, Reduce::Min},   {NVVM::ReduxKind::OR, Reduce::Or},     {NVVM::ReduxKind::UMAX, Reduce::UMax},
        {NVVM::ReduxKind::UMIN, Reduce::UMin}, {NVVM::ReduxKind::XOR, Reduce::Xor},   {NVVM::ReduxKind::FMIN, Reduce::FMin},
        {NVVM::ReduxKind::FMAX, Reduce::FMax}};
    Location loc = op.getLoc();
    Value result = callHook(rewriter, op, kReduce,
                            {static_cast<int32_t>(kinds.at(op.getKind())), op.getAbs(), op.getNan()},
                            {adaptor.getMaskAndClamp(), asI32(rewriter, loc, adaptor.getVal())}, rewriter.getI32Type());
    rewriter.replaceOp(op, fromI32(rewriter, loc, result, op.getType()));
    return success();
  }
};

struct LdMatrix : ConvertOpToLLVMPattern<nvgpu::LdMatrixOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(nvgpu::LdMatrixOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    auto type = cast<MemRefType>(op.getSrcMemref().getType());
    if (op.getTranspose() && type.getElementTypeBitWidth() != 16)
      return op.emitError("ldmatrix transposes elements of 16 bits only");
    Type result = getTypeConverter()->convertType(op.getType());
    Value source = getStridedElementPtr(rewriter, op.getLoc(), type, adaptor.getSrcMemref(), adaptor.getIndices());
    Value slot = stackSlot(rewriter, op, result);
    callHook(rewriter, op, kLdMatrix, {static_cast<int32_t>(op.getNumTiles()), op.getTranspose()},
             {source, constantI32(rewriter, op.getLoc(), kUnknown), slot}, {}, /*pointers=*/0);
    rewriter.replaceOp(op, reload(rewriter, op, result, slot));
    return success();
  }
};

std::optional<Element> accumulator(Type type) {
  if (type.isF32())
    return Element::F32;
  if (type.isF16())
    return Element::F16;
  if (type.isF64())
    return Element::F64;
  if (type.isInteger(32))
    return Element::S32;
  return std::nullopt;
}

// The shapes of PTX that have a meaning here.
bool isSimulated(ArrayRef<int64_t> shape, Element type, Element sum) {
  int64_t k = shape[2];
  bool isWide = shape[0] == 16 && shape[1] == 8;
  switch (type) {
  case Element::F16:
    return isWide && (k == 8 || k == 16) && (sum == Element::F32 || sum == Element::F16);
  case Element::BF16:
    return isWide && (k == 8 || k == 16) && sum == Element::F32;
  case Element::TF32:
    return isWide && (k == 4 || k == 8) && sum == Element::F32;
  case Element::S8:
  case Element::U8:
    return isWide && (k == 16 || k == 32) && sum == Element::S32;
  case Element::F64:
    return shape[0] == 8 && shape[1] == 8 && k == 4 && sum == Element::F64;
  default:
    return false;
  }
}

LogicalResult multiply(Operation *op, ConversionPatternRewriter &rewriter, ArrayRef<int64_t> shape, Element a, Element b,
                       std::optional<Element> sum, bool saturate, std::array<Value, 3> fragments, Value result) {
  if (!sum || !isSimulated(shape, a, *sum) || !isSimulated(shape, b, *sum))
    return op->emitError("this shape or these types are not simulated");
  callHook(rewriter, op, kMma,
           {int32_t(shape[0]), int32_t(shape[1]), int32_t(shape[2]), int32_t(a), int32_t(b), int32_t(*sum) | saturate << 8},
           {fragments[0], fragments[1], fragments[2], result});
  return success();
}

struct NvgpuMma : ConvertOpToLLVMPattern<nvgpu::MmaSyncOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;
  LogicalResult matchAndRewrite(nvgpu::MmaSyncOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    Type element = op.getMatrixA().getType().getElementType();
    Element type = element.isF16()          ? Element::F16
                   : element.isBF16()       ? Element::BF16
                   : element.isF32()        ? Element::TF32
                   : element.isF64()        ? Element::F64
                   : element.isInteger(8)   ? Element::S8
                                            : Element::S32; // which is refused
    Type result = getTypeConverter()->convertType(op.getType());
    Value slot = stackSlot(rewriter, op, result);
    std::array<Value, 3> fragments{spill(rewriter, op, adaptor.getMatrixA()), spill(rewriter, op, adaptor.getMatrixB()),
                                   spill(rewriter, op, adaptor.getMatrixC())};
    // Integers saturate, as the conversion to NVVM has it.
    if (failed(multiply(op, rewriter, op.getMmaShapeAsArray(), type, type,
                        accumulator(op.getMatrixC().getType().getElementType()), element.isInteger(), fragments, slot)))
      return failure();
    rewriter.replaceOp(op, reload(rewriter, op, result, slot));
    return success();
  }
};

struct NvvmMma : ConvertOpToLLVMPattern<NVVM::MmaOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  // Registers one behind the other.
  static Value spillAll(OpBuilder &b, Operation *at, ValueRange registers) {
    Type type = registers.front().getType();
    Value slot = stackSlot(b, at, LLVM::LLVMArrayType::get(type, registers.size()));
    for (auto [index, value] : llvm::enumerate(registers)) {
      Value place = LLVM::GEPOp::create(b, at->getLoc(), slot.getType(), type, slot, ArrayRef<LLVM::GEPArg>{int32_t(index)});
      LLVM::StoreOp::create(b, at->getLoc(), value, place)->setAttr(kOwnAccess, b.getUnitAttr());
    }
    return slot;
  }
  static std::optional<Element> multiplicand(std::optional<NVVM::MMATypes> type) {
    switch (type.value_or(NVVM::MMATypes::b1)) {
    case NVVM::MMATypes::f16:
      return Element::F16;
    case NVVM::MMATypes::bf16:
      return Element::BF16;
    case NVVM::MMATypes::tf32:
      return Element::TF32;
    case NVVM::MMATypes::s8:
      return Element::S8;
    case NVVM::MMATypes::u8:
      return Element::U8;
    case NVVM::MMATypes::f64:
      return Element::F64;
    default:
      return std::nullopt;
    }
  }

  LogicalResult matchAndRewrite(NVVM::MmaOp op, OpAdaptor adaptor, ConversionPatternRewriter &rewriter) const override {
    std::optional<Element> a = multiplicand(op.getMultiplicandAPtxType()), b = multiplicand(op.getMultiplicandBPtxType());
    Type first = adaptor.getOperandC().front().getType();
    if (auto vector = dyn_cast<VectorType>(first))
      first = vector.getElementType();
    if (!a || !b || op.getLayoutA() != NVVM::MMALayout::row || op.getLayoutB() != NVVM::MMALayout::col)
      return op.emitError("this shape or these types are not simulated");
    NVVM::MMAShapeAttr shape = op.getShape();
    bool saturate = op.getIntOverflowBehavior() == NVVM::MMAIntOverflow::satfinite;
    Value slot = stackSlot(rewriter, op, op.getType());
    std::array<Value, 3> fragments{spillAll(rewriter, op, adaptor.getOperandA()), spillAll(rewriter, op, adaptor.getOperandB()),
                                   spillAll(rewriter, op, adaptor.getOperandC())};
    if (failed(multiply(op, rewriter, {shape.getM(), shape.getN(), shape.getK()}, *a, *b, accumulator(first), saturate,
                        fragments, slot)))
      return failure();
    rewriter.replaceOp(op, reload(rewriter, op, op.getType(), slot));
    return success();
  }
};
} // namespace

void snug::sim::populateWarpOpPatterns(const LLVMTypeConverter &converter, RewritePatternSet &patterns) {
  patterns.add<Barrier<gpu::BarrierOp>, Barrier<NVVM::Barrier0Op>, Barrier<NVVM::BarrierOp>, WarpBarrier, GpuShuffle,
               NvvmShuffle, NvvmVote, NvvmReduce, LdMatrix, NvgpuMma, NvvmMma>(converter);
}

bool snug::sim::waitsForOthers(gpu::GPUFuncOp kernel) {
  return kernel
      .walk([](Operation *op) {
        bool waits = isa<gpu::BarrierOp, NVVM::Barrier0Op, NVVM::BarrierOp, NVVM::SyncWarpOp, gpu::ShuffleOp, NVVM::ShflOp,
                         NVVM::VoteSyncOp, NVVM::ReduxOp, nvgpu::LdMatrixOp, nvgpu::MmaSyncOp, NVVM::MmaOp>(op);
        return waits ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}
