// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops of quantized values that ONNX Runtime's quantizer writes, and products with weights of a few bits: the standard's ops
// between a DequantizeLinear and a QuantizeLinear.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Composer.h"
#include "passes/canonicalize/ops/ContribQuantized.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr StringLiteral kDomain = "com.microsoft";

LoweredValue cast(Composer &c, LoweredValue value, Type type) { return c.call("Cast", {value}, {c.attr("to", codeOf(type))}); }

// Inputs `index`, its scale and its zero point as numbers.
LoweredValue real(Composer &c, unsigned index) {
  return c.call("DequantizeLinear", {c.input(index), c.input(index + 1), c.input(index + 2)});
}
// As codes of `type`, by the scale and the zero point that begin at input `index`.
LoweredValue quantized(Composer &c, LoweredValue value, unsigned index, Type type) {
  Lowering &l = c.l;
  LoweredValue zero = l.hasInput(index + 1) ? l.input(index + 1) : c.number(type, 0);
  return c.call("QuantizeLinear", {value, l.input(index), zero});
}

template <bool Product> LogicalResult binary(Lowering &l) {
  Composer c(l);
  return c.define(0, quantized(c, c.call(Product ? "Mul" : "Add", {real(c, 0), real(c, 3)}), 6, l.input(0).elementType));
}

// Channels last to channels first, or back, where the node says that they are last.
LoweredValue channelsMoved(Composer &c, LoweredValue x, bool toFirst) {
  if (!c.l.intAttr("channels_last", 0) || !c.ok() || x.rank() < 3)
    return x;
  SmallVector<int64_t> permutation = {0};
  for (int64_t dim = 1; dim < x.rank(); ++dim)
    permutation.push_back(toFirst ? (dim == 1 ? x.rank() - 1 : dim - 1) : (dim == x.rank() - 1 ? 1 : dim + 1));
  return c.transpose(x, permutation);
}

LogicalResult sigmoid(Lowering &l) {
  Composer c(l);
  return c.define(0, quantized(c, c.call("Sigmoid", {real(c, 0)}), 3, l.input(0).elementType));
}
LogicalResult leakyRelu(Lowering &l) {
  Composer c(l);
  LoweredValue y = c.call("LeakyRelu", {real(c, 0)}, {c.attr("alpha", l.floatAttr("alpha", 0.01))});
  return c.define(0, quantized(c, y, 3, l.input(0).elementType));
}
LogicalResult averagePool(Lowering &l) {
  Composer c(l);
  LoweredValue y = c.call("AveragePool", {channelsMoved(c, real(c, 0), true)},
                          c.same({"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"}));
  return c.define(0, quantized(c, channelsMoved(c, y, false), 3, l.input(0).elementType));
}
LogicalResult globalAveragePool(Lowering &l) {
  Composer c(l);
  LoweredValue y = c.call("GlobalAveragePool", {channelsMoved(c, real(c, 0), true)});
  return c.define(0, quantized(c, channelsMoved(c, y, false), 3, l.input(0).elementType));
}
LogicalResult reduceMean(Lowering &l) {
  Composer c(l);
  SmallVector<int64_t> axes = l.intsAttr("axes").value_or(SmallVector<int64_t>());
  Extents all;
  for (int64_t axis : axes)
    all.push_back(l.constant(axis));
  Composer::Part along = axes.empty() ? Composer::Part() : Composer::Part(l.intsValue(l.b.getI64Type(), all));
  LoweredValue y = c.call("ReduceMean", {real(c, 0), along}, {c.attr("keepdims", l.intAttr("keepdims", 1))});
  return c.define(0, quantized(c, y, 3, l.input(0).elementType));
}
// Before opset 13 of the op that it was, the dims from the axis on are one row.
LogicalResult softmax(Lowering &l) {
  Composer c(l);
  LoweredValue x = real(c, 0), y;
  if (!c.ok())
    return failure();
  int64_t rank = x.rank();
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), rank);
  if (!axis)
    return failure();
  if (l.intAttr("opset", 13) >= 13 || *axis == rank - 1) {
    y = c.call("Softmax", {x}, {c.attr("axis", *axis)});
  } else {
    AffineExpr length = l.constant(1);
    for (AffineExpr extent : ArrayRef(x.shape).drop_front(*axis))
      length = length * extent;
    Extents rows(x.shape.begin(), x.shape.begin() + *axis);
    rows.push_back(length);
    y = c.reshape(c.call("Softmax", {c.reshape(x, rows)}), x.shape);
  }
  return c.define(0, quantized(c, y, 3, l.input(0).elementType));
}
LogicalResult where(Lowering &l) {
  Composer c(l);
  return c.define(0, quantized(c, c.call("Where", {l.input(0), real(c, 1), real(c, 4)}), 7, l.input(1).elementType));
}
LogicalResult concat(Lowering &l) {
  Composer c(l);
  std::vector<Composer::Part> parts;
  for (unsigned index = 2; index + 2 < l.numInputs(); index += 3)
    parts.push_back(real(c, index));
  if (parts.empty())
    return l.error() << "nothing to join";
  return c.define(0, quantized(c, c.call("Concat", parts, {c.attr("axis", l.intAttr("axis", 0))}), 0, l.input(1).elementType));
}

