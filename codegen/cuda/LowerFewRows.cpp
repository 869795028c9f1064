// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions of which one side has few rows (of the result, or few columns), as those of a decode step: what they take is the
// time to read the other operand, the many side, once. Threads load vectors of it in whichever way it lies, all few rows share
// what was loaded, and the sum is dealt to lanes and warps of a block, whose parts are added in one order. Which part is whose
// depends on the number of terms, on element types and on maps alone.
#include "codegen/cuda/Contraction.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kWarps = kBlock / kWarp;

// How terms and columns (places on the many side) are dealt: a thread takes `terms` neighbouring terms of `columns` neighbouring
// columns at a time; `laneParts` lanes of a warp, in `warpParts` warps, have parts of the same sums.
struct Plan {
  unsigned few, many; // operands
  ArrayRef<unsigned> rows, manyDims;
  int64_t terms = 1, columns = 1, laneParts = 1, warpParts = 1;
  bool alongSums = false; // neighbouring lanes have neighbouring terms, else neighbouring columns
  int64_t heldRows;       // of a block; no sum depends on it

  explicit Plan(Contraction &c)
      : few(c.op.getFewRows() ? 0 : 1), many(1 - few), rows(few ? c.columns : c.rows), manyDims(few ? c.rows : c.columns) {
    deal(c);
    // As many as there are registers for; where there are more rows, about the same number in each block.
    bool isWide = c.op.getEpilogue().front().getArgument(0).getType().isF64();
    int64_t count = c.staticExtent(rows), most = std::min<int64_t>(16, (isWide ? 32 : 48) / columns);
    heldRows = ShapedType::isDynamic(count) ? std::min<int64_t>(4, most)
                                            : llvm::divideCeil(std::max<int64_t>(1, count), llvm::divideCeil(std::max<int64_t>(1, count), most));
  }
  int64_t parts() const { return laneParts * warpParts; }
  int64_t blockColumns() const { return kBlock / parts() * columns; }

private:
  void deal(Contraction &c) {
    AffineMap map = c.maps[many];
    auto last = map.getNumResults() ? dyn_cast<AffineDimExpr>(map.getResults().back()) : AffineDimExpr(nullptr);
    if (!last || (many == 1 && c.op.getPacked()))
      return;
    int64_t count = c.staticExtent(c.sums), vector = std::max<int64_t>(1, kVectorBytes / elementBytes(c.elementType(many)));
    if (ShapedType::isDynamic(count))
      count = std::numeric_limits<int32_t>::max();
    auto powerBelow = [](int64_t n, int64_t most) { return std::clamp<int64_t>(llvm::bit_floor(static_cast<uint64_t>(n)), 1, most); };
    constexpr int64_t own = 4; // of what lies across vectors: loads that do not wait for each other
    int64_t least, most;       // lanes for one sum
    if (last.getPosition() == c.sums.back())
      alongSums = true, terms = vector, columns = own, least = 4, most = kWarp;
    else if (!manyDims.empty() && last.getPosition() == manyDims.back())
      terms = own, columns = vector, least = most = 2 * vector; // the warp's lanes together have 16 columns: whole sectors
    else
      return;
    if (count < least * terms) { // a thread makes whole sums
      terms = columns = 1;
      alongSums = false;
      return;
    }
    laneParts = powerBelow(count / terms, most);
    warpParts = powerBelow(count / (2 * terms * laneParts), kWarps);
  }
};

class FewRows : ContractionCode {
public:
  FewRows(nn::ContractOp op, CudaKernelBuilder &b) : ContractionCode(op, b), plan(c) {}

