// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is made of windows, planes and matrices beside pools and convolutions: Col2Im, CenterCropPad, LRN, Det, and
// normalizations by a power or by moments over some dims.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Strings.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// Sums of the columns that blocks of an image were spread into. A point is an element of the image, which looks for the
// blocks that it is in.
LogicalResult col2Im(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto image = l.ints(l.input(1)), given = l.ints(l.input(2));
  auto block = l.constantInts(l.input(2));
  if (!image || !given || !block || image->empty() || image->size() != block->size())
    return l.error() << "an image_shape or block_shape that is computed from data is not supported; give it with --value";
  if (!areExtents(l, *image))
    return failure();
  unsigned rank = image->size();
  SmallVector<int64_t> strides = l.intsAttr("strides").value_or(SmallVector<int64_t>(rank, 1));
  SmallVector<int64_t> dilations = l.intsAttr("dilations").value_or(SmallVector<int64_t>(rank, 1));
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>(2 * rank, 0));
  int64_t taps = 1;
  AffineExpr blocks = l.constant(1);
  Extents counts;
  bool fits = x.rank() == 3 && strides.size() == rank && dilations.size() == rank && pads.size() == 2 * rank;
  for (unsigned i = 0; fits && i < rank; ++i) {
    fits = strides[i] > 0 && dilations[i] > 0 && (*block)[i] > 0;
    if (!fits)
      break;
    taps *= (*block)[i];
    AffineExpr room = (*image)[i] + (pads[i] + pads[rank + i]) - (dilations[i] * ((*block)[i] - 1) + 1);
    counts.push_back(room.floorDiv(strides[i]) + 1);
    blocks = blocks * counts.back();
  }
  auto channels = fits ? l.quotient(x.shape[1], l.constant(taps)) : std::nullopt;
  if (!channels || !l.same(x.shape[2], blocks))
    return l.error() << "an input of shape " << l.print(x.shape) << " is not what blocks of the image spread into";
  Extents split = {x.shape[0], *channels, l.constant(taps)}, shape = {x.shape[0], *channels};
  llvm::append_range(split, counts);
  llvm::append_range(shape, *image);
  auto spread = l.reshape(x, split);
  if (failed(spread))
    return failure();
  SmallVector<int> dims = {0, 1, any};
  dims.append(rank, any);
  ScalarKernel kernel(l, rank + 2);
  unsigned from = kernel.read(*spread, dims), to = kernel.write(shape, x.elementType, dimsInOrder(rank + 2));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    std::function<Value(unsigned, Value, SmallVector<Value>, Value, Value)> nest =
        [&](unsigned dim, Value tap, SmallVector<Value> at, Value isInside, Value total) -> Value {
      if (dim < rank)
        return c.sum(c.index(0), c.index((*block)[dim]), total, [&](Value k, Value sum) {
          // place = block * stride - pad + tap * dilation
          Value shifted = c.sub(c.add(c.place(2 + dim), c.index(pads[dim])), c.mul(k, c.index(dilations[dim])));
          Value stride = c.index(strides[dim]), which = c.div(shifted, stride), extent = c.extent(from, 3 + dim);
          Value hits = c.both(c.equal(c.mul(which, stride), shifted), c.isInside(which, extent));
          hits = c.both(hits, c.lessEqual(c.index(0), shifted));
          SmallVector<Value> next = at;
          next.push_back(c.clamp(which, extent));
          Value number = tap ? c.add(c.mul(tap, c.index((*block)[dim])), k) : k;
          return nest(dim + 1, number, next, isInside ? c.both(isInside, hits) : hits, sum);
        });
      SmallVector<Value> read = {i[0], i[1], tap};
      llvm::append_range(read, at);
      Value element = c.load(from, read);
      return c.add(total, c.select(isInside, element, c.number(element.getType(), 0)));
    };
    c.store(nest(0, Value(), {}, Value(), c.number(kernel.computedType(to), 0)), to, i);
  })[0]);
  return success();
}

