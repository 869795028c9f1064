// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scatters: threads take parts of the dims that are in place, as what goes to different places along these never meets.
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/ScatterOp.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// Dims of updates in the order of their loops. Dims in place are outside where they have indices of their own; within a slice that
// one tuple of indices moves they are inside, so that the tuple is read once. Where there is no such slice, the last dim in place is
// inside all the same, as neighbours in memory are along it.
struct ScatterLoops {
  SmallVector<unsigned> outside, between, inside; // of the range, of each thread, of the range

  explicit ScatterLoops(nn::ScatterOp op) {
    for (unsigned dim = 0; dim < op.getPlace().getNumDims(); ++dim)
      (!op.isInPlace(dim) ? between : op.getIndexMap().isFunctionOfDim(dim) ? outside : inside).push_back(dim);
    if (inside.empty() && !outside.empty())
      inside.push_back(outside.pop_back_val());
  }
};
constexpr unsigned kUpdates = 1; // the operand whose dims are looped over
} // namespace

KernelRange codegen::planScatter(nn::ScatterOp op) {
  ScatterLoops loops(op);
  KernelRange range;
  for (ArrayRef<unsigned> dims : {ArrayRef(loops.outside), ArrayRef(loops.inside)})
    for (unsigned dim : dims)
      range.factors.push_back({{ExtentPlace{kUpdates, dim}}});
  double turns = 1;
  for (unsigned dim : loops.between)
    turns *= guessExtent(cast<MemRefType>(op.getUpdates().getType()).getDimSize(dim));
  range.grain = grainOf(turns);
  return range;
}

LogicalResult codegen::lowerScatter(nn::ScatterOp op, CpuKernelBuilder &b) {
  ScatterLoops loops(op);
  auto sizesOf = [&](ArrayRef<unsigned> dims) {
    return llvm::map_to_vector(dims, [&](unsigned dim) { return b.size(op.getUpdates(), dim); });
  };
  SmallVector<Value> point(op.getPlace().getNumDims());
  bool movesSlices = llvm::none_of(loops.inside, [&](unsigned dim) { return op.getIndexMap().isFunctionOfDim(dim); });
  auto ifInside = [&](const ScatterTarget &target, function_ref<void()> body) {
    if (!target.isInside)
      return body();
    OpBuilder::InsertionGuard guard(b);
    auto choice = scf::IfOp::create(b, target.isInside, /*withElse=*/false);
    b.setInsertionPointToStart(choice.thenBlock());
    body();
  };
  auto combine = [&](const ScatterTarget &target) {
    SmallVector<Value> place = placeOf(op, target, point);
    Value old = op.combines() ? b.loadWide(op.getInit(), place) : Value();
    b.store(emitCombiner(op, b, old, b.loadWide(op.getUpdates(), point)), op.getInit(), place);
  };
  auto overInside = [&](Value first, Value end, function_ref<void()> body) {
    if (loops.inside.empty())
      return body();
    b.overRange(first, end, sizesOf(loops.inside), [&](ArrayRef<Value> others, Value from, Value to) {
      for (auto [dim, index] : llvm::zip(loops.inside, others))
        point[dim] = index;
      b.loop(from, to, 1, [&](Value i) {
        point[loops.inside.back()] = i;
        body();
      });
    });
  };
  SmallVector<Value> sizes = sizesOf(loops.outside), slice = sizesOf(loops.inside);
  Value inSlice = b.constant(1);
  for (Value size : slice)
    inSlice = b.mul(inSlice, size);
  sizes.push_back(inSlice);
  b.overRange(sizes, [&](ArrayRef<Value> outside, Value first, Value end) {
    for (auto [dim, index] : llvm::zip(loops.outside, outside))
      point[dim] = index;
    std::function<void(ArrayRef<unsigned>)> between = [&](ArrayRef<unsigned> dims) {
      if (!dims.empty())
        return b.loop(b.constant(0), b.size(op.getUpdates(), dims.front()), 1, [&](Value i) {
          point[dims.front()] = i;
          between(dims.drop_front());
        });
      if (!movesSlices)
        return overInside(first, end, [&] {
          ScatterTarget target = emitScatterTarget(op, b, point);
          ifInside(target, [&] { combine(target); });
        });
      ScatterTarget target = emitScatterTarget(op, b, point);
      ifInside(target, [&] { overInside(first, end, [&] { combine(target); }); });
    };
    between(loops.between);
  });
  return success();
}
