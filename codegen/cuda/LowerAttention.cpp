// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention streamed over tiles of keys (online softmax; Milakov and Gimelshein 2018; tiles for GPUs: Dao et al. 2022): a
// block makes a tile of query rows, the two products in one of the forms of AttentionForm.h, and between them the softmax
// here. Tiles of keys start at multiples of their size, and what a row gets of keys that it does not see is exactly 0, so
// cutting the query rows anywhere gives the same bits.
//
// Where the score region masks all keys beyond a bound (causal), a block ends at the farthest of its rows' bounds. A row
// that saw nothing but masked scores may owe its weights to keys beyond (finite masks: all weights are equal), so such rows
// are done again with all keys.
#include "codegen/cuda/AttentionForm.h"
#include "lib/analysis/KeyBound.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SetVector.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t largestHead = 256; // a thread holds its part of the weighted values in registers

int64_t extentOf(nn::AttentionOp op, unsigned dim, unsigned operand) {
  std::optional<ExtentPlace> place = extentPlace(op.getMaps(), dim, {operand});
  return place ? cast<MemRefType>(op->getOperand(operand).getType()).getDimSize(place->dim) : 1;
}

// Of a thread: its rows' largest scores, sums of powers (of this thread's columns) and weighted values.
struct State {
  SmallVector<Value> max, total, sums;

  State(const AttentionForm &form, ArrayRef<Value> all)
      : max(all.take_front(form.rows)), total(all.drop_front(form.rows).take_front(form.rows)),
        sums(all.drop_front(2 * form.rows)) {}
  SmallVector<Value> all() const { return llvm::to_vector(llvm::concat<const Value>(max, total, sums)); }
};

class AttentionCode {
public:
  AttentionCode(AttentionPlace place, CudaKernelBuilder &b)
      : place(std::move(place)), op(this->place.op), b(b), bound(keyBound(op)), form(AttentionForm::create(b, this->place)) {
    for (int64_t i = 0; i < form->rows; ++i)
      rows.push_back(this->place.row(b, form->row(i)));
  }

  void emit() {
    SmallVector<Value> limits; // of keys that a thread's rows look at
    Value end = place.endKey;
    if (bound) {
      // It changes with the row, and with the head, in one direction, so one of the tile's corners sees most.
      llvm::SmallSetVector<int64_t, 4> corners;
      for (int64_t head : {int64_t(0), place.sizes.heads - 1})
        for (int64_t row : {int64_t(0), place.sizes.rowsOfHead - 1})
          corners.insert(head * place.sizes.rowsOfHead + row);
      for (int64_t corner : corners) {
        Value limit = limitOf(place.row(b, b.constant(corner)));
        end = corner == 0 ? limit : b.max(end, limit);
      }
    }
    for (const AttentionRow &row : rows)
      limits.push_back(bound ? limitOf(row) : place.endKey);
    SmallVector<Value> initial(form->rows, number(-INFINITY));
    initial.append(form->rows * (1 + form->values), number(0));
    if (!bound || bound->infinite)
      return finish(State(*form, stream(end, limits, initial)));
    finish(State(*form, b.carry(b.constant(0), b.constant(2), 1, initial, [&](Value time, SmallVector<Value> &all) {
      // The second time, only rows that have seen nothing; the first time all are such.
      State state(*form, all);
      Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, time, b.constant(0)), any = number(0);
      SmallVector<Value> remaining;
      for (int64_t i = 0; i < form->rows; ++i) {
        Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, form->maxOfAll(state.max[i]), number(kSeenScore));
        any = select(none, number(1), any);
        remaining.push_back(select(isFirst, limits[i], select(none, place.endKey, b.constant(0))));
        state.max[i] = select(none, number(-INFINITY), state.max[i]);
        state.total[i] = select(none, number(0), state.total[i]);
        for (int64_t j = 0; j < form->values; ++j)
          state.sums[i * form->values + j] = select(none, number(0), state.sums[i * form->values + j]);
      }
      any = b.reduceBlock(any, number(0), [&](Value x, Value y) { return larger(x, y); });
      Value again = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, any, number(0));
      all = stream(select(isFirst, end, select(again, place.endKey, b.constant(0))), remaining, state.all());
      b.barrier(); // shared memory is free for the next time
    })));
  }