// The same where whether a dim is cut or padded is known at run time only.
LogicalResult cropOrPad(Lowering &l, ArrayRef<int64_t> axes, ArrayRef<AffineExpr> wanted) {
  LoweredValue value = l.input(0);
  unsigned rank = value.rank();
  Extents shape = value.shape;
  SmallVector<int64_t> chosen;
  for (auto [axis, extent] : llvm::zip(axes, wanted)) {
    auto dim = l.normalizeAxis(axis, rank);
    if (!dim)
      return failure();
    shape[*dim] = extent;
    chosen.push_back(*dim);
  }
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(value, dimsInOrder(rank, chosen)), to = kernel.write(shape, value.elementType, dimsInOrder(rank));
  SmallVector<Value> sizes;
  for (int64_t dim : chosen)
    sizes.push_back(l.materialize(shape[dim]));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    SmallVector<Value> place(i);
    Value isInside = c.constant(c.b.getBoolAttr(true)), two = c.index(2);
    for (auto [dim, size] : llvm::zip(chosen, sizes)) {
      Value extent = c.extent(from, dim), lack = c.sub(size, extent);
      Value before = c.div(c.max(lack, c.index(0)), two), cut = c.div(c.max(c.sub(extent, size), c.index(0)), two);
      Value at = c.add(c.sub(c.place(dim), before), cut);
      isInside = c.both(isInside, c.isInside(at, extent));
      place[dim] = c.clamp(at, extent);
    }
    c.store(c.ifElse(isInside, [&]() -> ScalarCode::Values { return {c.load(from, place)}; },
                     [&]() -> ScalarCode::Values { return {c.number(kernel.computedType(from), 0)}; })[0], to, i);
  })[0]);
  return success();
}

// The middle of each dim, or zeros around it.
LogicalResult centerCropPad(Lowering &l) {
  LoweredValue value = l.input(0);
  auto wanted = l.ints(l.input(1));
  SmallVector<int64_t> axes = l.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(0, value.rank())));
  if (!wanted || wanted->size() != axes.size())
    return l.error() << "a shape that is computed from data, or not one number for each axis, is not supported; give it "
                        "with --value";
  if (!areExtents(l, *wanted))
    return failure();
  Extents offsets(value.rank(), l.constant(0)), sizes = value.shape, before = offsets, after = offsets;
  for (auto [axis, extent] : llvm::zip(axes, *wanted)) {
    auto dim = l.normalizeAxis(axis, value.rank());
    if (!dim)
      return failure();
    AffineExpr given = value.shape[*dim];
    auto smaller = l.extremum(given, extent, /*larger=*/false);
    if (!smaller)
      return cropOrPad(l, axes, *wanted);
    offsets[*dim] = (given - *smaller).floorDiv(2);
    sizes[*dim] = *smaller;
    before[*dim] = (extent - *smaller).floorDiv(2);
    after[*dim] = (extent - *smaller + 1).floorDiv(2);
  }
  LoweredValue cut = l.slice(value, offsets, sizes, SmallVector<int64_t>(value.rank(), 1));
  return finish(l, l.pad(cut, before, after, cast<TypedAttr>(l.b.getZeroAttr(value.elementType))));
}

// x / (bias + alpha / size * sum of squares of neighbouring channels) ^ beta
LogicalResult localResponse(Lowering &l) {
  LoweredValue &x = l.input(0);
  int64_t size = l.intAttr("size", 0);
  if (x.rank() < 2 || size < 1 || !isa<FloatType>(x.elementType))
    return l.error() << "a size of " << size << " for an input of shape " << l.print(x.shape) << " is not supported";
  double alpha = l.floatAttr("alpha", 1e-4), beta = l.floatAttr("beta", 0.75), bias = l.floatAttr("bias", 1);
  unsigned rank = x.rank();
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(x, dimsInOrder(rank, {1})), to = kernel.write(x.shape, x.elementType, dimsInOrder(rank));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type real = kernel.computedType(from);
    Value own = c.place(1), first = c.max(c.sub(own, c.index((size - 1) / 2)), c.index(0));
    Value end = c.min(c.add(own, c.index(size / 2 + 1)), c.extent(from, 1));
    auto at = [&](Value channel) {
      SmallVector<Value> place(i);
      place[1] = channel;
      return c.load(from, place);
    };
    Value squares = c.sum(first, end, c.number(real, 0), [&](Value channel, Value sum) {
      Value element = at(channel);
      return c.add(sum, c.mul(element, element));
    });
    Value base = c.add(c.number(real, bias), c.mul(c.number(real, alpha / static_cast<double>(size)), squares));
    c.store(c.div(at(own), math::PowFOp::create(c.b, c.loc, base, c.number(real, beta))), to, i);
  })[0]);
  return success();
}

