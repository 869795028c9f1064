// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of few query rows, as those of a decode step: what it takes is the time to read keys and values once. Some lanes of a
// warp share a key, each with a vector of it in registers, and its value in the same way; all rows of the block share what was
// loaded. Lanes and warps go through keys of their own, without waiting for each other, and what each saw is put together at the end,
// in one order (Milakov and Gimelshein, arXiv 1805.02867).
#include "codegen/cuda/AttentionForm.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kWarps = kBlock / kWarp;
constexpr int64_t kOwn = 4; // keys of a thread in a tile: loads that do not wait for each other

class FewRowsForm : public AttentionForm {
public:
  FewRowsForm(CudaKernelBuilder &b, const AttentionPlace &place)
      : AttentionForm(b, place), f32(b.getF32Type()), keySize(place.sizes.head, op.getK()), valueSize(place.sizes.value, op.getV()) {
    sharing = llvm::PowerOf2Ceil(std::clamp<int64_t>(std::max(keySize.pieces, valueSize.pieces), 1, kWarp));
    rows = place.sizes.rows();
    columns = kOwn;
    values = valueSize.elements(sharing);
    lanes = 1; // as to keys
    keys = kBlock / sharing * kOwn;
    member = b.rem(b.lane(), b.constant(sharing));
    group = b.div(b.thread(), b.constant(sharing));
    keySize.inVectors = place.inVectors(b, 1, op.headSizeDim(), keySize.size);
    valueSize.inVectors = place.inVectors(b, 2, op.valueSizeDim(), valueSize.size);
    loadQueries();
  }
  Value row(int64_t i) override { return b.constant(i); }
  Value column(int64_t j) override { return b.add(group, b.constant(j * (kBlock / sharing))); }
  Value value(int64_t j) override { return valueSize.at(*this, j / valueSize.unit, j % valueSize.unit); }
  Value exp(Value x) override {
    if (!place.sizes.product)
      return math::ExpOp::create(b, x);
    Value scaled = arith::MulFOp::create(b, x, b.constantF32(1.44269504088896340736f)); // as exact as what is made of it
    return math::Exp2Op::create(b, scaled, arith::FastMathFlags::afn);
  }

  SmallVector<Value> scores(Value key, Value end) override {
    SmallVector<SmallVector<Value>> loadedKeys;
    valuesOfKeys.clear();
    Value zero = b.constant(0), last = b.sub(end, b.constant(1));
    for (int64_t j = 0; j < columns; ++j) {
      Value t = b.min(b.add(key, column(j)), last);
      loadedKeys.push_back(load(keySize, op.getK(), [&](Value d) { return place.at(b, 1, zero, t, d, zero); }));
    }
    for (int64_t j = 0; j < columns; ++j) {
      Value t = b.min(b.add(key, column(j)), last);
      valuesOfKeys.push_back(load(valueSize, op.getV(), [&](Value e) { return place.at(b, 2, zero, t, zero, e); }));
    }
    SmallVector<Value> all;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        Value sum = b.constantF32(0);
        for (auto [q, k] : llvm::zip(queries[i], loadedKeys[j]))
          sum = math::FmaOp::create(b, q, k, sum);
        all.push_back(b.reduceWarp(sum, [&](Value x, Value y) { return plus(x, y); }, sharing));
      }
    return all;
  }
  // Of keys that are not there, the last one's value is taken 0 times: it is one that a row may see.
  void accumulate(Value key, Value end, ArrayRef<Value> weights, MutableArrayRef<Value> sums) override {
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t e = 0; e < values; ++e)
          sums[i * values + e] = math::FmaOp::create(b, weights[i * columns + j], valuesOfKeys[j][e], sums[i * values + e]);
  }

  Value maxOfAll(Value max) override {
    return b.reduceBlock(max, b.constantF32(-INFINITY), [&](Value x, Value y) { return larger(x, y); });
  }
  void finish(ArrayRef<Value> max, ArrayRef<Value> total, ArrayRef<Value> sums, function_ref<void(const Result &)> write) override {
    Value zero = b.constant(0), first = b.isBelow(b.lane(), b.constant(sharing)), warp = b.warpInBlock();
    Value maxes = b.shared({rows}, f32), totals = b.shared({kWarps, rows}, f32), buffer = b.shared({kWarps, rows, valueSize.size}, f32);
    auto add = [&](Value x, Value y) { return plus(x, y); };
    for (int64_t i = 0; i < rows; ++i) {
      Value most = maxOfAll(max[i]), number = b.constant(i);
      Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, most, b.constantF32(-INFINITY));
      Value base = arith::SelectOp::create(b, none, b.constantF32(0), most);
      Value share = exp(arith::SubFOp::create(b, max[i], base));
      auto ofWarp = [&](Value x) { return b.reduceWarp(arith::MulFOp::create(b, x, share), add, kWarp / sharing, sharing); };
      Value all = ofWarp(total[i]);
      b.ifTrue(b.isBelow(b.lane(), b.constant(1)), [&] {
        b.store(all, totals, {warp, number});
        b.ifTrue(b.isBelow(warp, b.constant(1)), [&] { b.store(most, maxes, number); });
      });
      for (int64_t e = 0; e < values; ++e) {
        Value sum = ofWarp(sums[i * values + e]), at = value(e);
        Value stores = first;
        if (valueSize.isPadded(sharing))
          stores = arith::AndIOp::create(b, first, b.isBelow(at, b.constant(valueSize.size)));
        b.ifTrue(stores, [&] { b.store(sum, buffer, {warp, number, at}); });
      }
    }
    b.barrier();
    b.loop(b.thread(), b.constant(rows * valueSize.size), kBlock, [&](Value number) {
      Value size = b.constant(valueSize.size), i = b.div(number, size), e = b.rem(number, size), all, sum;
      for (int64_t w = 0; w < kWarps; ++w) {
        Value part = b.load(totals, {b.constant(w), i}), value = b.load(buffer, {b.constant(w), i, e});
        all = all ? plus(all, part) : part;
        sum = sum ? plus(sum, value) : value;
      }
      write({i, b.load(maxes, i), all, arith::CmpIOp::create(b, arith::CmpIPredicate::eq, e, zero), {e}, {sum}});
    });
  }