// --- products -----------------------------------------------------------------------------------------------------

// Sums in i32 times two scales, plus a bias.
LoweredValue scaled(Composer &c, LoweredValue sum, LoweredValue left, LoweredValue right, Composer::Part bias) {
  LoweredValue scale = c.call("Mul", {left, right});
  return c.sum(c.call("Mul", {cast(c, sum, left.elementType), scale}), bias);
}

LogicalResult dynamicQuantizeMatMul(Lowering &l) {
  Composer c(l);
  LoweredValues a = c.callAll("DynamicQuantizeLinear", {l.input(0)}, 3);
  LoweredValue sum = c.call("MatMulInteger", {a[0], l.input(1), a[2], c.input(3)});
  return c.define(0, scaled(c, sum, a[1], l.input(2), c.input(4)));
}
LogicalResult matMulIntegerToFloat(Lowering &l) {
  Composer c(l);
  LoweredValue sum = c.call("MatMulInteger", {l.input(0), l.input(1), c.input(4), c.input(5)});
  return c.define(0, scaled(c, sum, l.input(2), l.input(3), c.input(6)));
}

LogicalResult quantizedGemm(Lowering &l) {
  Composer c(l);
  auto turned = [&](unsigned index, StringRef name) {
    return l.intAttr(name, 0) ? c.transpose(l.input(index), {1, 0}) : l.input(index);
  };
  if (l.input(0).rank() != 2 || l.input(3).rank() != 2)
    return l.error() << "inputs of shapes " << l.print(l.input(0).shape) << " and " << l.print(l.input(3).shape) << " are no matrices";
  LoweredValue sum = c.sum(c.call("MatMulInteger", {turned(0, "transA"), turned(3, "transB"), c.input(2), c.input(5)}), c.input(6));
  LoweredValue alpha = c.number(l.b.getF32Type(), l.floatAttr("alpha", 1));
  LoweredValue y = scaled(c, sum, c.call("Mul", {l.input(1), alpha}), l.input(4), {});
  if (l.hasInput(7))
    y = quantized(c, y, 7, l.hasInput(8) ? l.input(8).elementType : l.input(0).elementType);
  return c.define(0, y);
}

LogicalResult quantizedConv(Lowering &l) {
  Composer c(l);
  std::vector<Composer::Part> inputs;
  for (unsigned i = 0; i < 9; ++i)
    inputs.push_back(c.input(i));
  inputs[0] = channelsMoved(c, l.input(0), true);
  LoweredValue y = c.call("QLinearConv", inputs, c.same({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}));
  return c.define(0, channelsMoved(c, y, false));
}

