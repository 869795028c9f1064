// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.top_k: a block does a row. The key of the last element that is kept is found digit by digit (radix select), kept elements are
// collected, and a bitonic network brings them into order, in shared memory where they fit. Which elements are equal is told by
// keys, and places make the order a total one, so the result is the one that there is.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kDigitBits = 8, kDigits = 1 << kDigitBits;
static_assert(kDigits == kBlock, "a thread has a digit");
// Kept elements of a row that are brought into order in shared memory: of 16 bytes each, two thirds of what a kernel may have.
constexpr int64_t kSharedItems = 2048;

struct TopK {
  nn::TopKOp op;
  CudaKernelBuilder &b;
  SmallVector<Value> row; // places beside the dim
  Type element;
  unsigned bits;    // of an element
  IntegerType type; // of keys
  Value length, kept;
  Value keys, places; // in shared memory

  TopK(nn::TopKOp op, CudaKernelBuilder &b)
      : op(op), b(b), element(cast<MemRefType>(op.getInput().getType()).getElementType()),
        bits(std::max(8u, element.getIntOrFloatBitWidth())), type(b.getIntegerType(bits > 32 ? 64 : 32)),
        length(b.size(op.getInput(), op.getDim())), kept(b.size(op.getValues(), op.getDim())) {}

