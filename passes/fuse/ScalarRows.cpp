// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scans and sorts as scalar code, a point a row.
#include "mlir/IR/TypeUtilities.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/fuse/SpellOutRows.h"

using namespace mlir;
using namespace snug;

namespace {
// A kernel in place of `op`, over all dims but `dim` of its operands, of which the first one is its input.
void kernelOverRows(Operation *op, int64_t dim, ArrayRef<int64_t> overwrites, ArrayRef<Type> elementTypes,
                                  function_ref<void(ScalarCode &, ValueRange)> body) {
  OpBuilder b(op);
  unsigned parallel = cast<ShapedType>(op->getOperand(0).getType()).getRank() - 1, along = parallel;
  SmallVector<AffineMap> maps;
  for (unsigned operand = 0; operand < op->getNumOperands(); ++operand) {
    SmallVector<AffineExpr> exprs;
    for (unsigned other = 0; other < parallel; ++other)
      exprs.push_back(b.getAffineDimExpr(other));
    exprs.insert(exprs.begin() + dim, b.getAffineDimExpr(along++));
    maps.push_back(AffineMap::get(parallel + op->getNumOperands(), 0, exprs, b.getContext()));
  }
  auto kernel = nn::ScalarKernelOp::create(b, op->getLoc(), op->getResultTypes(), op->getOperands().take_front(1), op->getOperands().drop_front(1),
                                           b.getAffineMapArrayAttr(maps), b.getDenseI64ArrayAttr(overwrites));
  Block &block = kernel.getBody().emplaceBlock();
  block.addArguments(SmallVector<Type>(parallel, b.getIndexType()), SmallVector<Location>(parallel, op->getLoc()));
  b.setInsertionPointToEnd(&block);
  ScalarCode code{b, op->getLoc(), elementTypes};
  body(code, block.getArguments());
  nn::YieldOp::create(b, op->getLoc(), ValueRange());
  op->replaceAllUsesWith(kernel);
  op->erase();
}

SmallVector<Value> placeAt(ValueRange beside, int64_t axis, Value along) {
  SmallVector<Value> place(beside);
  place.insert(place.begin() + axis, along);
  return place;
}

// An element and its place. NaN is taken for the largest number, as NumPy and PyTorch do; of equal elements the first
// one comes first.
struct Item {
  Value value, place;
};
Value isBefore(ScalarCode &c, Item x, Item y, bool largest) {
  auto isNumber = [&](Value v) { return c.equal(v, v); };
  Value before = largest ? c.less(y.value, x.value) : c.less(x.value, y.value), same = c.equal(x.value, y.value);
  if (isa<FloatType>(x.value.getType())) {
    Value xIsNumber = isNumber(x.value), yIsNumber = isNumber(y.value);
    before = c.either(before, largest ? c.both(c.negate(xIsNumber), yIsNumber) : c.both(xIsNumber, c.negate(yIsNumber)));
    same = c.either(same, c.negate(c.either(xIsNumber, yIsNumber)));
  }
  return c.either(before, c.both(same, c.less(x.place, y.place)));
}
} // namespace

void snug::spellOut(nn::ScanOp op) {
  int64_t dim = op.getDim();
  bool isProduct = op.getKind() == nn::ScanKind::Product, exclusive = op.getExclusive(), reverse = op.getReverse();
  Type type = getElementTypeOrSelf(op.getInput()), computed = type;
  if (auto real = dyn_cast<FloatType>(type))
    computed = computeType(real);
  kernelOverRows(op, dim, SmallVector<int64_t>{0}, {type, type}, [&](ScalarCode &c, ValueRange i) {
    Value extent = c.extent(0, dim), last = c.sub(extent, c.index(1));
    c.loop(c.index(0), extent, c.number(computed, isProduct), [&](Value step, ValueRange total) -> ScalarCode::Values {
      SmallVector<Value> place = placeAt(i, dim, reverse ? c.sub(last, step) : step);
      Value element = c.load(0, place);
      Value next = isProduct ? c.mul(total[0], element) : c.add(total[0], element);
      c.store(exclusive ? total[0] : next, 1, place);
      return {next};
    });
  });
}

// A heap of the best so far, the worst of them on top, is kept in the results themselves, and then taken apart from the top.
void snug::spellOut(nn::TopKOp op) {
  int64_t dim = op.getDim();
  bool largest = op.getLargest();
  Type type = getElementTypeOrSelf(op.getInput());
  if (op.getIsUnsigned() && !type.isInteger(1))
    type = IntegerType::get(op.getContext(), type.getIntOrFloatBitWidth(), IntegerType::Unsigned);
  unsigned from = 0, values = 1, places = 2;
  kernelOverRows(op, dim, {}, {type, type, IntegerType::get(op.getContext(), 64)}, [&](ScalarCode &c, ValueRange i) {
    Type i64 = c.b.getI64Type();
    auto at = [&](Value j) { return placeAt(i, dim, j); };
    auto input = [&](Value j) { return Item{c.load(from, at(j)), c.convert(j, i64)}; };
    auto get = [&](Value j) { return Item{c.load(values, at(j)), c.load(places, at(j))}; };
    auto set = [&](Value j, Item item) {
      c.store(item.value, values, at(j));
      c.store(item.place, places, at(j));
    };
    Value zero = c.index(0), one = c.index(1), two = c.index(2), none = c.index(-1);
    // Puts an item into the heap's first `size` places, from `start` on down.
    auto sift = [&](Value start, Value size, Item item) {
      auto childToRise = [&](Value hole) {
        Value last = c.sub(size, one), left = c.add(c.mul(hole, two), one), right = c.add(left, one);
        Value leftIn = c.min(left, last), rightIn = c.min(right, last);
        Value child = c.select(isBefore(c, get(leftIn), get(rightIn), largest), rightIn, leftIn);
        Value rises = c.both(c.less(left, size), isBefore(c, item, get(child), largest));
        return c.select(rises, child, none);
      };
      ScalarCode::Values end = c.whileLoop(
          {start, childToRise(start)}, [&](ValueRange s) { return c.lessEqual(zero, s[1]); },
          [&](ValueRange s) -> ScalarCode::Values {
            set(s[0], get(s[1]));
            return {s[1], childToRise(s[1])};
          });
      set(end[0], item);
    };
    Value kept = c.extent(values, dim);
    c.loop(kept, [&](Value j) { set(j, input(j)); });
    Value half = c.div(kept, two);
    c.loop(half, [&](Value j) {
      Value start = c.sub(c.sub(half, one), j);
      sift(start, kept, get(start));
    });
    c.ifThen(c.less(zero, kept), [&] {
      c.loop(kept, c.extent(from, dim), [&](Value j) {
        Item item = input(j);
        c.ifThen(isBefore(c, item, get(zero), largest), [&] { sift(zero, kept, item); });
      });
    });
    c.loop(one, kept, [&](Value j) {
      Value end = c.sub(kept, j); // the places from here on are in order
      Item last = get(end);
      set(end, get(zero));
      sift(zero, end, last);
    });
  });
}
