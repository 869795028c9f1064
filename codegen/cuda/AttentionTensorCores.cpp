// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention on tensor cores: a warp makes 16 query rows, whose queries it holds in registers, as far as there are any. Sums are f32; weights are
// rounded to the type of the values for the second product (tf32
// of f32, whose operands are rounded, too). While a product is made, the other one's operand is copied.
#include "codegen/cuda/AttentionForm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kRows = 16; // of a warp

class TensorCoreForm : public AttentionForm {
public:
  TensorCoreForm(CudaKernelBuilder &b, const AttentionPlace &place)
      : AttentionForm(b, place), type(place.sizes.product), step(SharedTile::stepOf(type)), each(step / 8),
        head(llvm::alignTo(place.sizes.head, step)), padded(llvm::alignTo(place.sizes.value, 16)),
        // Queries and sums of long heads leave few registers for scores.
        keyTile(b, keysOf(place), head, type), valueTile(b, keysOf(place), padded, type) {
    keys = keysOf(place);
    rows = 2;
    columns = keys / 4;
    values = padded / 4;
    lanes = 4;
    Value lane = b.lane(), four = b.constant(4);
    warpRow = b.mul(b.warpInBlock(), b.constant(kRows));
    laneRow = b.add(warpRow, b.div(lane, four));
    member = b.rem(lane, four);
    laneColumn = b.mul(member, b.constant(2));
    keysInVectors = place.inVectors(b, 1, op.headSizeDim(), place.sizes.head);
    valuesInVectors = place.inVectors(b, 2, op.valueSizeDim(), place.sizes.value);
    // A thread has 255 registers, of which its sums take a part, and what is rounded some more.
    int64_t free = (type.isF32() ? 176 : 192) - padded / 2;
    for (int64_t d = 0; d < head && 4 * int64_t(queries.size() + 1) <= free; d += step)
      queries.push_back(loadQuery(d));
    if (int64_t(queries.size()) * step < head)
      b.loadAgain(op.getQ());
  }
  Value row(int64_t i) override { return b.add(laneRow, b.constant(8 * i)); }
  Value column(int64_t j) override { return b.add(laneColumn, b.constant(j / 2 * 8 + j % 2)); }
  Value value(int64_t j) override { return column(j); }
  // As exact as what is made of it.
  Value exp(Value x) override {
    Value scaled = arith::MulFOp::create(b, x, b.constantF32(1.44269504088896340736f));
    return math::Exp2Op::create(b, scaled, arith::FastMathFlags::afn);
  }