  void emit() {
    numRows = sizeOf(plan.rows), numColumns = sizeOf(plan.manyDims), numTerms = sizeOf(c.sums);
    origin.assign(loops, b.constant(0));
    SmallVector<Value> grid = sizesOf(c.batch);
    grid.append({b.ceilDiv(numColumns, plan.blockColumns()), b.ceilDiv(numRows, plan.heldRows)});
    SmallVector<Value> at = b.delinearize(b.block(), grid);
    firstRow = b.mul(at.pop_back_val(), b.constant(plan.heldRows));
    firstColumn = b.mul(at.pop_back_val(), b.constant(plan.blockColumns()));
    for (auto [dim, index] : llvm::zip(c.batch, at))
      origin[dim] = index;
    Value lane = b.lane(), warp = b.warpInBlock(), laneParts = b.constant(plan.laneParts), warpParts = b.constant(plan.warpParts),
          laneColumns = b.constant(kWarp / plan.laneParts);
    Value lanePart = plan.alongSums ? b.rem(lane, laneParts) : b.div(lane, laneColumns);
    Value laneColumn = plan.alongSums ? b.div(lane, laneParts) : b.rem(lane, laneColumns), warpPart = b.rem(warp, warpParts);
    Value column = b.mul(b.add(b.mul(b.div(warp, warpParts), laneColumns), laneColumn), b.constant(plan.columns)); // in the block
    SmallVector<Value> sums = part(b.add(b.mul(warpPart, laneParts), lanePart), b.add(firstColumn, column));
    for (Value &sum : sums)
      sum = b.reduceWarp(sum, [&](Value x, Value y) -> Value { return arith::AddFOp::create(b, x, y); }, plan.laneParts,
                         plan.alongSums ? 1 : kWarp / plan.laneParts);
    if (plan.parts() == 1) {
      for (int64_t row = 0; row < plan.heldRows; ++row)
        finish(b.constant(row), column, sums[row]);
      return;
    }
    Value buffer = b.shared({plan.warpParts, plan.heldRows, plan.blockColumns()}, sumType);
    b.ifTrue(b.isBelow(lanePart, b.constant(1)), [&] {
      for (auto [number, sum] : llvm::enumerate(sums))
        b.store(sum, buffer, {warpPart, b.constant(number / plan.columns), b.add(column, b.constant(number % plan.columns))});
    });
    b.barrier();
    b.loop(b.thread(), b.constant(plan.heldRows * plan.blockColumns()), kBlock, [&](Value number) {
      Value row = b.div(number, b.constant(plan.blockColumns())), place = b.rem(number, b.constant(plan.blockColumns()));
      Value sum = b.load(buffer, {b.constant(0), row, place});
      for (int64_t other = 1; other < plan.warpParts; ++other)
        sum = arith::AddFOp::create(b, sum, b.load(buffer, {b.constant(other), row, place}));
      finish(row, place, sum);
    });
  }

private:
  // Sums of the held rows, and of a thread's columns from `column` on, of terms [terms * (part + i * parts), ... + terms) for all i.
  SmallVector<Value> part(Value part, Value column) {
    std::optional<int64_t> known = getConstantIntValue(numTerms);
    bool isWhole = known && *known % plan.terms == 0;
    SmallVector<Value> none(plan.heldRows * plan.columns, b.constantFloat(sumType, 0));
    Value first = b.mul(part, b.constant(plan.terms));
    return b.carry(first, numTerms, plan.parts() * plan.terms, none, [&](Value term, SmallVector<Value> &sums) {
      SmallVector<SmallVector<Value>> many = block(plan.many, plan.manyDims, column, numColumns, plan.columns, term);
      SmallVector<SmallVector<Value>> few = block(plan.few, plan.rows, firstRow, numRows, plan.heldRows, term);
      for (int64_t k = 0; k < plan.terms; ++k) {
        Value isIn = isWhole || k == 0 ? Value() : b.isBelow(b.add(term, b.constant(k)), numTerms);
        for (int64_t row = 0; row < plan.heldRows; ++row)
          for (int64_t j = 0; j < plan.columns; ++j) {
            Value &sum = sums[row * plan.columns + j];
            Value next = math::FmaOp::create(b, few[row][k], many[j][k], sum);
            sum = isIn ? arith::SelectOp::create(b, isIn, next, sum).getResult() : next;
          }
      }
    });
  }

