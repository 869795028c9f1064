// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Convolutions over any number of spatial dims. Those whose windows do not overlap (patch embeddings, 1 x 1)
// are contractions over a view of the input and a packed weight; others are loops over a padded copy.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/Window.h"
#include "passes/canonicalize/ops/Convolution.h"

using namespace mlir;
using namespace snug;

namespace {

class Convolution {
public:
  Convolution(Lowering &l, LoweredValue x, LoweredValue weight, const LoweredValue *bias)
      : l(l), x(std::move(x)), weight(std::move(weight)) {
    if (bias)
      this->bias = *bias;
  }
  FailureOr<LoweredValue> run();
  FailureOr<LoweredValue> runTransposed();

private:
  // Results with channels last, and where they belong.
  FailureOr<LoweredValue> patches();
  FailureOr<LoweredValue> pointwise();
  FailureOr<LoweredValue> windows();
  FailureOr<LoweredValue> loops(LoweredValue &padded);
  FailureOr<LoweredValue> blocks();
  FailureOr<LoweredValue> spread(ArrayRef<int64_t> outputPads);
  FailureOr<LoweredValue> addBias(FailureOr<LoweredValue> result, int64_t channelDim);
  AffineExpr d(unsigned dim) { return getAffineDimExpr(dim, l.b.getContext()); }

