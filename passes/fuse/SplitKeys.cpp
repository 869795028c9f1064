// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/SplitKeys.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace snug;

namespace {
class KeySplitter {
public:
  KeySplitter(nn::AttentionOp op, int64_t parts) : op(op), parts(parts), b(op), loc(op.getLoc()) {}

  void run() {
    nn::AttentionOp part = attendToParts();
    Value result = putTogether(part->getResult(0), part->getResult(1), part->getResult(2));
    op->getResult(0).replaceAllUsesWith(result);
    op.erase();
  }

private:
  AffineExpr dim(unsigned number) { return b.getAffineDimExpr(number); }
  Value number(double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)); }
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
  Value empty(ArrayRef<OpFoldResult> sizes) {
    SmallVector<OpFoldResult> all{b.getIndexAttr(parts)};
    llvm::append_range(all, sizes);
    return tensor::EmptyOp::create(b, loc, all, b.getF32Type());
  }

  // With one more batch dim, behind the others: the part.
  nn::AttentionOp attendToParts() {
    unsigned batch = op.getNumBatchDims(), numDims = batch + 5;
    SmallVector<AffineExpr> moved;
    for (unsigned old = 0; old < batch + 4; ++old)
      moved.push_back(dim(old < batch ? old : old + 1));
    auto behindPart = [&](ArrayRef<AffineExpr> results) {
      SmallVector<AffineExpr> all{dim(batch)};
      llvm::append_range(all, results);
      return AffineMap::get(numDims, 0, all, b.getContext());
    };
    SmallVector<AffineMap> maps;
    for (AffineMap map : op.getMaps())
      maps.push_back(map.replaceDimsAndSymbols(moved, {}, numDims, 0));
    AffineMap written = maps.pop_back_val();
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, loc, op.getInit()), rows;
    SmallVector<AffineExpr> ofRow;
    for (unsigned old = 0; old <= op.rowDim(); ++old) {
      ofRow.push_back(moved[old]);
      statPlaces.push_back(*op.getMaps().back().getResultPosition(dim(old)));
      rows.push_back(sizes[statPlaces.back()]);
    }
    maps.append({behindPart(ofRow), behindPart(ofRow), behindPart(written.getResults())});
    Value max = empty(rows), total = empty(rows), values = empty(sizes);
    // What has no weight is 0, not NaN: other parts may have some.
    auto part = nn::AttentionOp::create(b, loc, TypeRange{max.getType(), total.getType(), values.getType()}, op.getQ(), op.getK(), op.getV(),
                                        op.getScoreIns(), max, total, values, b.getAffineMapArrayAttr(maps), b.getUnitAttr(),
                                        b.getUnitAttr(), b.getUnitAttr());
    IRMapping mapping;
    op.getScore().cloneInto(&part.getScore(), mapping);
    part.getScore().walk([&](nn::IndexOp index) {
      if (index.getDim() >= batch)
        index.setDim(index.getDim() + 1);
    });
    return part;
  }

  Value putTogether(Value max, Value total, Value values) {
    unsigned rank = cast<RankedTensorType>(op.getInit().getType()).getRank();
    auto map = [&](bool behindPart, ArrayRef<unsigned> places) {
      SmallVector<AffineExpr> results;
      if (behindPart)
        results.push_back(dim(rank));
      for (unsigned place : places)
        results.push_back(dim(place));
      return AffineMap::get(rank + 1, 0, results, b.getContext());
    };
    SmallVector<unsigned> all = llvm::to_vector(llvm::seq<unsigned>(0, rank));
    SmallVector<AffineMap> maps{map(true, statPlaces), map(true, statPlaces), map(true, all), map(false, all)};
    auto kernel = nn::ScalarKernelOp::create(b, loc, TypeRange{op.getInit().getType()}, ValueRange{max, total, values}, ValueRange{op.getInit()},
                                             b.getAffineMapArrayAttr(maps), b.getDenseI64ArrayAttr({}));
    Block &block = kernel.getBody().emplaceBlock();
    block.addArguments(SmallVector<Type>(rank, b.getIndexType()), SmallVector<Location>(rank, loc));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&block);
    SmallVector<Value> element(block.getArguments().begin(), block.getArguments().end()), row;
    for (unsigned place : statPlaces)
      row.push_back(element[place]);
    auto load = [&](unsigned operand, Value part, ArrayRef<Value> place) -> Value {
      SmallVector<Value> indices{part};
      llvm::append_range(indices, place);
      return nn::LoadOp::create(b, loc, b.getF32Type(), operand, indices);
    };
    auto overParts = [&](ArrayRef<Value> init, function_ref<SmallVector<Value>(Value, ValueRange)> body) {
      auto loop = scf::ForOp::create(b, loc, index(0), index(parts), index(1), init);
      OpBuilder::InsertionGuard inside(b);
      b.setInsertionPointToStart(loop.getBody());
      scf::YieldOp::create(b, loc, body(loop.getInductionVar(), loop.getRegionIterArgs()));
      return loop;
    };
    Value lowest = number(-INFINITY);
    Value most = overParts(lowest, [&](Value part, ValueRange soFar) -> SmallVector<Value> {
                   return {arith::MaximumFOp::create(b, loc, soFar[0], load(0, part, row))};
                 }).getResult(0);
    Value none = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, most, lowest);
    Value base = arith::SelectOp::create(b, loc, none, number(0), most);
    auto sums = overParts({number(0), number(0)}, [&](Value part, ValueRange soFar) -> SmallVector<Value> {
      Value weight = math::ExpOp::create(b, loc, arith::SubFOp::create(b, loc, load(0, part, row), base));
      weight = arith::MulFOp::create(b, loc, weight, load(1, part, row));
      return {arith::AddFOp::create(b, loc, soFar[0], weight),
              arith::AddFOp::create(b, loc, soFar[1], arith::MulFOp::create(b, loc, weight, load(2, part, element)))};
    });
    Value value = arith::DivFOp::create(b, loc, sums.getResult(1), sums.getResult(0));
    if (op.getZeroIfMasked()) { // no weight at all, or NaN
      Value any = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, sums.getResult(0), number(0));
      value = arith::SelectOp::create(b, loc, any, value, number(0));
    }
    nn::StoreOp::create(b, loc, value, 3, element);
    nn::YieldOp::create(b, loc, ValueRange());
    return kernel.getResult(0);
  }

  nn::AttentionOp op;
  int64_t parts;
  OpBuilder b;
  Location loc;
  SmallVector<unsigned> statPlaces; // where in the result's dims those of statistics are
};
} // namespace

void snug::splitKeys(nn::AttentionOp op, int64_t parts) { KeySplitter(op, parts).run(); }