private:
  Value number(float value) { return b.constantF32(value); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value larger(Value x, Value y) { return arith::MaximumFOp::create(b, x, y); }
  Value plus(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value times(Value x, Value y) { return arith::MulFOp::create(b, x, y); }

  Value limitOf(const AttentionRow &row) {
    Value last = b.constant(bound->last.constant + 1);
    for (auto [dim, factor] : bound->last.dims)
      last = b.add(last, b.mul(dim == op.rowDim() ? row.row : row.batch[dim], b.constant(factor)));
    for (auto [value, factor] : bound->last.values) {
      if (!value.getType().isIndex())
        value = arith::IndexCastOp::create(b, b.getIndexType(), value);
      last = b.add(last, b.mul(value, b.constant(factor)));
    }
    return b.min(b.max(last, b.constant(0)), place.endKey);
  }

  Value scoreOf(Value product, const AttentionRow &row, Value key) {
    Block &score = op.getScore().front();
    Value zero = b.constant(0);
    IRMapping mapping;
    mapping.map(score.getArgument(0), product);
    for (auto [index, operand] : llvm::enumerate(op.getScoreIns()))
      if (!score.getArgument(index + 1).use_empty())
        mapping.map(score.getArgument(index + 1), isa<MemRefType>(operand.getType())
                                                      ? b.load(operand, place.at(b, 3 + index, row.batch, row.row, key, zero, zero))
                                                      : Value(operand));
    for (Operation &inner : score.without_terminator()) {
      auto index = dyn_cast<nn::IndexOp>(inner);
      if (!index)
        b.clone(inner, mapping);
      else
        mapping.map(index.getResult(), index.getDim() == op.keyDim()   ? key
                                       : index.getDim() == op.rowDim() ? row.row
                                                                       : row.batch[index.getDim()]);
    }
    return mapping.lookupOrDefault(score.getTerminator()->getOperand(0));
  }

  SmallVector<Value> stream(Value end, ArrayRef<Value> limits, ArrayRef<Value> initial) {
    form->begin(end);
    return b.carry(place.firstKey, end, form->keys, initial, [&](Value key, SmallVector<Value> &all) {
      State state(*form, all);
      SmallVector<Value> scores = form->scores(key, end);
      for (int64_t i = 0; i < form->rows; ++i) {
        MutableArrayRef<Value> row = MutableArrayRef(scores).slice(i * form->columns, form->columns);
        Value old = state.max[i], next = old;
        for (auto [j, score] : llvm::enumerate(row)) {
          Value t = b.add(key, form->column(j)), last = b.sub(place.numKeys, b.constant(1));
          score = select(b.isBelow(t, limits[i]), scoreOf(score, rows[i], b.min(t, last)), number(-INFINITY));
          next = larger(next, score);
        }
        next = b.reduceWarp(next, [&](Value x, Value y) { return larger(x, y); }, form->lanes);
        // Nothing seen but -inf: keep -inf - -inf away.
        Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, next, number(-INFINITY));
        Value base = select(none, number(0), next), sum;
        for (Value &score : row) {
          score = form->exp(arith::SubFOp::create(b, score, base));
          sum = sum ? plus(sum, score) : score;
        }
        Value alpha = form->exp(arith::SubFOp::create(b, old, base));
        state.max[i] = next;
        state.total[i] = plus(times(state.total[i], alpha), sum);
        for (int64_t j = 0; j < form->values; ++j)
          state.sums[i * form->values + j] = times(state.sums[i * form->values + j], alpha);
      }
      form->accumulate(key, end, scores, state.sums);
      all = state.all();
    });
  }

  void finish(State state) {
    unsigned init = op->getNumOperands() - 1;
    Value zero = b.constant(0), size = b.constant(place.sizes.value);
    form->finish(state.max, state.total, state.sums, [&](const AttentionForm::Result &result) {
      Value inverse = arith::DivFOp::create(b, number(1), result.total), nothing;
      if (op.getZeroIfMasked()) // no weight at all, or NaN
        nothing = arith::CmpFOp::create(b, arith::CmpFPredicate::ULE, result.total, number(0));
      AttentionRow row = place.row(b, result.row);
      b.ifTrue(row.exists, [&] {
        if (op.getMax())
          b.ifTrue(result.speaks, [&] {
            b.store(result.max, op.getMax(), place.at(b, init - 2, row.batch, row.row, zero, zero, zero));
            b.store(result.total, op.getTotal(), place.at(b, init - 1, row.batch, row.row, zero, zero, zero));
          });
        for (auto [at, sum] : llvm::zip(result.places, result.sums)) {
          Value e = at, value = times(sum, inverse);
          if (nothing)
            value = select(nothing, number(0), value);
          auto store = [&] { b.store(value, op.getInit(), place.at(b, init, row.batch, row.row, zero, zero, e)); };
          if (form->values * form->lanes == place.sizes.value)
            store();
          else
            b.ifTrue(b.isBelow(e, size), store);
        }
      });
    });
  }

  AttentionPlace place;
  nn::AttentionOp op;
  CudaKernelBuilder &b;
  std::optional<KeyBound> bound;
  std::unique_ptr<AttentionForm> form;
  SmallVector<AttentionRow> rows; // this thread's, of all
};