  Lowering &l;
  LoweredValue x, weight;
  LogicalResult readWeight(unsigned inputDim);
  bool touches() const;
  LoweredValue reversed(LoweredValue &value, unsigned dim);
  std::optional<LoweredValue> bias;
  int64_t groups = 1;
  AffineExpr channels, filters, channelsPerGroup, filtersPerGroup; // of the input and of the result
  unsigned rank = 0; // spatial dims
  bool transposed = false;
  Window window;
};

FailureOr<LoweredValue> Convolution::addBias(FailureOr<LoweredValue> result, int64_t channelDim) {
  if (failed(result) || !bias)
    return result;
  Extents shape(result->rank() - channelDim, l.constant(1));
  shape[0] = filters;
  auto spread = l.reshape(*bias, shape);
  if (failed(spread))
    return failure();
  return l.elementwise({&*result, &*spread}, result->elementType, [](OpBuilder &b, Location loc, ValueRange a) -> Value {
    if (isa<IntegerType>(a[0].getType()))
      return b.createOrFold<arith::AddIOp>(loc, a[0], a[1]);
    return b.createOrFold<arith::AddFOp>(loc, a[0], a[1]);
  });
}

// (n, c, o.., k..) to rows of windows, times the weight as a matrix; the transpose at the end mostly meets another.
FailureOr<LoweredValue> Convolution::patches() {
  Extents expanded = {x.shape[0], x.shape[1]}, offsets(rank + 2, l.constant(0)), sizes = expanded, rows = {x.shape[0]};
  SmallVector<int64_t> permutation = {0}, back = {0, rank + 1};
  AffineExpr length = channels;
  for (unsigned i = 0; i < rank; ++i) {
    sizes.push_back(window.out[i] * window.kernel[i]);
    expanded.append({window.out[i], window.kernel[i]});
    rows.push_back(window.out[i]);
    permutation.push_back(2 + 2 * i);
    back.push_back(1 + i);
    length = length * window.kernel[i];
  }
  permutation.push_back(1);
  for (unsigned i = 0; i < rank; ++i)
    permutation.push_back(3 + 2 * i);
  rows.push_back(length);
  // A last window that does not fit is not read.
  LoweredValue whole = l.slice(x, offsets, sizes, SmallVector<int64_t>(rank + 2, 1));
  auto split = l.reshape(whole, expanded);
  auto moved = succeeded(split) ? l.transpose(*split, permutation) : split;
  auto left = succeeded(moved) ? l.reshape(*moved, rows) : moved;
  auto matrix = l.reshape(weight, {filters, length});
  auto right = succeeded(matrix) ? l.transpose(*matrix, {1, 0}) : matrix;
  if (failed(left) || failed(right))
    return failure();
  auto result = addBias(l.matmul(*left, *right), rank + 1);
  return succeeded(result) ? l.transpose(*result, back) : result;
}

// A contraction over the channels; no data moves.
FailureOr<LoweredValue> Convolution::pointwise() {
  Extents offsets(rank + 2, l.constant(0)), sizes = {x.shape[0], x.shape[1]};
  SmallVector<int64_t> steps = {1, 1};
  llvm::append_range(sizes, window.out);
  llvm::append_range(steps, window.strides);
  LoweredValue left = l.slice(x, offsets, sizes, steps);
  auto matrix = l.reshape(weight, {filters, channels});
  auto right = succeeded(matrix) ? l.transpose(*matrix, {1, 0}) : matrix;
  if (failed(right))
    return failure();
  // Loops: n, m, o.., c.
  unsigned c = rank + 2;
  SmallVector<AffineExpr> in = {d(0), d(c)}, out = {d(0), d(1)};
  for (unsigned i = 0; i < rank; ++i) {
    in.push_back(d(2 + i));
    out.push_back(d(2 + i));
  }
  auto map = [&](ArrayRef<AffineExpr> exprs) { return AffineMap::get(rank + 3, 0, exprs, l.b.getContext()); };
  Extents shape = {x.shape[0], filters};
  llvm::append_range(shape, window.out);
  return addBias(l.contract(left, *right, {map(in), map({d(c), d(1)}), map(out)}, shape), 1);
}

// Loops n, g, m, o.. without the last, c, k.., last o: inside, one row of the result takes a multiple of a shifted row
// of the input, which vectorises.
FailureOr<LoweredValue> Convolution::windows() {
  Extents before(rank + 2, l.constant(0)), after = before;
  for (unsigned i = 0; i < rank; ++i) {
    before[2 + i] = window.before[i];
    after[2 + i] = window.after[i];
  }
  auto padded = l.pad(x, before, after, numberAttr(x.elementType, 0));
  if (failed(padded))
    return failure();
  return loops(*padded);
}

LoweredValue Convolution::reversed(LoweredValue &value, unsigned dim) {
  LoweredValue index;
  index.elementType = l.b.getI64Type();
  index.shape = {value.shape[dim]};
  index.closed = {value.shape[dim] - 1 - d(0)};
  Value init = l.empty(value.shape, value.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(value), l.tensor(index), Value(), init,
                                 l.b.getI64IntegerAttr(dim));
  return l.tensorValue(op->getResult(0), value.shape);
}

FailureOr<LoweredValue> Convolution::loops(LoweredValue &padded) {
  bool isGrouped = groups > 1; // else there is no dim g, so that what follows can be computed with the result
  auto grouped = [&](LoweredValue &value, unsigned dim, AffineExpr inner) -> FailureOr<LoweredValue> {
    if (!isGrouped)
      return value;
    Extents shape = value.shape;
    shape[dim] = inner;
    shape.insert(shape.begin() + dim, l.constant(groups));
    return l.reshape(value, shape);
  };
  // Where a kernel's extent is not fixed, its weight is turned around instead.
  for (unsigned i = 0; i < rank; ++i)
    if (transposed && !isa<AffineConstantExpr>(window.kernel[i]))
      weight = reversed(weight, 2 + i);
  auto input = grouped(padded, 1, channelsPerGroup),
       kernel = grouped(weight, 0, transposed ? channelsPerGroup : filtersPerGroup);
  if (failed(input) || failed(kernel))
    return failure();
  unsigned n = 0, g = 1, m = isGrouped ? 2 : 1, firstOut = m + 1, c = m + rank, firstKernel = c + 1,
           lastOut = firstKernel + rank, numLoops = lastOut + 1;
  SmallVector<utils::IteratorType> iterators(numLoops, utils::IteratorType::parallel);
  SmallVector<AffineExpr> in = {d(n)}, filter, out = {d(n)};
  if (isGrouped)
    for (auto *exprs : {&in, &filter, &out})
      exprs->push_back(d(g));
  in.push_back(d(c));
  filter.append({transposed ? d(c) : d(m), transposed ? d(m) : d(c)});
  out.push_back(d(m));
  iterators[c] = utils::IteratorType::reduction;
  for (unsigned i = 0; i < rank; ++i) {
    AffineExpr o = d(i + 1 == rank ? lastOut : firstOut + i), k = d(firstKernel + i);
    iterators[firstKernel + i] = utils::IteratorType::reduction;
    // A transposed convolution goes through its windows the other way round; its strides are in the input by now.
    auto size = dyn_cast<AffineConstantExpr>(window.kernel[i]);
    AffineExpr tap = transposed && size ? size.getValue() - 1 - k : k;
    in.push_back(o * (transposed ? 1 : window.strides[i]) + tap * window.dilations[i]);
    filter.push_back(k);
    out.push_back(o);
  }
  Extents shape = {x.shape[0]};
  if (isGrouped)
    shape.push_back(l.constant(groups));
  shape.push_back(filtersPerGroup);
  llvm::append_range(shape, window.out);
  OpBuilder &b = l.b;
  auto map = [&](ArrayRef<AffineExpr> exprs) { return AffineMap::get(numLoops, 0, exprs, b.getContext()); };
  Value zero = arith::ConstantOp::create(b, l.loc(), b.getZeroAttr(x.elementType));
  Value init = linalg::FillOp::create(b, l.loc(), zero, l.empty(shape, x.elementType)).getResult(0);
  auto op = linalg::GenericOp::create(
      b, l.loc(), init.getType(), ValueRange{l.tensor(*input), l.tensor(*kernel)}, init,
      ArrayRef<AffineMap>{map(in), map(filter), map(out)}, iterators, [&](OpBuilder &body, Location loc, ValueRange a) {
        if (isa<IntegerType>(a[0].getType())) {
          Value product = arith::MulIOp::create(body, loc, a[0], a[1]);
          linalg::YieldOp::create(body, loc, arith::AddIOp::create(body, loc, product, a[2]).getResult());
          return;
        }
        auto reassociate = arith::FastMathFlagsAttr::get(body.getContext(), arith::FastMathFlags::reassoc);
        Value product = arith::MulFOp::create(body, loc, a[0], a[1]);
        linalg::YieldOp::create(body, loc, arith::AddFOp::create(body, loc, product, a[2], reassociate).getResult());
      });
  LoweredValue result = l.tensorValue(op.getResult(0), shape);
  if (!isGrouped)
    return addBias(result, 1);
  Extents flat = {x.shape[0], filters};
  llvm::append_range(flat, window.out);
  return addBias(l.reshape(result, flat), 1);
}

// The weight is (filters, channels of a group, k..), or transposed (channels, filters of a group, k..).
LogicalResult Convolution::readWeight(unsigned inputDim) {
  groups = l.intAttr("group", 1);
  auto stated = l.intsAttr("kernel_shape");
  bool fits = x.rank() >= 3 && weight.rank() == x.rank() && groups >= 1 &&
              (!stated || static_cast<int64_t>(stated->size()) == x.rank() - 2);
  for (int64_t i = 0; fits && stated && i < x.rank() - 2; ++i)
    fits = l.same(weight.shape[2 + i], (*stated)[i]);
  if (fits) {
    AffineExpr inGroup = weight.shape[1];
    auto perGroup = l.quotient(weight.shape[0], l.constant(groups));
    fits = perGroup && l.same(x.shape[1], inputDim == 0 ? weight.shape[0] : inGroup * groups);
    if (fits && inputDim == 0) {
      channels = weight.shape[0];
      channelsPerGroup = *perGroup;
      filtersPerGroup = inGroup;
      filters = inGroup * groups;
    } else if (fits) {
      filters = weight.shape[0];
      filtersPerGroup = *perGroup;
      channelsPerGroup = inGroup;
      channels = inGroup * groups;
    }
  }
  if (!fits) {
    InFlightDiagnostic error = l.error();
    error << "a weight of shape " << l.print(weight.shape) << " in " << groups << " groups";
    if (stated)
      error << " and kernel_shape [" << *stated << "]";
    error << " does not fit an input of shape " << l.print(x.shape);
    return failure();
  }
  rank = x.rank() - 2;
  return success();
}

FailureOr<LoweredValue> Convolution::run() {
  if (failed(readWeight(1)))
    return failure();
  auto found = windowOf(l, ArrayRef(x.shape).drop_front(2), ArrayRef(weight.shape).drop_front(2));
  if (!found)
    return failure();
  window = *found;
  auto isZero = [&](AffineExpr e) { return e == l.constant(0); };
  bool plain = groups == 1 && llvm::all_of(window.before, isZero) && llvm::all_of(window.after, isZero);
  bool ones = llvm::all_of(window.kernel, [&](AffineExpr k) { return k == l.constant(1); });
  bool dense = llvm::all_of(window.dilations, [](int64_t dilation) { return dilation == 1; });
  if (plain && ones)
    return pointwise();
  return plain && dense && touches() ? patches() : windows();
}

// Whether windows lie side by side.
bool Convolution::touches() const {
  return llvm::all_of(llvm::zip_equal(window.kernel, window.strides),
                      [&](auto pair) { return std::get<0>(pair) == l.constant(std::get<1>(pair)); });
}

// A transposed convolution whose windows do not overlap: a matrix product makes the blocks of the result.
FailureOr<LoweredValue> Convolution::blocks() {
  SmallVector<int64_t> permutation = {0, rank + 1};
  Extents shape = {x.shape[0]}, split = {x.shape[0]}, whole = {x.shape[0], filters};
  AffineExpr length = filters;
  unsigned c = rank + 2;
  SmallVector<AffineExpr> in = {d(0), d(c)}, out = {d(0)};
  for (unsigned i = 0; i < rank; ++i) {
    in.push_back(d(1 + i));
    out.push_back(d(1 + i));
    shape.push_back(x.shape[2 + i]);
    whole.push_back(x.shape[2 + i] * window.kernel[i]);
    permutation.append({1 + i, rank + 2 + i});
    length = length * window.kernel[i];
  }
  out.push_back(d(rank + 1));
  split.append(shape.begin() + 1, shape.end());
  split.push_back(filters);
  llvm::append_range(split, window.kernel);
  shape.push_back(length);
  auto right = l.reshape(weight, {channels, length});
  if (failed(right))
    return failure();
  auto map = [&](ArrayRef<AffineExpr> exprs) { return AffineMap::get(rank + 3, 0, exprs, l.b.getContext()); };
  auto product = l.contract(x, *right, {map(in), map({d(c), d(rank + 1)}), map(out)}, shape);
  auto parts = succeeded(product) ? addBias(l.reshape(*product, split), rank + 1) : product;
  auto moved = succeeded(parts) ? l.transpose(*parts, permutation) : parts;
  return succeeded(moved) ? l.reshape(*moved, whole) : moved;
}

// Any other one: a convolution of stride 1 over the input with zeros between its elements and around them. Pads take them
// away again, and those larger than the kernel elements of the result.
FailureOr<LoweredValue> Convolution::spread(ArrayRef<int64_t> outputPads) {
  AffineExpr batch = x.shape[0], zero = l.constant(0);
  Extents shape = {batch, x.shape[1]}, cutOffsets(rank + 2, zero), cutSizes = {batch, filters};
  SmallVector<OpFoldResult> offsets(rank + 2, l.b.getIndexAttr(0)), strides(2, l.b.getIndexAttr(1)), sizes;
  for (AffineExpr extent : x.shape)
    sizes.push_back(l.fold(extent));
  window.out.clear();
  for (unsigned i = 0; i < rank; ++i) {
    AffineExpr reach = (window.kernel[i] - 1) * window.dilations[i];
    AffineExpr between = (x.shape[2 + i] - 1) * window.strides[i] + 1;
    auto around = [&](AffineExpr pad) { return l.extremum(reach - pad, zero, /*larger=*/true); };
    auto cut = [&](AffineExpr pad) { return l.extremum(pad - reach, zero, /*larger=*/true); };
    AffineExpr last = window.after[i] - outputPads[i], size = between + reach - window.before[i] - last;
    auto before = around(window.before[i]), after = around(last), cutBefore = cut(window.before[i]);
    if (!before || !after || !cutBefore || !l.requireAtLeast(size, zero))
      return l.error() << "pads leave spatial dim " << i << " an extent of " << l.dims.print(size) << ", which may be below 0";
    offsets[2 + i] = l.fold(*before);
    strides.push_back(l.b.getIndexAttr(window.strides[i]));
    shape.push_back(between + *before + *after);
    window.out.push_back(shape.back() - reach);
    cutOffsets[2 + i] = *cutBefore;
    cutSizes.push_back(normalExtent(size));
  }
  Value nothing = arith::ConstantOp::create(l.b, l.loc(), l.b.getZeroAttr(x.elementType));
  Value filled = linalg::FillOp::create(l.b, l.loc(), nothing, l.empty(shape, x.elementType)).getResult(0);
  LoweredValue padded = l.tensorValue(
      tensor::InsertSliceOp::create(l.b, l.loc(), l.tensor(x), filled, offsets, sizes, strides), shape);
  auto result = loops(padded);
  if (failed(result) || llvm::equal(result->shape, cutSizes, areEqualExtents))
    return result;
  return l.slice(*result, cutOffsets, cutSizes, SmallVector<int64_t>(rank + 2, 1));
}

FailureOr<LoweredValue> Convolution::runTransposed() {
  transposed = true;
  if (failed(readWeight(0)))
    return failure();
  if (!isa<FloatType>(x.elementType) || x.elementType != weight.elementType) {
    l.error() << "only floating-point inputs of one type are supported";
    return failure();
  }
  SmallVector<int64_t> outputPads = l.intsAttr("output_padding").value_or(SmallVector<int64_t>(rank, 0));
  window.kernel.assign(weight.shape.begin() + 2, weight.shape.end());
  window.strides = l.intsAttr("strides").value_or(SmallVector<int64_t>(rank, 1));
  window.dilations = l.intsAttr("dilations").value_or(SmallVector<int64_t>(rank, 1));
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>(2 * rank, 0));
  StringRef automatic = l.stringAttr("auto_pad", "NOTSET");
  auto stated = l.intsAttr("output_shape"); // of the spatial dims; files have those of all, too
  if (stated && stated->size() == rank + 2)
    stated->erase(stated->begin(), stated->begin() + 2);
  bool isSame = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  if (window.strides.size() != rank || window.dilations.size() != rank || pads.size() != 2 * rank ||
      outputPads.size() != rank || (stated && stated->size() != rank) ||
      (!isSame && automatic != "NOTSET" && automatic != "VALID")) {
    l.error() << "auto_pad " << automatic << " is none that the standard knows, or strides, dilations, pads or output_shape do "
              << "not fit " << rank << " spatial dims";
    return failure();
  }
  bool plain = groups == 1;
  for (unsigned i = 0; i < rank; ++i) {
    AffineExpr before = l.constant(pads[i]), after = l.constant(pads[rank + i]);
    if (stated || isSame) {
      // As much as is left over, split in two; what lacks is added at the end.
      AffineExpr reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
      AffineExpr whole = (x.shape[2 + i] - 1) * window.strides[i] + outputPads[i] + reach;
      AffineExpr total = whole - (stated ? l.constant((*stated)[i]) : x.shape[2 + i] * window.strides[i]);
      auto cut = l.extremum(total, l.constant(0), /*larger=*/true);
      if (!cut)
        return l.error() << "the pads of spatial dim " << i << ", " << l.dims.print(total) << " in all, may be negative or not";
      AffineExpr smaller = (*cut).floorDiv(2);
      before = automatic == "SAME_UPPER" ? smaller : *cut - smaller;
      after = total - before;
    } else if (automatic == "VALID") {
      before = after = l.constant(0);
    }
    window.before.push_back(before);
    window.after.push_back(after);
    plain &= before == l.constant(0) && after == l.constant(0) && outputPads[i] == 0 && window.dilations[i] == 1 &&
             window.kernel[i] == l.constant(window.strides[i]);
  }
  return plain ? blocks() : spread(outputPads);
}

Convolution ofInputs(Lowering &l) {
  return Convolution(l, l.input(0), l.input(1), l.hasInput(2) ? &l.input(2) : nullptr);
}

LogicalResult convolutionTransposed(Lowering &l) { return finish(l, ofInputs(l).runTransposed()); }
LogicalResult convolution(Lowering &l) { return finish(l, ofInputs(l).run()); }
} // namespace

FailureOr<LoweredValue> snug::convolve(Lowering &l, LoweredValue x, LoweredValue weight, const LoweredValue *bias) {
  return Convolution(l, std::move(x), std::move(weight), bias).run();
}

void snug::addConvolutionOps(LoweringTable &t) {
  t.add("Conv", 1, convolution);
  t.add("ConvTranspose", 1, convolutionTransposed);
}