  // Elements of an operand at `count` neighbours along `dims` and the plan's terms from `term` on: [neighbour][term]. Those behind an
  // end are any.
  SmallVector<SmallVector<Value>> block(unsigned operand, ArrayRef<unsigned> dims, Value first, Value extent, int64_t count, Value term) {
    SmallVector<SmallVector<Value>> elements(count, SmallVector<Value>(plan.terms));
    int64_t alongTerms = lanesAlong(operand, c.sums, plan.terms), alongCount = alongTerms > 1 ? 1 : lanesAlong(operand, dims, count);
    for (int64_t i = 0; i < count; i += alongCount)
      for (int64_t k = 0; k < plan.terms; k += alongTerms) {
        // Vectors are whole or not there at all.
        SmallVector<Value> indices = origin;
        place(indices, dims, b.min(b.add(first, b.constant(i)), b.sub(extent, b.constant(alongCount))));
        place(indices, c.sums, b.min(b.add(term, b.constant(k)), b.sub(numTerms, b.constant(alongTerms))));
        int64_t lanes = alongTerms * alongCount;
        Value loaded = lanes == 1 ? load(operand, indices) : b.loadLanes(lanes, op->getOperand(operand), at(operand, indices));
        loaded = toSum(loaded);
        for (int64_t lane = 0; lane < lanes; ++lane)
          elements[i + (alongTerms > 1 ? 0 : lane)][k + (alongTerms > 1 ? lane : 0)] =
              lanes == 1 ? loaded : vector::ExtractOp::create(b, loaded, lane).getResult();
      }
    return elements;
  }

  // Of `most` neighbours along the last of `dims`, from a multiple of `most` on, how many an operand gives at once.
  int64_t lanesAlong(unsigned operand, ArrayRef<unsigned> dims, int64_t most) {
    AffineMap map = c.maps[operand];
    if (dims.empty() || map.getNumResults() == 0 || (operand == 1 && op.getPacked()) ||
        map.getResults().back() != b.getAffineDimExpr(dims.back()) ||
        llvm::any_of(map.getResults().drop_back(), [&](AffineExpr expr) { return expr.isFunctionOfDim(dims.back()); }))
      return 1;
    int64_t extent = c.staticExtent(dims.back()), lanes = llvm::bit_floor(static_cast<uint64_t>(most));
    int64_t bytes = elementBytes(c.elementType(operand));
    lanes = std::gcd(std::gcd(most, lanes), std::max<int64_t>(1, kVectorBytes / bytes));
    return b.lanesOf(op->getOperand(operand), std::gcd(lanes, ShapedType::isDynamic(extent) ? 1 : extent));
  }

  void finish(Value row, Value column, Value sum) {
    row = b.add(firstRow, row), column = b.add(firstColumn, column);
    b.ifTrue(arith::AndIOp::create(b, b.isBelow(row, numRows), b.isBelow(column, numColumns)), [&] {
      SmallVector<Value> indices = origin;
      place(indices, plan.rows, row);
      place(indices, plan.manyDims, column);
      ContractionCode::finish(indices, sum);
    });
  }

  Plan plan;
  SmallVector<Value> origin; // indices of batch dims
  Value numRows, numColumns, numTerms, firstRow, firstColumn;
};
} // namespace

KernelRange codegen::planFewRows(const Contraction &contraction) {
  Contraction c = contraction;
  Plan plan(c);
  KernelRange range;
  for (unsigned dim : c.batch)
    range.factors.push_back({{c.extent(dim)}});
  // Blocks of the same columns one after the other: what they read is in the cache.
  for (auto [dims, tile] : {std::pair(plan.manyDims, plan.blockColumns()), std::pair(plan.rows, plan.heldRows)}) {
    RangeFactor factor;
    for (unsigned dim : dims)
      factor.extents.push_back(c.extent(dim));
    factor.tile = tile;
    range.factors.push_back(factor);
  }
  return range;
}

void codegen::emitFewRows(nn::ContractOp op, CudaKernelBuilder &b) { FewRows(op, b).emit(); }
