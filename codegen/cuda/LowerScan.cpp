// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.scan: a block does a row, a stretch after the other. A thread combines neighbouring elements, a block what its threads
// have; in which order depends on the element's type and on the place in the row alone.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

KernelRange codegen::planAlongDim(Operation *op, unsigned dim) {
  KernelRange range;
  for (unsigned other = 0; other < cast<MemRefType>(op->getOperand(0).getType()).getRank(); ++other)
    if (other != dim)
      range.factors.push_back({{{0, other}}});
  return range;
}

void codegen::emitKernel(nn::ScanOp op, CudaKernelBuilder &b) {
  int64_t dim = op.getDim(), rank = cast<MemRefType>(op.getInput().getType()).getRank();
  Type stored = cast<MemRefType>(op.getInput().getType()).getElementType(), type = stored;
  if (auto real = dyn_cast<FloatType>(stored))
    type = computeType(real);
  bool isProduct = op.getKind() == nn::ScanKind::Product;
  Value neutral = isa<FloatType>(type) ? b.constantFloat(type, isProduct)
                                       : arith::ConstantOp::create(b, b.getIntegerAttr(type, isProduct)).getResult();
  auto combine = [&](Value x, Value y) -> Value {
    if (isa<FloatType>(type))
      return isProduct ? arith::MulFOp::create(b, x, y).getResult() : arith::AddFOp::create(b, x, y).getResult();
    return isProduct ? arith::MulIOp::create(b, x, y).getResult() : arith::AddIOp::create(b, x, y).getResult();
  };
  SmallVector<Value> sizes;
  for (int64_t other = 0; other < rank; ++other)
    if (other != dim)
      sizes.push_back(b.size(op.getInput(), other));
  Value length = b.size(op.getInput(), dim), last = b.sub(length, b.constant(1));
  // Of long rows a thread has more at once: there are fewer stretches to wait for.
  constexpr int64_t longRow = 4096;
  std::optional<int64_t> known = getConstantIntValue(length);
  int64_t vector = std::clamp<int64_t>(kVectorBytes / elementBytes(stored), 2, 8), unit = known && *known <= longRow ? vector : 4 * vector;
  // A vector ends where the row does.
  bool asVectors = dim == rank - 1 && !op.getReverse() && known.value_or(1) % vector == 0 && b.lanesOf(op.getInput(), vector) == vector &&
                   b.lanesOf(op.getInit(), vector) == vector;

  b.blockRows(sizes, [&](ArrayRef<Value> row) {
    auto at = [&](Value step) {
      SmallVector<Value> place(row);
      place.insert(place.begin() + dim, op.getReverse() ? b.sub(last, step) : step);
      return place;
    };
    auto stretch = scf::ForOp::create(b, b.constant(0), length, b.constant(kBlock * unit), ValueRange{neutral});
    b.setInsertionPointToStart(stretch.getBody());
    Value first = b.add(stretch.getInductionVar(), b.mul(b.thread(), b.constant(unit)));
    SmallVector<Value> sums; // of this thread's elements up to each
    auto elementsIn = [&](Value from, int64_t count, function_ref<SmallVector<Value>()> load) {
      auto choice = scf::IfOp::create(b, TypeRange(SmallVector<Type>(count, type)), b.isBelow(from, length), /*withElse=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(choice.elseBlock());
      scf::YieldOp::create(b, SmallVector<Value>(count, neutral));
      b.setInsertionPointToStart(choice.thenBlock());
      scf::YieldOp::create(b, load());
      llvm::append_range(sums, choice.getResults());
    };
    for (int64_t start = 0; asVectors && start < unit; start += vector) {
      Value from = b.add(first, b.constant(start));
      elementsIn(from, vector, [&] {
        Value loaded = b.loadLanes(vector, op.getInput(), at(from));
        SmallVector<Value> elements;
        for (int64_t lane = 0; lane < vector; ++lane) {
          Value element = vector::ExtractOp::create(b, loaded, lane);
          elements.push_back(type == stored ? element : arith::ExtFOp::create(b, type, element).getResult());
        }
        return elements;
      });
    }
    for (int64_t lane = 0; !asVectors && lane < unit; ++lane) {
      Value from = b.add(first, b.constant(lane));
      elementsIn(from, 1, [&]() -> SmallVector<Value> { return {b.loadWide(op.getInput(), at(from))}; });
    }
    for (int64_t lane = 1; lane < unit; ++lane)
      sums[lane] = combine(sums[lane - 1], sums[lane]);
    CudaKernelBuilder::Scan scan = b.scanBlock(sums.back(), neutral, combine);
    Value soFar = stretch.getRegionIterArg(0), before = combine(soFar, scan.before);
    SmallVector<Value> results;
    for (int64_t lane = 0; lane < unit; ++lane)
      results.push_back(!op.getExclusive() ? combine(before, sums[lane]) : lane ? combine(before, sums[lane - 1]) : before);
    for (int64_t start = 0; asVectors && start < unit; start += vector) {
      Value from = b.add(first, b.constant(start));
      SmallVector<Value> neighbours;
      for (Value result : ArrayRef(results).slice(start, vector))
        neighbours.push_back(type == stored ? result : arith::TruncFOp::create(b, stored, result).getResult());
      b.ifTrue(b.isBelow(from, length), [&] {
        b.storeLanes(vector::FromElementsOp::create(b, VectorType::get({vector}, stored), neighbours), op.getInit(), at(from));
      });
    }
    for (int64_t lane = 0; !asVectors && lane < unit; ++lane) {
      Value from = b.add(first, b.constant(lane));
      b.ifTrue(b.isBelow(from, length), [&] { b.store(results[lane], op.getInit(), at(from)); });
    }
    scf::YieldOp::create(b, combine(soFar, scan.total));
    b.setInsertionPointAfter(stretch);
  });
}