  Value index(int64_t value) { return b.constant(value); }
  Value key(int64_t value) { return arith::ConstantOp::create(b, b.getIntegerAttr(type, value)); }
  Value number(int32_t value) { return arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); }
  Value compare(arith::CmpIPredicate how, Value x, Value y) { return arith::CmpIOp::create(b, how, x, y); }
  Value equal(Value x, Value y) { return compare(arith::CmpIPredicate::eq, x, y); }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, x, y); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value add32(Value x, Value y) { return arith::AddIOp::create(b, x, y); }
  Value as(Type to, Value x) { return arith::IndexCastOp::create(b, to, x); }
  SmallVector<Value> at(Value place) {
    SmallVector<Value> all(row);
    all.insert(all.begin() + op.getDim(), place);
    return all;
  }

  // A number that is smaller, without a sign, for what comes earlier, and the same for what is equal.
  Value keyOf(Value x) {
    auto narrow = b.getIntegerType(bits);
    auto constant = [&](const APInt &value) -> Value { return arith::ConstantOp::create(b, b.getIntegerAttr(narrow, value)); };
    Value sign = constant(APInt::getSignMask(bits)), all = constant(APInt::getAllOnes(bits)), found;
    if (auto real = dyn_cast<FloatType>(element)) {
      Value pattern = arith::BitcastOp::create(b, narrow, x);
      // In integers, as subnormal numbers are not to be flushed.
      Value magnitude = both(pattern, constant(APInt::getSignedMaxValue(bits)));
      Value infinite = constant(APFloat::getInf(real.getFloatSemantics()).bitcastToAPInt());
      Value zero = constant(APInt::getZero(bits));
      pattern = select(equal(magnitude, zero), zero, pattern); // -0
      Value flip = arith::ShRSIOp::create(b, pattern, constant(APInt(bits, bits - 1)));
      found = arith::XOrIOp::create(b, pattern, either(flip, sign));
      found = select(compare(arith::CmpIPredicate::ugt, magnitude, infinite), all, found);
    } else if (element.isInteger(1)) {
      found = arith::ExtUIOp::create(b, narrow, x);
    } else {
      found = op.getIsUnsigned() ? x : arith::XOrIOp::create(b, x, sign).getResult();
    }
    if (op.getLargest())
      found = arith::XOrIOp::create(b, found, all);
    return narrow == type ? found : arith::ExtUIOp::create(b, type, found).getResult();
  }

  // How many kept elements have a smaller key than the last of them, and that key.
  std::pair<Value, Value> findLast() {
    constexpr int64_t unit = 4; // loads at once
    Value histogram = b.shared({kDigits}, b.getI32Type()), chosen = b.shared({2}, b.getI32Type());
    Value digits = index(bits / kDigitBits), zero = number(0), thread = b.thread();
    auto passes = scf::ForOp::create(b, index(0), digits, index(1), ValueRange{key(0), zero});
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(passes.getBody());
    Value known = passes.getRegionIterArg(0), before = passes.getRegionIterArg(1);
    Value shift = as(type, b.mul(b.sub(b.sub(digits, index(1)), passes.getInductionVar()), index(kDigitBits)));
    auto above = [&](Value x) { // without its digit; of the first one, nothing
      return arith::ShRUIOp::create(b, arith::ShRUIOp::create(b, x, shift), key(kDigitBits)).getResult();
    };
    b.store(zero, histogram, thread);
    b.barrier();
    b.loop(thread, length, kBlock * unit, [&](Value start) {
      for (int64_t i = 0; i < unit; ++i) {
        Value place = b.add(start, index(i * kBlock));
        b.ifTrue(b.isBelow(place, length), [&] {
          Value x = keyOf(b.load(op.getInput(), at(place)));
          b.ifTrue(equal(above(x), known), [&] {
            Value digit = both(arith::ShRUIOp::create(b, x, shift), key(kDigits - 1));
            memref::AtomicRMWOp::create(b, b.getI32Type(), arith::AtomicRMWKind::addi, number(1), histogram, as(b.getIndexType(), digit));
          });
        });
      }
    });
    b.barrier();
    Value count = b.load(histogram, thread);
    Value smaller = add32(before, b.scanBlock(count, zero, [&](Value x, Value y) { return add32(x, y); }).before);
    Value wanted = as(b.getI32Type(), kept);
    Value isHere = both(compare(arith::CmpIPredicate::ult, smaller, wanted),
                        compare(arith::CmpIPredicate::uge, add32(smaller, count), wanted));
    b.ifTrue(isHere, [&] {
      b.store(as(b.getI32Type(), thread), chosen, index(0));
      b.store(smaller, chosen, index(1));
    });
    b.barrier();
    Value digit = b.load(chosen, index(0));
    if (type.getWidth() > 32)
      digit = arith::ExtUIOp::create(b, type, digit);
    known = either(arith::ShLIOp::create(b, known, key(kDigitBits)), digit);
    scf::YieldOp::create(b, ValueRange{known, b.load(chosen, index(1))});
    return {passes.getResult(1), passes.getResult(0)};
  }

  // `keep(i, key, element, place)` for each of those that are kept, i of which there are.
  void collect(Value smaller, Value last, function_ref<void(Value, Value, Value, Value)> keep) {
    constexpr int64_t unit = 4; // neighbours of a thread
    Value wanted = as(b.getI32Type(), kept), zero = number(0), low = number(0xffff), half = number(16);
    auto stretch = scf::ForOp::create(b, index(0), length, index(kBlock * unit), ValueRange{zero, smaller});
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(stretch.getBody());
    Value first = b.add(stretch.getInductionVar(), b.mul(b.thread(), index(unit))), all = zero;
    SmallVector<ValueRange> loaded; // element, key, and whether it is smaller and whether it is equal: both counts in one number
    for (int64_t i = 0; i < unit; ++i) {
      Value place = b.add(first, index(i));
      auto choice = scf::IfOp::create(b, TypeRange{element, type, b.getI32Type()}, b.isBelow(place, length), /*withElse=*/true);
      OpBuilder::InsertionGuard inside(b);
      b.setInsertionPointToStart(choice.thenBlock());
      Value x = b.load(op.getInput(), at(place)), k = keyOf(x);
      Value isSmaller = compare(arith::CmpIPredicate::ult, k, last);
      scf::YieldOp::create(b, ValueRange{x, k, select(isSmaller, number(1), select(equal(k, last), number(1 << 16), zero))});
      b.setInsertionPointToStart(choice.elseBlock());
      Value none = isa<FloatType>(element) ? b.constantFloat(element, 0)
                                           : arith::ConstantOp::create(b, b.getIntegerAttr(element, 0)).getResult();
      scf::YieldOp::create(b, ValueRange{none, key(0), zero});
      loaded.push_back(choice.getResults());
    }
    for (ValueRange one : loaded)
      all = add32(all, one[2]);
    CudaKernelBuilder::Scan scan = b.scanBlock(all, zero, [&](Value x, Value y) { return add32(x, y); });
    Value smallerSoFar = stretch.getRegionIterArg(0), equalSoFar = stretch.getRegionIterArg(1), before = scan.before;
    for (auto [i, one] : llvm::enumerate(loaded)) {
      Value counts = one[2], isSmaller = equal(counts, number(1));
      Value slot = select(isSmaller, add32(smallerSoFar, both(before, low)), add32(equalSoFar, arith::ShRUIOp::create(b, before, half)));
      Value isKept = both(compare(arith::CmpIPredicate::ne, counts, zero), compare(arith::CmpIPredicate::ult, slot, wanted));
      b.ifTrue(isKept, [&, i = i, one = one] { keep(as(b.getIndexType(), slot), one[1], one[0], b.add(first, index(i))); });
      before = add32(before, counts);
    }
    scf::YieldOp::create(b, ValueRange{add32(smallerSoFar, both(scan.total, low)),
                                       add32(equalSoFar, arith::ShRUIOp::create(b, scan.total, half))});
  }

  // Brings two items into order, the first one of a smaller number.
  using Exchange = function_ref<void(Value, Value)>;

  void whileLoop(Value init, function_ref<Value(Value)> condition, function_ref<Value(Value)> body) {
    auto at = [&](OpBuilder &inner, function_ref<void()> make) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      make();
    };
    scf::WhileOp::create(
        b, b.getLoc(), TypeRange{b.getIndexType()}, ValueRange{init},
        [&](OpBuilder &inner, Location, ValueRange x) { at(inner, [&] { scf::ConditionOp::create(b, condition(x[0]), x); }); },
        [&](OpBuilder &inner, Location, ValueRange x) { at(inner, [&] { scf::YieldOp::create(b, body(x[0])); }); });
  }
  // Pairs of all `count` items that are in one run of twice `half`, and `half` apart, or of which one half is turned round. What would
  // be behind the last item belongs there.
  void pairs(Value count, Value half, bool mirrors, Exchange exchange) {
    Value run = b.add(half, half), runs = b.div(b.add(count, b.sub(run, index(1))), run);
    b.loop(b.thread(), b.mul(runs, half), kBlock, [&](Value pair) {
      Value inRun = b.rem(pair, half), start = b.mul(b.sub(pair, inRun), index(2)), first = b.add(start, inRun);
      Value second = mirrors ? b.sub(b.add(start, b.sub(run, index(1))), inRun) : b.add(first, half);
      b.ifTrue(b.isBelow(second, count), [&] { exchange(first, second); });
    });
    b.barrier();
  }
  // Steps of half the length each, down to `least`.
  void halving(Value count, Value from, int64_t least, Exchange exchange) {
    whileLoop(
        from, [&](Value step) { return b.isBelow(index(least - 1), step); },
        [&](Value step) {
          pairs(count, step, /*mirrors=*/false, exchange);
          return b.div(step, index(2));
        });
  }
  // Batcher's bitonic network. The first step of a stage mirrors one half, so that all pairs are in the same direction.
  void sort(Value count, Exchange exchange) {
    whileLoop(
        index(1), [&](Value half) { return b.isBelow(half, count); },
        [&](Value half) {
          pairs(count, half, /*mirrors=*/true, exchange);
          halving(count, b.div(half, index(2)), 1, exchange);
          return b.add(half, half);
        });
  }
  Value comesLater(Value key, Value place, Value otherKey, Value otherPlace) {
    return either(compare(arith::CmpIPredicate::ugt, key, otherKey),
                  both(equal(key, otherKey), compare(arith::CmpIPredicate::ugt, place, otherPlace)));
  }
  void exchangeShared(Value i, Value j) {
    Value key1 = b.load(keys, i), key2 = b.load(keys, j), place1 = b.load(places, i), place2 = b.load(places, j);
    b.ifTrue(comesLater(key1, place1, key2, place2), [&] {
      b.store(key2, keys, i);
      b.store(place2, places, i);
      b.store(key1, keys, j);
      b.store(place1, places, j);
    });
  }
  void exchangeResults(Value i, Value j) {
    Value x = b.load(op.getValues(), at(i)), y = b.load(op.getValues(), at(j));
    Value place1 = b.load(op.getPlaces(), at(i)), place2 = b.load(op.getPlaces(), at(j));
    b.ifTrue(comesLater(keyOf(x), place1, keyOf(y), place2), [&] {
      b.store(y, op.getValues(), at(i));
      b.store(place2, op.getPlaces(), at(i));
      b.store(x, op.getValues(), at(j));
      b.store(place1, op.getPlaces(), at(j));
    });
  }
  // `count` items from shared memory to the results from `from` on, with the elements themselves.
  void store(Value from, Value count) {
    b.loop(b.thread(), count, kBlock, [&](Value i) {
      Value place = b.load(places, i), to = b.add(from, i);
      b.store(b.load(op.getInput(), at(as(b.getIndexType(), place))), op.getValues(), at(to));
      b.store(place, op.getPlaces(), at(to));
    });
  }

  void inShared(Value smaller, Value last) {
    collect(smaller, last, [&](Value i, Value key, Value, Value place) {
      b.store(key, keys, i);
      b.store(as(b.getI64Type(), place), places, i);
    });
    b.barrier();
    sort(kept, [&](Value i, Value j) { exchangeShared(i, j); });
    store(index(0), kept);
  }

  // In the results themselves, but for what is near to each other: that is brought into shared memory for all of its steps.
  void inResults(Value smaller, Value last) {
    collect(smaller, last, [&](Value i, Value, Value x, Value place) {
      b.store(x, op.getValues(), at(i));
      b.store(as(b.getI64Type(), place), op.getPlaces(), at(i));
    });
    b.barrier();
    auto inRuns = [&](function_ref<void(Value)> body) {
      b.loop(index(0), kept, kSharedItems, [&](Value start) {
        Value count = b.min(index(kSharedItems), b.sub(kept, start));
        b.loop(b.thread(), count, kBlock, [&](Value i) {
          b.store(keyOf(b.load(op.getValues(), at(b.add(start, i)))), keys, i);
          b.store(b.load(op.getPlaces(), at(b.add(start, i))), places, i);
        });
        b.barrier();
        body(count);
        store(start, count);
        b.barrier();
      });
    };
    auto shared = [&](Value i, Value j) { exchangeShared(i, j); };
    auto results = [&](Value i, Value j) { exchangeResults(i, j); };
    inRuns([&](Value count) { sort(count, shared); });
    whileLoop(
        index(kSharedItems), [&](Value half) { return b.isBelow(half, kept); },
        [&](Value half) {
          pairs(kept, half, /*mirrors=*/true, results);
          halving(kept, b.div(half, index(2)), kSharedItems, results);
          inRuns([&](Value count) { halving(count, index(kSharedItems / 2), 1, shared); });
          return b.add(half, half);
        });
  }

  void emit() {
    // The same for all threads.
    b.ifTrue(b.isBelow(index(0), kept), [&] {
      auto [smaller, last] = findLast();
      keys = b.shared({kSharedItems}, type);
      places = b.shared({kSharedItems}, b.getI64Type());
      std::optional<int64_t> known = getConstantIntValue(kept);
      if (known && *known <= kSharedItems)
        return inShared(smaller, last);
      if (known)
        return inResults(smaller, last);
      auto choice = scf::IfOp::create(b, b.isBelow(index(kSharedItems), kept), /*withElse=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(choice.thenBlock());
      inResults(smaller, last);
      b.setInsertionPointToStart(choice.elseBlock());
      inShared(smaller, last);
    });
  }
};
} // namespace

void codegen::emitKernel(nn::TopKOp op, CudaKernelBuilder &b) {
  SmallVector<Value> sizes;
  for (int64_t dim = 0; dim < cast<MemRefType>(op.getInput().getType()).getRank(); ++dim)
    if (dim != static_cast<int64_t>(op.getDim()))
      sizes.push_back(b.size(op.getInput(), dim));
  TopK code(op, b);
  b.blockRows(sizes, [&](ArrayRef<Value> row) {
    code.row = SmallVector<Value>(row);
    code.emit();
  });
}
