// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Softmax and norms: a block makes a row, whose sums are those of its threads' parts. Which elements a thread takes depends
// on the row's length alone, so rows are the same however they are chunked.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
Type realType(Value memref) { return computeType(cast<FloatType>(cast<MemRefType>(memref.getType()).getElementType())); }

// The place of a row in a block: a thread's columns are thread, thread + kBlock, ...
struct Row {
  CudaKernelBuilder &b;
  SmallVector<Value> leading;
  Value length;

  SmallVector<Value> at(Value column) {
    SmallVector<Value> indices = leading;
    indices.push_back(column);
    return indices;
  }
  void each(function_ref<void(Value)> body) { b.loop(b.thread(), length, kBlock, body); }
  Value reduce(Value neutral, function_ref<Value(Value)> element, CudaKernelBuilder::Combine combine) {
    auto loop = scf::ForOp::create(b, b.thread(), length, b.constant(kBlock), ValueRange{neutral});
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      scf::YieldOp::create(b, combine(loop.getRegionIterArg(0), element(loop.getInductionVar())));
    }
    return b.reduceBlock(loop.getResult(0), neutral, combine);
  }
  Value sum(Type real, function_ref<Value(Value)> element) {
    return reduce(b.constantFloat(real, 0), element,
                  [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, x, y); });
  }
};

void eachRow(CudaKernelBuilder &b, Value like, function_ref<void(Row &)> body) {
  unsigned rank = cast<MemRefType>(like.getType()).getRank();
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim + 1 < rank; ++dim)
    sizes.push_back(b.size(like, dim));
  b.blockRows(sizes, [&](ArrayRef<Value> place) {
    Row row{b, SmallVector<Value>(place), b.size(like, rank - 1)};
    body(row);
  });
}
} // namespace

KernelRange codegen::planRowBlocks(Operation *op) {
  unsigned init = op->getNumOperands() - 1;
  KernelRange range;
  for (unsigned dim = 0; dim + 1 < cast<MemRefType>(op->getOperand(init).getType()).getRank(); ++dim)
    range.factors.push_back({{{init, dim}}});
  return range;
}

void codegen::emitKernel(nn::SoftmaxOp op, CudaKernelBuilder &b) {
  Type real = realType(op.getInit());
  auto number = [&](double value) { return b.constantFloat(real, value); };
  Value scale = number(op.getScale().convertToDouble());
  bool scaled = op.getScale().convertToFloat() != 1.0f;
  eachRow(b, op.getInit(), [&](Row &row) {
    // scale * x first, as written; so a negative scale is right too.
    auto element = [&](Value j) -> Value {
      Value x = b.loadWide(op.getInput(), row.at(j));
      return scaled ? arith::MulFOp::create(b, x, scale).getResult() : x;
    };
    Value max = row.reduce(number(-INFINITY), element,
                           [&](Value x, Value y) -> Value { return arith::MaximumFOp::create(b, x, y); });
    auto power = [&](Value j) -> Value { return math::ExpOp::create(b, arith::SubFOp::create(b, element(j), max)); };
    Value inverse = arith::DivFOp::create(b, number(1), row.sum(real, power));
    row.each([&](Value j) { b.store(arith::MulFOp::create(b, power(j), inverse), op.getInit(), row.at(j)); });
  });
}

void codegen::emitKernel(nn::NormOp op, CudaKernelBuilder &b) {
  Type real = realType(op.getInit());
  bool layer = op.getKind() == nn::NormKind::Layer;
  eachRow(b, op.getInit(), [&](Row &row) {
    Value count = arith::SIToFPOp::create(b, real, arith::IndexCastOp::create(b, b.getI64Type(), row.length));
    auto element = [&](Value j) -> Value { return b.loadWide(op.getInput(), row.at(j)); };
    Value mean = layer ? arith::DivFOp::create(b, row.sum(real, element), count).getResult() : Value();
    auto centered = [&](Value j) -> Value { return layer ? arith::SubFOp::create(b, element(j), mean).getResult() : element(j); };
    Value squares = row.sum(real, [&](Value j) -> Value {
      Value x = centered(j);
      return arith::MulFOp::create(b, x, x);
    });
    Value variance = arith::DivFOp::create(b, squares, count);
    Value root = math::SqrtOp::create(
        b, arith::AddFOp::create(b, variance, b.constantFloat(real, op.getEpsilon().convertToDouble())));
    Value inverse = arith::DivFOp::create(b, b.constantFloat(real, 1), root);
    row.each([&](Value j) {
      Value x = arith::MulFOp::create(b, centered(j), inverse);
      if (op.getScale())
        x = arith::MulFOp::create(b, x, b.loadWide(op.getScale(), j));
      if (op.getShift())
        x = arith::AddFOp::create(b, x, b.loadWide(op.getShift(), j));
      b.store(x, op.getInit(), row.at(j));
    });
  });
}