// --- weights of a few bits ----------------------------------------------------------------------------------------

// The number at a place of a row of codes that several of share a byte, the low bits first. `place`, an expression of the
// index, is not below 0.
LoweredValue unpacked(Composer &c, LoweredValue packed, int64_t bits, ArrayRef<AffineExpr> outside, AffineExpr place,
                      ArrayRef<AffineExpr> shape, ArrayRef<AffineExpr> behind = {}) {
  if (!c.ok())
    return {};
  Lowering &l = c.l;
  int64_t perByte = 8 / bits;
  SmallVector<AffineExpr> read(outside);
  read.push_back(place.floorDiv(perByte));
  llvm::append_range(read, behind);
  auto map = AffineMap::get(shape.size(), 0, read, l.b.getContext());
  Type byte = packed.elementType, i32 = l.b.getI32Type();
  Value result = l.generic({l.tensor(packed)}, {map}, shape, byte, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    if (bits == 8)
      return x[0];
    Value wide = convert(b, loc, x[0], byte, i32);
    Value by = l.scalarOf(b, loc, (place % perByte) * bits, i32);
    Value low = b.createOrFold<arith::ShRUIOp>(loc, wide, by);
    return convert(b, loc, b.createOrFold<arith::AndIOp>(loc, low, number(b, loc, i32, (1 << bits) - 1)), i32, byte);
  });
  return l.tensorValue(result, Extents(shape), byte);
}

