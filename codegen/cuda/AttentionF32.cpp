// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention in f32: a thread makes four by four scores, and four rows of every 16th piece of four values. Queries and keys
// come through shared memory in pieces of the head, values in pieces of the keys, so any head fits.
#include "codegen/cuda/AttentionForm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kSide = 16, kOwn = 4; // threads along rows and columns, and what each has of them
constexpr int64_t kTile = kSide * kOwn;
// More at once, unrolled, is more than there are registers for.
constexpr int64_t kHeadPiece = 16, kValuePiece = 16;
constexpr int64_t kPiece = 4; // elements of 16 bytes

class F32Form : public AttentionForm {
public:
  F32Form(CudaKernelBuilder &b, const AttentionPlace &place)
      : AttentionForm(b, place), f32(b.getF32Type()), padded(llvm::alignTo(place.sizes.value, kTile)),
        weightTile(b, kTile, kTile, f32) {
    static_assert(kSide * kSide == kBlock);
    rows = columns = kOwn;
    values = padded / kSide;
    lanes = kSide;
    int64_t each = SharedTile::elementsOf(kTile, headPiece(), f32);
    // One after the other in the same memory.
    int64_t room = std::max(2 * each, SharedTile::elementsOf(kValuePiece, padded, f32));
    buffer = b.shared({room}, f32);
    threadRow = b.mul(b.div(b.thread(), b.constant(kSide)), b.constant(kOwn));
    threadColumn = b.rem(b.thread(), b.constant(kSide));
    auto inVectors = [&](unsigned operand, unsigned dim, int64_t size) { return place.inVectors(b, operand, dim, size); };
    queriesInVectors = inVectors(0, op.headSizeDim(), place.sizes.head);
    keysInVectors = inVectors(1, op.headSizeDim(), place.sizes.head);
    valuesInVectors = inVectors(2, op.valueSizeDim(), place.sizes.value);
  }
  Value row(int64_t i) override { return b.add(threadRow, b.constant(i)); }
  Value column(int64_t j) override { return b.add(threadColumn, b.constant(j * kSide)); }
  Value value(int64_t j) override {
    return b.add(b.mul(threadColumn, b.constant(kOwn)), b.constant(j / kOwn * kTile + j % kOwn));
  }
  Value exp(Value x) override { return math::ExpOp::create(b, x); }

  SmallVector<Value> scores(Value key, Value end) override {
    SharedTile queryTile(buffer, kTile, headPiece());
    SharedTile keyTile(buffer, kTile, headPiece(), kTile * queryTile.pitch);
    Value zero = b.constant(0), size = b.constant(place.sizes.head);
    SmallVector<Value> none(rows * columns, b.constantF32(0));
    return b.carry(zero, size, headPiece(), none, [&](Value d0, SmallVector<Value> &sums) {
      Value rest = place.sizes.head % headPiece() == 0 ? b.constant(headPiece()) : b.sub(size, d0);
      b.barrier(); // who still reads what was there before
      startCopy(b, queryTile,
                {op.getQ(),
                 [&](Value s, Value d) { return place.at(b, 0, place.rowAt(b, s), zero, b.add(d0, d), zero); },
                 b.sub(place.numRows, place.firstRow), rest, queriesInVectors});
      startCopy(b, keyTile,
                {op.getK(), [&](Value t, Value d) { return place.at(b, 1, zero, b.add(key, t), b.add(d0, d), zero); },
                 b.sub(place.numKeys, key), rest, keysInVectors});
      finishCopies(b);
      sums = b.carry(zero, b.constant(headPiece()), kPiece, sums, [&](Value d, SmallVector<Value> &sums) {
        SmallVector<Value> q, k;
        for (int64_t i = 0; i < rows; ++i)
          q.push_back(queryTile.loadVector(b, row(i), d));
        for (int64_t j = 0; j < columns; ++j)
          k.push_back(keyTile.loadVector(b, column(j), d));
        for (int64_t step = 0; step < kPiece; ++step)
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < columns; ++j)
              addProduct(sums[i * columns + j], q[i], step, k[j], step);
      });
    });
  }
  void accumulate(Value key, Value end, ArrayRef<Value> weights, MutableArrayRef<Value> sums) override {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        weightTile.store(b, weights[i * columns + j], row(i), column(j));
    SharedTile valueTile(buffer, kValuePiece, padded);
    Value zero = b.constant(0), there = b.min(b.constant(keys), b.sub(end, key));
    SmallVector<Value> results = b.carry(zero, there, kValuePiece, llvm::to_vector(sums), [&](Value t0, SmallVector<Value> &sums) {
      b.barrier();
      // Weights of keys from `end` on are 0, but 0 times NaN is not.
      startCopy(b, valueTile,
                {op.getV(),
                 [&](Value t, Value e) { return place.at(b, 2, zero, b.add(b.add(key, t0), t), zero, e); },
                 b.sub(there, t0), b.constant(place.sizes.value), valuesInVectors});
      finishCopies(b);
      sums = b.carry(zero, b.constant(kValuePiece), kPiece, sums, [&](Value t, SmallVector<Value> &sums) {
        SmallVector<Value> weights;
        for (int64_t i = 0; i < rows; ++i)
          weights.push_back(weightTile.loadVector(b, row(i), b.add(t0, t)));
        for (int64_t step = 0; step < kPiece; ++step)
          for (int64_t piece = 0; piece < values; piece += kPiece) {
            Value v = valueTile.loadVector(b, b.add(t, b.constant(step)), value(piece));
            for (int64_t i = 0; i < rows; ++i)
              for (int64_t j = 0; j < kPiece; ++j)
                addProduct(sums[i * values + piece + j], weights[i], step, v, j);
          }
      });
    });
    llvm::copy(results, sums.begin());
  }

private:
  int64_t headPiece() const { return std::min<int64_t>(kHeadPiece, llvm::alignTo(place.sizes.head, kPiece)); }
  void addProduct(Value &sum, Value x, int64_t i, Value y, int64_t j) {
    sum = math::FmaOp::create(b, vector::ExtractOp::create(b, x, i), vector::ExtractOp::create(b, y, j), sum);
  }
  Type f32;
  int64_t padded;
  SharedTile weightTile;
  Value buffer, threadRow, threadColumn, queriesInVectors, keysInVectors, valuesInVectors;
};
} // namespace

std::unique_ptr<AttentionForm> codegen::createF32Form(CudaKernelBuilder &b, const AttentionPlace &place) {
  return std::make_unique<F32Form>(b, place);
}
