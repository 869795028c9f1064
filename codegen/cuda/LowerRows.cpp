// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Softmax and norms: a warp or a block makes a row, whose sums are those of its threads' parts. Which elements a thread
// takes depends on the row's length and on element types alone, so rows are the same however they are chunked.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
Type elementOf(Value memref) { return cast<MemRefType>(memref.getType()).getElementType(); }
Type realType(Value memref) { return computeType(cast<FloatType>(elementOf(memref))); }

// How a row is dealt to `threads` threads: thread t has elements [unit * (t + i * threads), ... + unit) for all i.
struct RowPlan {
  int64_t threads = kBlock, unit = 1;
  int64_t held = 0; // so many times `unit` elements stay in registers, which is all of them; 0: the row is read again

  static RowPlan of(Operation *op) {
    RowPlan plan;
    auto init = cast<MemRefType>(op->getOperand(op->getNumOperands() - 1).getType());
    int64_t length = init.getShape().back();
    if (ShapedType::isDynamic(length))
      return plan;
    int64_t widest = 1;
    for (Value operand : op->getOperands())
      widest = std::max(widest, elementBytes(cast<MemRefType>(operand.getType()).getElementType()));
    plan.unit = std::gcd(std::max<int64_t>(1, kVectorBytes / widest), length);
    constexpr int64_t heldBytes = 128; // of a thread: half of the registers that it has
    int64_t bytes = elementBytes(computeType(cast<FloatType>(init.getElementType())));
    if (length * bytes <= heldBytes * kWarp)
      plan.threads = kWarp;
    int64_t times = llvm::divideCeil(length, plan.threads * plan.unit);
    if (times * plan.unit * bytes <= heldBytes)
      plan.held = times;
    return plan;
  }
};

// The place of a row.
class Row {
public:
  Row(CudaKernelBuilder &b, const RowPlan &plan, Value input, ArrayRef<Value> leading)
      : length(b.size(input, leading.size())), b(b), plan(plan), input(input), leading(leading),
        start(b.mul(worker(), b.constant(plan.unit))) {
    for (int64_t i = 0; i < plan.held; ++i)
      held.push_back(i + 1 < plan.held || isWhole() ? load(input, at(column(i))) : loadIfIn(column(i)));
  }

  // From here on, each element is `f` of what it was.
  void map(std::function<Value(Value)> f) {
    for (Value &value : held)
      value = f(value);
    if (!plan.held)
      element = [f, before = element](Value x) { return f(before(x)); };
  }
  Value reduce(Value neutral, function_ref<Value(Value)> f, CudaKernelBuilder::Combine combine) {
    Value all = b.onLanes(neutral, plan.unit);
    for (auto [i, value] : llvm::enumerate(held)) {
      Value next = f(value);
      if (static_cast<int64_t>(i) + 1 == plan.held && !isWhole())
        next = arith::SelectOp::create(b, isIn(column(i)), next, b.onLanes(neutral, plan.unit));
      all = combine(all, next);
    }
    if (!plan.held) {
      auto loop = scf::ForOp::create(b, start, length, b.constant(plan.threads * plan.unit), ValueRange{all});
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      scf::YieldOp::create(b, combine(loop.getRegionIterArg(0), f(element(load(input, at(loop.getInductionVar()))))));
      all = loop.getResult(0);
    }
    Value one = plan.unit == 1 ? all : vector::ExtractOp::create(b, all, 0).getResult();
    for (int64_t lane = 1; lane < plan.unit; ++lane)
      one = combine(one, vector::ExtractOp::create(b, all, lane));
    return plan.threads == kWarp ? b.reduceWarp(one, combine) : b.reduceBlock(one, neutral, combine);
  }
  Value sum(Type real, function_ref<Value(Value)> f) {
    return reduce(b.constantFloat(real, 0), f,
                  [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, x, y); });
  }
  // Stores `f` of the elements at and from a column.
  void store(Value to, function_ref<Value(Value, Value)> f) {
    auto write = [&](Value from, Value value) {
      Value result = f(from, value);
      if (Type type = elementOf(to); type != getElementTypeOrSelf(result))
        result = arith::TruncFOp::create(b, like(type), result);
      if (plan.unit == 1)
        return b.store(result, to, at(from));
      if (b.lanesOf(to, plan.unit) == plan.unit)
        return b.storeLanes(result, to, at(from));
      for (int64_t lane = 0; lane < plan.unit; ++lane)
        b.store(vector::ExtractOp::create(b, result, lane), to, at(b.add(from, b.constant(lane))));
    };
    for (auto [i, value] : llvm::enumerate(held)) {
      Value from = column(i);
      if (static_cast<int64_t>(i) + 1 < plan.held || isWhole())
        write(from, value);
      else
        b.ifTrue(isIn(from), [&, value = value] { write(from, value); });
    }
    if (!plan.held)
      b.loop(start, length, plan.threads * plan.unit, [&](Value from) { write(from, element(load(input, at(from)))); });
  }
  // The elements of a thread as kernels compute with them, from this place on.
  Value load(Value memref, SmallVector<Value> indices) {
    Value loaded;
    if (plan.unit == 1) {
      return b.loadWide(memref, indices);
    } else if (b.lanesOf(memref, plan.unit) == plan.unit) {
      loaded = b.loadLanes(plan.unit, memref, indices);
    } else {
      SmallVector<Value> lanes;
      Value from = indices.back();
      for (int64_t lane = 0; lane < plan.unit; ++lane) {
        indices.back() = b.add(from, b.constant(lane));
        lanes.push_back(b.load(memref, indices));
      }
      loaded = vector::FromElementsOp::create(b, like(elementOf(memref)), lanes);
    }
    return realType(memref) == elementOf(memref) ? loaded
                                                 : arith::ExtFOp::create(b, like(realType(memref)), loaded).getResult();
  }
  Value onLanes(Value value) { return b.onLanes(value, plan.unit); }

  const Value length;