// By elimination with pivots, in a copy.
LogicalResult determinant(Lowering &l) {
  LoweredValue &x = l.input(0);
  unsigned rank = x.rank();
  if (rank < 2 || !isa<FloatType>(x.elementType) || !l.same(x.shape[rank - 1], x.shape[rank - 2]))
    return l.error() << "an input of shape " << l.print(x.shape) << " is no square matrix of floats";
  unsigned batch = rank - 2;
  Extents shape(x.shape.begin(), x.shape.end() - 2);
  SmallVector<int> dims = dimsInOrder(batch);
  dims.append(2, any);
  Type real = computeType(cast<FloatType>(x.elementType));
  ScalarKernel kernel(l, batch);
  unsigned from = kernel.read(x, dims), to = kernel.write(shape, x.elementType, dimsInOrder(batch));
  unsigned copy = kernel.write(x.shape, real, dims);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    auto at = [&](Value row, Value column) {
      SmallVector<Value> place(i);
      place.append({row, column});
      return place;
    };
    auto get = [&](Value row, Value column) { return c.load(copy, at(row, column)); };
    Value n = c.extent(from, batch), one = c.index(1), zero = c.index(0);
    c.loops({n, n}, [&](ValueRange p) { c.store(c.load(from, at(p[0], p[1])), copy, at(p[0], p[1])); });
    Value product = c.sum(zero, n, c.number(real, 1), [&](Value k, Value total) {
      auto size = [&](Value row) -> Value { return math::AbsFOp::create(c.b, c.loc, get(row, k)); };
      Value pivot = c.sum(c.add(k, one), n, k, [&](Value row, Value best) {
        return c.select(c.less(size(best), size(row)), row, best);
      });
      Value swaps = c.negate(c.equal(pivot, k)), head = get(pivot, k);
      c.ifThen(swaps, [&] {
        c.loop(k, n, [&](Value column) {
          Value upper = get(k, column), lower = get(pivot, column);
          c.store(lower, copy, at(k, column));
          c.store(upper, copy, at(pivot, column));
        });
      });
      c.ifThen(c.negate(c.equal(head, c.number(real, 0))), [&] {
        c.loop(c.add(k, one), n, [&](Value row) {
          Value factor = c.div(get(row, k), head);
          c.loop(k, n, [&](Value column) {
            c.store(c.sub(get(row, column), c.mul(factor, get(k, column))), copy, at(row, column));
          });
        });
      });
      Value next = c.mul(total, head);
      return c.select(swaps, c.sub(c.number(real, 0), next), next);
    });
    c.store(product, to, i);
  })[0]);
  return success();
}

// x / (sum |x|^p)^(1/p) along an axis; rows of zeros stay so.
LogicalResult powerNorm(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), x.rank());
  int64_t p = l.intAttr("p", 2);
  if (!axis)
    return failure();
  if ((p != 1 && p != 2) || !isa<FloatType>(x.elementType))
    return l.error() << "p = " << p << " of elements of type " << x.elementType << " is none that the standard knows";
  Type type = x.elementType;
  auto powers = l.elementwise({&x}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    return p == 2 ? b.createOrFold<arith::MulFOp>(loc, a[0], a[0]) : b.createOrFold<math::AbsFOp>(loc, a[0]);
  });
  if (failed(powers))
    return failure();
  SmallVector<bool> reduced(x.rank(), false);
  reduced[*axis] = true;
  Extents kept = x.shape;
  kept[*axis] = l.constant(1);
  LoweredValue sum = l.reduce(Reduction::Sum, *powers, reduced);
  auto spread = l.reshape(sum, kept);
  if (failed(spread))
    return failure();
  return finish(l, l.elementwise({&x, &*spread}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    Value norm = p == 2 ? b.createOrFold<math::SqrtOp>(loc, a[1]) : a[1];
    Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(type, 0));
    Value empty = b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, norm, zero);
    return b.createOrFold<arith::SelectOp>(loc, empty, zero, b.createOrFold<arith::DivFOp>(loc, a[0], norm));
  }));
}