// Of the query heads that look at one head of keys and values: the batch dim that they lie along, and how many there are.
std::pair<unsigned, int64_t> groupOf(nn::AttentionOp op) {
  SmallVector<AffineMap> maps = op.getMaps();
  for (unsigned dim = op.getNumBatchDims(); dim-- > 0;) {
    if (dim == op.partDim())
      continue;
    int64_t group = 0; // any number
    for (unsigned operand : {1, 2})
      for (AffineExpr index : maps[operand].getResults()) {
        if (!index.isFunctionOfDim(dim))
          continue;
        auto quotient = dyn_cast<AffineBinaryOpExpr>(index);
        auto divisor = quotient ? dyn_cast<AffineConstantExpr>(quotient.getRHS()) : AffineConstantExpr();
        bool divides = divisor && index.getKind() == AffineExprKind::FloorDiv && quotient.getLHS() == getAffineDimExpr(dim, op.getContext());
        group = std::gcd(group, divides ? divisor.getValue() : 1);
      }
    if (group != 1)
      return {dim, group};
  }
  return {0, 1};
}
} // namespace

AttentionSizes AttentionSizes::of(nn::AttentionOp op) {
  auto type = [](Value operand) { return cast<MemRefType>(operand.getType()).getElementType(); };
  Type first = type(op.getQ());
  // Few rows wait for memory, not for products: of f32 they are multiplied as they are.
  bool narrow = first.isF16() || first.isBF16() || (first.isF32() && !op.getFewRows() && multipliesInTf32(op));
  narrow &= type(op.getK()) == first && type(op.getV()) == first;
  AttentionSizes sizes{extentOf(op, op.headSizeDim(), 1), extentOf(op, op.valueSizeDim(), 2), narrow ? first : Type(), narrow ? 128 : 64};
  if (!op.getFewRows())
    return sizes;
  // As many rows as there are registers for. What is computed of a row depends on none of it.
  unsigned init = op->getNumOperands() - 1;
  auto [dim, group] = groupOf(op);
  int64_t most = std::clamp<int64_t>(1024 / std::max<int64_t>(1, sizes.value), 1, 8);
  int64_t heads = group == 1 ? 1 : extentOf(op, dim, init), rows = extentOf(op, op.rowDim(), init);
  auto atMost = [](int64_t extent, int64_t most) { return ShapedType::isDynamic(extent) ? most : std::clamp<int64_t>(extent, 1, most); };
  sizes.headDim = dim;
  sizes.heads = atMost(heads, most);
  while (group % sizes.heads) // those of one group
    --sizes.heads;
  sizes.rowsOfHead = ShapedType::isDynamic(rows) ? 1 : atMost(rows, most / sizes.heads);
  return sizes;
}

SmallVector<Value> AttentionPlace::at(CudaKernelBuilder &b, unsigned operand, ArrayRef<Value> batch, Value s, Value t, Value d,
                                      Value e) const {
  SmallVector<Value> indices(batch);
  indices.append({s, t, d, e});
  return b.apply(nn::AttentionOp(op).getMaps()[operand], indices);
}

AttentionRow AttentionPlace::row(CudaKernelBuilder &b, Value row) const {
  AttentionRow result{batch, {}, {}};
  if (sizes.heads > 1) {
    Value head = b.add(batch[sizes.headDim], b.div(row, b.constant(sizes.rowsOfHead)));
    row = b.rem(row, b.constant(sizes.rowsOfHead));
    result.batch[sizes.headDim] = b.min(head, b.sub(numHeads, b.constant(1)));
    result.exists = b.isBelow(head, numHeads);
  }
  Value isRow = b.isBelow(b.add(firstRow, row), numRows);
  result.exists = result.exists ? arith::AndIOp::create(b, result.exists, isRow).getResult() : isRow;
  result.row = rowAt(b, row);
  return result;
}