LogicalResult matMulNBits(Lowering &l) {
  Composer c(l);
  LoweredValue a = l.input(0), weight = l.input(1), scales = l.input(2);
  int64_t bits = l.intAttr("bits", 4), rows = l.intAttr("K", 0), columns = l.intAttr("N", 0), block = l.intAttr("block_size", 0);
  if ((bits != 2 && bits != 4 && bits != 8) || rows <= 0 || columns <= 0 || block < 16 || !llvm::isPowerOf2_64(block))
    return l.error() << "a weight of K = " << rows << ", N = " << columns << " in blocks of " << block << " with " << bits
                     << " bits is not supported; 2, 4 and 8 bits are, in blocks of a power of two from 16 on";
  if (l.intAttr("weight_prepacked", 0))
    return l.error() << "a weight that is packed for a device (weight_prepacked) is not supported; quantize without it";
  if (weight.elementType != elementTypeOf(l.b.getContext(), 2))
    return l.error() << "a weight of " << nameOf(weight.elementType) << " is not supported, only uint8";
  if (l.hasInput(4) && (l.input(4).rank() != 1 || !l.isAtLeast(l.input(4).shape[0], rows)))
    return l.error() << "g_idx of shape " << l.print(l.input(4).shape) << " has no group for each of " << rows << " rows";
  int64_t blocks = llvm::divideCeil(rows, block), perByte = 8 / bits;
  AffineExpr k = l.constant(rows), n = l.constant(columns), count = l.constant(blocks);
  AffineExpr row = getAffineDimExpr(0, l.b.getContext()), column = getAffineDimExpr(1, l.b.getContext());
  // (k, n), as products read it.
  LoweredValue bytes = c.reshape(weight, {n, count, l.constant(block / perByte)});
  if (!c.ok())
    return failure();
  AffineExpr inBlock = row % block;
  LoweredValue codes = unpacked(c, bytes, bits, {column, row.floorDiv(block)}, inBlock, {k, n});
  // A number of each block beside the weight's elements; with g_idx the block of each row is data.
  std::optional<LoweredValue> blockOfRow;
  if (l.hasInput(4))
    blockOfRow = l.input(4);
  auto spread = [&](LoweredValue value) -> LoweredValue {
    value = c.reshape(value, {n, count});
    if (blockOfRow)
      return c.transpose(c.call("Gather", {value, c.part(*blockOfRow, 0, l.constant(0), k)}, {c.attr("axis", 1)}), {1, 0});
    if (!c.ok())
      return {};
    auto map = AffineMap::get(2, 0, {column, row.floorDiv(block)}, l.b.getContext());
    Value all = l.generic({l.tensor(value)}, {map}, {k, n}, value.elementType,
                          [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
    return l.tensorValue(all, {k, n}, value.elementType);
  };
  Type type = scales.elementType, f32 = l.b.getF32Type();
  LoweredValue scale = spread(scales), zero;
  if (!l.hasInput(3)) {
    zero = c.number(f32, static_cast<double>(1 << (bits - 1)));
  } else if (LoweredValue packed = l.input(3); packed.elementType == weight.elementType) {
    int64_t perRow = llvm::divideCeil(blocks * bits, 8);
    packed = c.reshape(packed, {n, l.constant(perRow)});
    AffineExpr d0 = row, d1 = column; // (n, block)
    zero = spread(unpacked(c, packed, bits, {d0}, d1, {n, count}));
  } else {
    zero = spread(packed);
  }
  if (!c.ok())
    return failure();
  LoweredValue real = c.elementwise({codes, scale, zero}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value offset = b.createOrFold<arith::SubFOp>(loc, convert(b, loc, x[0], codes.elementType, f32),
                                                 convert(b, loc, x[2], zero.elementType, f32));
    Value product = b.createOrFold<arith::MulFOp>(loc, offset, convert(b, loc, x[1], type, f32));
    return convert(b, loc, product, f32, type);
  });
  return c.define(0, c.sum(c.call("MatMul", {a, real}), c.input(5)));
}

// Rows of a table of codes, as numbers.
LogicalResult gatherBlockQuantized(Lowering &l) {
  Composer c(l);
  LoweredValue data = l.input(0), indices = l.input(1);
  int64_t block = l.intAttr("block_size", 128), bits = l.intAttr("bits", 4);
  bool isPacked = data.elementType == elementTypeOf(l.b.getContext(), 2);
  auto along = l.normalizeAxis(l.intAttr("gather_axis", 0), data.rank());
  auto axis = l.normalizeAxis(l.intAttr("quantize_axis", 1), data.rank());
  if (!along || !axis)
    return failure();
  int64_t perByte = isPacked ? 8 / std::max<int64_t>(bits, 1) : 1;
  if (l.input(2).rank() != data.rank() || (l.hasInput(3) && l.input(3).rank() != data.rank()))
    return l.error() << "scales of shape " << l.print(l.input(2).shape) << " or zero points do not fit a table of shape "
                     << l.print(data.shape);
  if (*along == *axis || block < 16 || (isPacked && (*along != 0 || (bits != 2 && bits != 4 && bits != 8))))
    return l.error() << "a table of " << nameOf(data.elementType) << " with " << bits << " bits, gathered along axis " << *along
                     << " and quantized in blocks of " << block << " along axis " << *axis
                     << " is not supported; blocks must lie along another axis than is gathered";
  auto gathered = [&](LoweredValue table) { return c.call("Gather", {table, indices}, {c.attr("axis", *along)}); };
  // The axis of blocks in what is gathered.
  int64_t place = *axis > *along ? *axis + indices.rank() - 1 : *axis;
  // Codes that share bytes of the last dim, or `count` of them.
  auto unpackLast = [&](LoweredValue bytes, std::optional<AffineExpr> count) {
    if (!c.ok())
      return bytes;
    Extents shape = bytes.shape;
    shape.back() = count ? *count : shape.back() * perByte;
    SmallVector<AffineExpr> outside;
    for (int64_t dim = 0; dim + 1 < bytes.rank(); ++dim)
      outside.push_back(getAffineDimExpr(dim, l.b.getContext()));
    return unpacked(c, bytes, bits, outside, getAffineDimExpr(bytes.rank() - 1, l.b.getContext()), shape);
  };
  LoweredValue codes = gathered(data), scale = gathered(l.input(2));
  if (!c.ok())
    return failure();
  if (isPacked && perByte > 1)
    codes = unpackLast(codes, std::nullopt);
  Composer::Part zero;
  if (l.hasInput(3)) {
    zero = gathered(l.input(3));
    if (isPacked && perByte > 1)
      zero = unpackLast(*zero, scale.shape.back());
  } else if (isPacked) {
    zero = l.splatValue(numberAttr(data.elementType, 1 << (bits - 1)), scale.shape, data.elementType);
  }
  return c.define(0, c.call("DequantizeLinear", {codes, scale, zero}, {c.attr("axis", place), c.attr("block_size", block)}));
}

// With weights as numbers: ONNX Runtime rounds inputs and states to 8 bits at each step, which is left out.
LogicalResult dynamicQuantizeLstm(Lowering &l) {
  Composer c(l);
  if (l.input(1).rank() != 3 || l.input(2).rank() != 3)
    return l.error() << "weights of shapes " << l.print(l.input(1).shape) << " and " << l.print(l.input(2).shape)
                     << " are not [directions, rows, gates]";
  auto weights = [&](unsigned index, unsigned scale) {
    LoweredValue codes = l.input(index);
    // A number of each direction, or of each of its gates.
    auto spread = [&](unsigned input) -> LoweredValue {
      LoweredValue value = l.input(input);
      Extents shape(3, l.constant(1));
      shape[0] = value.rank() ? value.shape[0] : l.constant(1);
      if (value.rank() == 2)
        shape[2] = value.shape[1];
      return c.reshape(value, shape);
    };
    Type f32 = l.b.getF32Type();
    LoweredValue centered = c.call("Sub", {cast(c, codes, f32), cast(c, spread(scale + 1), f32)});
    return c.transpose(c.call("Mul", {centered, spread(scale)}), {0, 2, 1});
  };
  std::vector<Composer::Part> inputs = {l.input(0), weights(1, 8), weights(2, 10)};
  for (unsigned i = 3; i < 8; ++i)
    inputs.push_back(c.input(i));
  LoweredValues all = c.callAll("LSTM", inputs, 3,
                                c.same({"activation_alpha", "activation_beta", "activations", "clip", "direction",
                                        "hidden_size", "input_forget"}));
  for (unsigned output : {2, 1})
    c.also(output, all[output]);
  return c.define(0, all[0]);
}
} // namespace