// The runtime decodes. Where the file does not say how large the image is, the run does, within bounds of the command's.
LogicalResult imageDecoder(Lowering &l) {
  LoweredValue &stream = l.input(0);
  StringRef name = l.stringAttr("pixel_format", "RGB");
  auto format = llvm::StringSwitch<int64_t>(name)
                    .Case("RGB", nn::PixelsRGB)
                    .Case("BGR", nn::PixelsBGR)
                    .Case("Grayscale", nn::PixelsGrayscale)
                    .Default(-1);
  if (format < 0 || stream.rank() != 1)
    return l.error() << "pixel_format '" << name << "' of an input of shape " << l.print(stream.shape)
                     << " is none that the standard knows";
  int64_t channels = format == nn::PixelsGrayscale ? 1 : 3;
  auto said = dyn_cast<RankedTensorType>(l.node()->getResult(0).getType());
  auto extent = [&](int64_t dim) { return said && !said.isDynamicDim(dim) ? said.getDimSize(dim) : ShapedType::kDynamic; };
  if (said && (said.getRank() != 3 || (!said.isDynamicDim(2) && said.getDimSize(2) != channels)))
    return l.error() << "the model states a shape that is not [HEIGHT, WIDTH, " << channels << "]";
  Extents shape = {l.constant(extent(0)), l.constant(extent(1)), l.constant(channels)};
  if (ShapedType::isDynamic(extent(0)) || ShapedType::isDynamic(extent(1))) {
    auto bounds = l.module->getAttrOfType<DenseI64ArrayAttr>("snug.image_size");
    if (!bounds || bounds.size() != 2)
      return l.error() << "the image's height and width are data; bound them with --image-size HEIGHTxWIDTH, or state them in the "
                       << "model, as the shape [HEIGHT, WIDTH, " << channels << "] of the node's output";
    int64_t most[2] = {extent(0), extent(1)};
    for (int dim : {0, 1})
      most[dim] = ShapedType::isDynamic(most[dim]) ? bounds[dim] : most[dim];
    ScalarKernel looking(l, 0);
    unsigned from = looking.read(stream, {any});
    unsigned sizes[2];
    for (unsigned &size : sizes)
      size = looking.write({l.constant(1)}, l.b.getI64Type(), {any});
    auto found = looking.build([&](ScalarCode &c, ValueRange) {
      Value bytes = nn::TextBytesOp::create(c.b, c.loc, c.b.getIntegerType(128), from);
      Value height = c.constant(c.b.getI64IntegerAttr(most[0])), width = c.constant(c.b.getI64IntegerAttr(most[1]));
      for (auto [size, value] : llvm::zip(sizes, textOp(c, nn::TextKind::ImageSize, {bytes, height, width})))
        c.store(value, size, {c.index(0)});
    });
    for (int dim : {0, 1}) // an image of another size than the file states is refused when it is decoded
      if (ShapedType::isDynamic(extent(dim)))
        shape[dim] = l.dataExtent(found[dim], l.constant(most[dim]));
  }
  ScalarKernel kernel(l, 0);
  unsigned from = kernel.read(stream, {any}), to = kernel.write(shape, stream.elementType, {any, any, any});
  unsigned done = kernel.write({l.constant(1)}, l.b.getI64Type(), {any});
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange) {
    Type i64 = c.b.getI64Type();
    auto bytes = [&](unsigned operand) -> Value {
      return nn::TextBytesOp::create(c.b, c.loc, c.b.getIntegerType(128), operand);
    };
    Value height = c.convert(c.extent(to, 0), i64), width = c.convert(c.extent(to, 1), i64);
    Value pixels = c.constant(c.b.getI64IntegerAttr(format));
    c.store(textOp(c, nn::TextKind::DecodeImage, {bytes(from), bytes(to), pixels, height, width})[0], done, {c.index(0)});
  })[0]);
  return success();
}
} // namespace

void snug::addImageOps(LoweringTable &t) {
  t.add("ImageDecoder", 20, imageDecoder);
  t.add("Col2Im", 18, col2Im);
  t.add("CenterCropPad", 18, centerCropPad);
  t.add("LRN", 1, localResponse);
  t.add("Det", 11, determinant);
  t.add("LpNormalization", 1, powerNorm);
}