void AttentionForm::finish(ArrayRef<Value> max, ArrayRef<Value> total, ArrayRef<Value> sums, function_ref<void(const Result &)> write) {
  Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, b.rem(b.lane(), b.constant(lanes)), b.constant(0));
  for (int64_t i = 0; i < rows; ++i) {
    Value all = b.reduceWarp(total[i], [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, x, y); }, lanes);
    Result result{row(i), max[i], all, isFirst, {}, llvm::to_vector(sums.slice(i * values, values))};
    for (int64_t j = 0; j < values; ++j)
      result.places.push_back(value(j));
    write(result);
  }
}

Value AttentionPlace::inVectors(CudaKernelBuilder &b, unsigned operand, unsigned dim, int64_t columns) const {
  nn::AttentionOp attention = op;
  return isInVectors(b, attention->getOperand(operand), positionOf(attention.getMaps()[operand], dim), columns);
}

std::unique_ptr<AttentionForm> AttentionForm::create(CudaKernelBuilder &b, const AttentionPlace &place) {
  if (nn::AttentionOp(place.op).getFewRows())
    return createFewRowsForm(b, place);
  return place.sizes.product ? createTensorCoreForm(b, place) : createF32Form(b, place);
}

LogicalResult codegen::checkAttention(nn::AttentionOp op) {
  for (Value operand : {op.getQ(), op.getK(), op.getV(), op.getInit()})
    if (Type type = cast<MemRefType>(operand.getType()).getElementType(); !computesInF32(type))
      return op.emitOpError() << "is generated for f32 and narrower floats only, not " << type;
  AttentionSizes sizes = AttentionSizes::of(op);
  if (ShapedType::isDynamic(sizes.head) || ShapedType::isDynamic(sizes.value))
    return op.emitOpError("has a dynamic head size, which is not generated");
  for (int64_t size : {sizes.head, sizes.value})
    if (size > largestHead)
      return op.emitOpError() << "has heads of " << size << " elements; at most " << largestHead << " are generated";
  return success();
}

KernelRange codegen::planAttentionRows(nn::AttentionOp op) {
  KernelRange range;
  unsigned init = op->getNumOperands() - 1;
  AttentionSizes sizes = AttentionSizes::of(op);
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim)
    if (std::optional<ExtentPlace> place = extentPlace(op.getMaps(), dim, {init}))
      range.factors.push_back({{*place}, dim == op.rowDim() ? sizes.rowsOfHead : sizes.heads > 1 && dim == sizes.headDim ? sizes.heads : 1});
  return range;
}

void codegen::emitKernel(nn::AttentionOp op, CudaKernelBuilder &b) {
  unsigned init = op->getNumOperands() - 1;
  AttentionPlace place;
  place.op = op;
  place.sizes = AttentionSizes::of(op);
  auto sizeOf = [&](unsigned dim, unsigned operand) { return b.size(op, extentPlace(op.getMaps(), dim, {operand})); };
  SmallVector<Value> factors;
  for (unsigned dim = 0; dim < op.getNumBatchDims(); ++dim)
    factors.push_back(sizeOf(dim, init));
  place.numRows = sizeOf(op.rowDim(), init);
  place.numKeys = sizeOf(op.keyDim(), 1);
  place.firstKey = b.constant(0), place.endKey = place.numKeys;
  if (place.sizes.heads > 1) {
    place.numHeads = factors[place.sizes.headDim];
    factors[place.sizes.headDim] = b.ceilDiv(place.numHeads, place.sizes.heads);
  }
  factors.push_back(b.ceilDiv(place.numRows, place.sizes.rowsOfHead));
  place.batch = b.delinearize(b.block(), factors);
  place.firstRow = b.mul(place.batch.pop_back_val(), b.constant(place.sizes.rowsOfHead));
  if (place.sizes.heads > 1)
    place.batch[place.sizes.headDim] = b.mul(place.batch[place.sizes.headDim], b.constant(place.sizes.heads));
  if (std::optional<unsigned> part = op.partDim()) {
    Value length = b.ceilDiv(place.numKeys, factors[*part]);
    place.firstKey = b.mul(place.batch[*part], length);
    place.endKey = b.min(b.add(place.firstKey, length), place.numKeys);
  }
  AttentionCode(std::move(place), b).emit();
}