private:
  // How a key or a value is dealt to the lanes that share it: lane l has pieces l + i * sharing, of `unit` elements each.
  struct Dealt {
    int64_t size, unit, pieces; // elements; of 16 bytes; of the whole
    Value inVectors;            // none: never

    Dealt(int64_t size, Value memref)
        : size(size), unit(kVectorBytes / elementBytes(cast<MemRefType>(memref.getType()).getElementType())), pieces(llvm::divideCeil(size, unit)) {}
    int64_t times(int64_t sharing) const { return llvm::divideCeil(pieces, sharing); }
    int64_t elements(int64_t sharing) const { return times(sharing) * unit; }
    bool isPadded(int64_t sharing) const { return elements(sharing) * sharing != size; }
    Value at(FewRowsForm &form, int64_t i, int64_t element) const {
      return form.b.add(form.b.mul(form.member, form.b.constant(unit)), form.b.constant(i * form.sharing * unit + element));
    }
  };

  // This lane's elements in f32, 0 behind the end.
  SmallVector<Value> load(const Dealt &dealt, Value memref, function_ref<SmallVector<Value>(Value)> at) {
    Type element = cast<MemRefType>(memref.getType()).getElementType();
    auto type = VectorType::get({dealt.unit}, element);
    SmallVector<Value> all;
    for (int64_t i = 0; i < dealt.times(sharing); ++i) {
      Value from = dealt.at(*this, i, 0), whole;
      bool inside = !dealt.isPadded(sharing);
      auto vector = [&]() -> Value {
        Value start = inside ? from : b.min(from, b.constant(dealt.size - dealt.unit));
        return b.loadLanes(dealt.unit, memref, at(start));
      };
      auto elements = [&]() -> Value {
        SmallVector<Value> each;
        for (int64_t e = 0; e < dealt.unit; ++e)
          each.push_back(b.load(memref, at(b.min(b.add(from, b.constant(e)), b.constant(dealt.size - 1)))));
        return vector::FromElementsOp::create(b, type, each);
      };
      if (dealt.size % dealt.unit == 0 && b.lanesOf(memref, dealt.unit) == dealt.unit) {
        whole = vector();
      } else if (!dealt.inVectors) {
        whole = elements();
      } else {
        auto choice = scf::IfOp::create(b, TypeRange{type}, dealt.inVectors, /*withElse=*/true);
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(choice.thenBlock());
        scf::YieldOp::create(b, vector());
        b.setInsertionPointToStart(choice.elseBlock());
        scf::YieldOp::create(b, elements());
        whole = choice.getResult(0);
      }
      for (int64_t e = 0; e < dealt.unit; ++e) {
        Value one = vector::ExtractOp::create(b, whole, e);
        if (element != f32)
          one = arith::ExtFOp::create(b, f32, one);
        if (!inside)
          one = arith::SelectOp::create(b, b.isBelow(dealt.at(*this, i, e), b.constant(dealt.size)), one, b.constantF32(0));
        all.push_back(one);
      }
    }
    return all;
  }
  // Element by element: they are read once.
  void loadQueries() {
    Value zero = b.constant(0), size = b.constant(place.sizes.head), last = b.constant(place.sizes.head - 1);
    for (int64_t i = 0; i < rows; ++i) {
      AttentionRow at = place.row(b, row(i));
      SmallVector<Value> all;
      for (int64_t e = 0; e < keySize.elements(sharing); ++e) {
        Value d = keySize.at(*this, e / keySize.unit, e % keySize.unit);
        Value q = b.loadWide(op.getQ(), place.at(b, 0, at.batch, at.row, zero, b.min(d, last), zero));
        all.push_back(keySize.isPadded(sharing) ? arith::SelectOp::create(b, b.isBelow(d, size), q, b.constantF32(0)).getResult() : q);
      }
      queries.push_back(all);
    }
  }
  Value plus(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value larger(Value x, Value y) { return arith::MaximumFOp::create(b, x, y); }

  Type f32;
  Dealt keySize, valueSize;
  int64_t sharing; // lanes of a key
  Value member, group;
  SmallVector<SmallVector<Value>> queries, valuesOfKeys;
};
} // namespace

std::unique_ptr<AttentionForm> codegen::createFewRowsForm(CudaKernelBuilder &b, const AttentionPlace &place) {
  return std::make_unique<FewRowsForm>(b, place);
}