private:
  Value worker() { return plan.threads == kWarp ? b.lane() : b.thread(); }
  Type like(Type type) { return plan.unit == 1 ? type : Type(VectorType::get({plan.unit}, type)); }
  Value column(int64_t i) { return b.add(start, b.constant(i * plan.threads * plan.unit)); }
  SmallVector<Value> at(Value column) {
    SmallVector<Value> indices(leading);
    indices.push_back(column);
    return indices;
  }
  // Of what is held: whether each thread has all that the last time could give.
  bool isWhole() { return *getConstantIntValue(length) == plan.held * plan.threads * plan.unit; }
  Value isIn(Value column) { return b.isBelow(column, length); }
  Value loadIfIn(Value column) {
    Type type = like(realType(input));
    auto choice = scf::IfOp::create(b, TypeRange{type}, isIn(column), /*withElse=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(choice.thenBlock());
    scf::YieldOp::create(b, load(input, at(column)));
    b.setInsertionPointToStart(choice.elseBlock());
    scf::YieldOp::create(b, onLanes(b.constantFloat(realType(input), 0)));
    return choice.getResult(0);
  }

  CudaKernelBuilder &b;
  const RowPlan &plan;
  Value input;
  SmallVector<Value> leading;
  Value start;
  SmallVector<Value> held;
  std::function<Value(Value)> element = [](Value x) { return x; };
};

void eachRow(Operation *op, CudaKernelBuilder &b, Value input, function_ref<void(Row &)> body) {
  RowPlan plan = RowPlan::of(op);
  Value like = op->getOperand(op->getNumOperands() - 1);
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim + 1 < cast<MemRefType>(like.getType()).getRank(); ++dim)
    sizes.push_back(b.size(like, dim));
  auto at = [&](ArrayRef<Value> place) {
    Row row(b, plan, input, place);
    body(row);
  };
  if (plan.threads == kWarp)
    b.warpRows(sizes, at);
  else
    b.blockRows(sizes, at);
}
} // namespace

KernelRange codegen::planRowBlocks(Operation *op) {
  unsigned init = op->getNumOperands() - 1;
  KernelRange range;
  for (unsigned dim = 0; dim + 1 < cast<MemRefType>(op->getOperand(init).getType()).getRank(); ++dim)
    range.factors.push_back({{{init, dim}}});
  range.grain = kBlock / RowPlan::of(op).threads;
  return range;
}

void codegen::emitKernel(nn::SoftmaxOp op, CudaKernelBuilder &b) {
  Type real = realType(op.getInit());
  auto number = [&](double value) { return b.constantFloat(real, value); };
  eachRow(op, b, op.getInput(), [&](Row &row) {
    auto same = [](Value x) { return x; };
    // scale * x first, as written; so a negative scale is right too.
    if (op.getScale().convertToFloat() != 1.0f)
      row.map([&](Value x) -> Value {
        return arith::MulFOp::create(b, x, row.onLanes(number(op.getScale().convertToDouble())));
      });
    Value max = row.reduce(number(-INFINITY), same,
                           [&](Value x, Value y) -> Value { return arith::MaximumFOp::create(b, x, y); });
    row.map([&b, &row, max](Value x) -> Value {
      return math::ExpOp::create(b, arith::SubFOp::create(b, x, row.onLanes(max)));
    });
    Value inverse = arith::DivFOp::create(b, number(1), row.sum(real, same));
    row.store(op.getInit(), [&](Value, Value x) -> Value { return arith::MulFOp::create(b, x, row.onLanes(inverse)); });
  });
}

void codegen::emitKernel(nn::NormOp op, CudaKernelBuilder &b) {
  Type real = realType(op.getInit());
  eachRow(op, b, op.getInput(), [&](Row &row) {
    Value count = arith::SIToFPOp::create(b, real, arith::IndexCastOp::create(b, b.getI64Type(), row.length));
    if (op.getKind() == nn::NormKind::Layer) {
      Value mean = arith::DivFOp::create(b, row.sum(real, [](Value x) { return x; }), count);
      row.map([&b, &row, mean](Value x) -> Value { return arith::SubFOp::create(b, x, row.onLanes(mean)); });
    }
    Value squares = row.sum(real, [&](Value x) -> Value { return arith::MulFOp::create(b, x, x); });
    Value variance = arith::DivFOp::create(b, squares, count);
    Value root = math::SqrtOp::create(
        b, arith::AddFOp::create(b, variance, b.constantFloat(real, op.getEpsilon().convertToDouble())));
    Value inverse = arith::DivFOp::create(b, b.constantFloat(real, 1), root);
    row.store(op.getInit(), [&](Value column, Value x) {
      x = arith::MulFOp::create(b, x, row.onLanes(inverse));
      if (op.getScale())
        x = arith::MulFOp::create(b, x, row.load(op.getScale(), {column}));
      if (op.getShift())
        x = arith::AddFOp::create(b, x, row.load(op.getShift(), {column}));
      return x;
    });
  });
}