  void begin(Value end) override {
    b.ifTrue(b.isBelow(b.constant(0), end), [&] { startKeys(b.constant(0)); });
  }
  SmallVector<Value> scores(Value key, Value end) override {
    finishCopies(b); // all warps have left the tile of values behind, too
    startValues(key, end);
    SmallVector<Value> sums(keys / 8, zeros());
    for (int64_t d = 0; d < head; d += step) {
      Value query = d / step < int64_t(queries.size()) ? queries[d / step] : loadQuery(d);
      for (int64_t column = 0; column < keys; column += 16) {
        auto [first, second] = loadRight(b, keyTile, b.constant(column), b.constant(d), TileOrder::Transposed);
        for (auto [at, right] : {std::pair(column / 8, first), std::pair(column / 8 + 1, second)})
          sums[at] = multiplyAdd(b, query, right, sums[at]);
      }
    }
    SmallVector<Value> all;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        all.push_back(element(sums[j / 2], i, j % 2));
    return all;
  }
  void accumulate(Value key, Value end, ArrayRef<Value> weights, MutableArrayRef<Value> sums) override {
    finishCopies(b);
    Value next = b.add(key, b.constant(keys));
    b.ifTrue(b.isBelow(next, end), [&] { startKeys(next); });
    SmallVector<Value> fragments;
    for (int64_t e = 0; e < padded / 8; ++e)
      fragments.push_back(vector::FromElementsOp::create(
          b, VectorType::get({2, 2}, b.getF32Type()),
          ValueRange{sums[2 * e], sums[2 * e + 1], sums[values + 2 * e], sums[values + 2 * e + 1]}));
    for (int64_t k = 0; k < keys; k += step) {
      // Fragments of the scores' sums are one of the left operand: 8 columns of them are 8 keys, and a lane's two of each row are in one
      // register, or of 32 bits in two.
      SmallVector<Value> elements;
      for (int64_t first = 0; first < step / 4; first += each)
        for (int64_t i : {0, 1})
          for (int64_t j = first; j < first + each; ++j)
            elements.push_back(toOperand(b, weights[i * columns + k / 4 + j], type));
      Value left = vector::FromElementsOp::create(b, VectorType::get({4, each}, type), elements);
      for (int64_t e = 0; e < padded; e += 16) {
        auto [first, second] = loadRight(b, valueTile, b.constant(k), b.constant(e), TileOrder::AsSums);
        fragments[e / 8] = multiplyAdd(b, left, first, fragments[e / 8]);
        fragments[e / 8 + 1] = multiplyAdd(b, left, second, fragments[e / 8 + 1]);
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < values; ++j)
        sums[i * values + j] = element(fragments[j / 2], i, j % 2);
  }

private:
  static int64_t keysOf(const AttentionPlace &place) {
    int64_t both = place.sizes.head + place.sizes.value;
    if (place.sizes.product.isF32()) // twice the registers and the shared memory
      return both <= 2 * 64 ? 64 : both <= 2 * 96 ? 32 : 16;
    return both <= 2 * 128 ? 64 : both <= 2 * 192 ? 32 : 16;
  }
  Value zeros() {
    auto vector = VectorType::get({2, 2}, b.getF32Type());
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, b.getF32FloatAttr(0)));
  }
  Value element(Value fragment, int64_t i, int64_t j) {
    return vector::ExtractOp::create(b, fragment, ArrayRef<int64_t>{i, j});
  }
  // Each lane its elements of one instruction, from `d` on.
  Value loadQuery(int64_t d) {
    Value zero = b.constant(0), none = b.constantFloat(type, 0), size = b.constant(place.sizes.head);
    SmallVector<Value> elements;
    for (int64_t right : {int64_t(0), step / 2})
      for (int64_t i : {0, 1})
        for (int64_t j = 0; j < each; ++j) {
          Value column = b.add(b.mul(member, b.constant(each)), b.constant(d + right + j));
          bool whole = d + step <= place.sizes.head;
          Value from = whole ? column : b.min(column, b.sub(size, b.constant(1)));
          Value q = b.load(op.getQ(), place.at(b, 0, place.rowAt(b, row(i)), zero, from, zero));
          if (type.isF32())
            q = toOperand(b, q, type);
          elements.push_back(whole ? q : arith::SelectOp::create(b, b.isBelow(column, size), q, none).getResult());
        }
    return vector::FromElementsOp::create(b, VectorType::get({4, each}, type), elements);
  }
  void startKeys(Value key) {
    startCopy(b, keyTile,
              {op.getK(),
               [&](Value t, Value d) { return place.at(b, 1, b.constant(0), b.add(key, t), d, b.constant(0)); },
               b.sub(place.numKeys, key), b.constant(place.sizes.head), keysInVectors});
  }
  // Weights of keys from `end` on are 0, but 0 times NaN is not.
  void startValues(Value key, Value end) {
    startCopy(b, valueTile,
              {op.getV(),
               [&](Value t, Value e) { return place.at(b, 2, b.constant(0), b.add(key, t), b.constant(0), e); },
               b.sub(end, key), b.constant(place.sizes.value), valuesInVectors});
  }

  Type type;
  int64_t step, each; // terms of an instruction, and of a register
  int64_t head, padded;
  SharedTile keyTile, valueTile;
  SmallVector<Value> queries; // those that are held; others are loaded for each tile of keys
  Value warpRow, laneRow, member, laneColumn, keysInVectors, valuesInVectors;
};
} // namespace

std::unique_ptr<AttentionForm> codegen::createTensorCoreForm(CudaKernelBuilder &b, const AttentionPlace &place) {
  return std::make_unique<TensorCoreForm>(b, place);
}