void snug::addContribQuantizedOps(LoweringTable &t) {
  constexpr TypeSet bytes = types::of(1, 2, 3), withInts = bytes | types::of(6);
  auto add = [&](StringRef op, LoweringFunction function, TypeSet types = bytes) { t.add(op, 1, function, types, kDomain); };
  add("QLinearAdd", binary<false>);
  add("QLinearMul", binary<true>);
  add("QLinearSigmoid", sigmoid);
  add("QLinearLeakyRelu", leakyRelu);
  add("QLinearAveragePool", averagePool);
  add("QLinearGlobalAveragePool", globalAveragePool);
  add("QLinearReduceMean", reduceMean);
  add("QLinearSoftmax", softmax);
  add("QLinearConcat", concat);
  add("QLinearWhere", where, bytes | types::Bool);
  add("QLinearConv", quantizedConv, withInts);
  add("QGemm", quantizedGemm, withInts);
  add("DynamicQuantizeMatMul", dynamicQuantizeMatMul);
  add("MatMulIntegerToFloat", matMulIntegerToFloat, bytes | types::of(10));
  add("MatMulNBits", matMulNBits, types::of(1, 2, 6, 10, 16));
  add("GatherBlockQuantized", gatherBlockQuantized, types::of(1, 2, 6, 7, 10, 16, 21, 22));
  add("DynamicQuantizeLSTM", dynamicQuantizeLstm, withInts);
  // The standard's, of which files had narrower types before it did.
  for (StringRef op : {"QuantizeLinear", "DequantizeLinear"})
    if (const LoweringTable::Entry *entry = t.find("", op, 10))
      add(op, entry->function, entry->types);
}
