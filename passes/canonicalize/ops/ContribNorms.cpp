// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Normalizations that ONNX Runtime's optimizer makes of several ops.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Composer.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr StringLiteral kDomain = "com.microsoft";
constexpr double kEpsilon = 1e-12; // of those with a residual or embeddings

// 1 / sqrt(mean(x * x) + epsilon) over the dims from `axis` on, each 1 then.
LoweredValue inverseRootMeanSquare(Composer &c, LoweredValue x, int64_t axis, double epsilon) {
  Lowering &l = c.l;
  Type f32 = l.b.getF32Type();
  LoweredValue wide = c.call("Cast", {x}, {c.attr("to", 1)}), square = c.call("Mul", {wide, wide});
  Extents axes;
  for (int64_t dim = axis; dim < x.rank(); ++dim)
    axes.push_back(l.constant(dim));
  LoweredValue mean = c.call("ReduceMean", {square, l.intsValue(l.b.getI64Type(), axes)});
  return c.call("Reciprocal", {c.call("Sqrt", {c.call("Add", {mean, c.number(f32, epsilon)})})});
}

LogicalResult simplifiedLayerNorm(Lowering &l) {
  Composer c(l);
  LoweredValue x = l.input(0), scale = l.input(1);
  double epsilon = l.floatAttr("epsilon", 1e-5);
  auto axis = l.normalizeAxis(l.intAttr("axis", -1), x.rank());
  if (!axis)
    return failure();
  // The result is of the scale's type.
  if (x.elementType != scale.elementType)
    x = c.call("Cast", {x}, {c.attr("to", codeOf(scale.elementType))});
  if (c.wants(1))
    c.also(1, inverseRootMeanSquare(c, l.input(0), *axis, epsilon));
  return c.define(0, c.call("RMSNormalization", {x, scale}, {c.attr("axis", *axis), c.attr("epsilon", epsilon)}));
}

// input + skip (+ bias), and its norm.
template <bool Rms> LogicalResult skipNorm(Lowering &l) {
  Composer c(l);
  LoweredValue sum = c.sum(c.call("Add", {l.input(0), l.input(1)}), c.input(Rms ? 3 : 4));
  double epsilon = l.floatAttr("epsilon", kEpsilon);
  c.also(3, sum);
  if (!Rms && (c.wants(1) || c.wants(2))) {
    LoweredValues all = c.callAll("LayerNormalization", {sum, l.input(2), c.input(3)}, 3, {c.attr("epsilon", epsilon)});
    c.also(1, all[1]);
    c.also(2, all[2]);
    return c.define(0, all[0]);
  }
  if (c.wants(1))
    return l.error() << "the mean, output 1, is not supported: this norm has none";
  if (c.wants(2) && c.ok())
    c.also(2, inverseRootMeanSquare(c, sum, sum.rank() - 1, epsilon));
  if (Rms)
    return c.define(0, c.call("RMSNormalization", {sum, l.input(2)}, {c.attr("epsilon", epsilon)}));
  return c.define(0, c.call("LayerNormalization", {sum, l.input(2), c.input(3)}, {c.attr("epsilon", epsilon)}));
}

// --- embeddings ---------------------------------------------------------------------------------------------------

// Inputs of the norm of embeddings, by their numbers; `scales` and `zeros` (five of each, in the order of the tables and
// gamma and beta) only where they are quantized.
struct Embedding {
  Composer &c;
  int scales = -1, zeros = -1;
  std::optional<unsigned> positionIds;

  // Input `index`, the n-th of those that may be quantized.
  LoweredValue real(LoweredValue value, unsigned n) {
    if (scales < 0)
      return value;
    return c.call("DequantizeLinear", {value, c.input(scales + n), c.input(zeros + n)});
  }
  LoweredValue rows(unsigned table, unsigned n, LoweredValue indices) {
    return real(c.call("Gather", {c.l.input(table), indices}), n);
  }

  LogicalResult run() {
    Lowering &l = c.l;
    LoweredValue ids = l.input(0), sum = rows(2, 0, ids), places;
    if (ids.rank() != 2)
      return l.error() << "input_ids of shape " << l.print(ids.shape) << " is not [batch, sequence]";
    if (positionIds && l.hasInput(*positionIds))
      places = l.input(*positionIds);
    else
      places = c.positions({ids.shape[1]}, 0);
    sum = c.call("Add", {sum, rows(3, 1, places)});
    if (l.hasInput(1))
      sum = c.call("Add", {sum, rows(4, 2, l.input(1))});
    LoweredValue scale = real(l.input(5), 3), shift = real(l.input(6), 4);
    LoweredValue y = c.call("LayerNormalization", {sum, scale, shift}, {c.attr("epsilon", l.floatAttr("epsilon", kEpsilon))});
    // How many words there are.
    LoweredValue count = l.splatValue(numberAttr(ids.elementType, 0), {ids.shape[0]}, ids.elementType);
    if (l.hasInput(7) && c.wants(1)) {
      LoweredValue one = c.number(ids.elementType, 1), isWord = c.call("Equal", {l.input(7), one});
      LoweredValue ones = c.call("Cast", {isWord}, {c.attr("to", codeOf(ids.elementType))});
      count = c.call("ReduceSum", {ones, l.intsValue(l.b.getI64Type(), {l.constant(1)})}, {c.attr("keepdims", 0)});
    }
    c.also(1, count);
    if (scales < 0)
      c.also(2, sum);
    return c.define(0, y);
  }
};

LogicalResult embedNorm(Lowering &l) {
  Composer c(l);
  return Embedding{c, -1, -1, 8}.run();
}
LogicalResult quantizedEmbedNorm(Lowering &l) {
  Composer c(l);
  return Embedding{c, 8, 13, std::nullopt}.run();
}

// --- groups -------------------------------------------------------------------------------------------------------

// Channels last to channels first, or back.
LoweredValue movedChannels(Composer &c, LoweredValue x, bool toFirst) {
  SmallVector<int64_t> permutation = {0};
  for (int64_t dim = 1; dim < x.rank(); ++dim)
    permutation.push_back(toFirst ? (dim == 1 ? x.rank() - 1 : dim - 1) : (dim == x.rank() - 1 ? 1 : dim + 1));
  return c.transpose(x, permutation);
}

LogicalResult groupNormOf(Composer &c, LoweredValue x) {
  Lowering &l = c.l;
  bool isLast = l.intAttr("channels_last", 1);
  int64_t activation = l.intAttr("activation", 0);
  if (activation != 0 && activation != 1)
    return l.error() << "activation " << activation << " is not supported, only 0 (none) and 1 (SiLU)";
  if (x.rank() < 3)
    return l.error() << "an input of shape " << l.print(x.shape) << " has no channels and places";
  auto ofChannels = [&](unsigned index) {
    LoweredValue value = l.input(index);
    return value.elementType == x.elementType ? value : c.call("Cast", {value}, {c.attr("to", codeOf(x.elementType))});
  };
  LoweredValue y = isLast && c.ok() ? movedChannels(c, x, true) : x;
  y = c.call("GroupNormalization", {y, ofChannels(1), ofChannels(2)},
             {c.attr("epsilon", l.floatAttr("epsilon", 1e-5)), c.attr("num_groups", l.intAttr("groups", -1))});
  if (activation == 1)
    y = c.call("Swish", {y});
  return c.define(0, isLast && c.ok() ? movedChannels(c, y, false) : y);
}

LogicalResult groupNorm(Lowering &l) {
  Composer c(l);
  return groupNormOf(c, l.input(0));
}

// x + skip (+ bias) normalized, and the sum itself.
LogicalResult skipGroupNorm(Lowering &l) {
  Composer c(l);
  LoweredValue x = l.input(0), skip = l.input(3);
  bool isLast = l.intAttr("channels_last", 1);
  bool hasBias = l.hasInput(4);
  if (x.rank() < 3 || (skip.rank() != 2 && skip.rank() != x.rank()) || (hasBias && l.input(4).rank() != 1))
    return l.error() << "inputs of shapes " << l.print(x.shape) << " and " << l.print(skip.shape)
                     << " or a bias that is no vector are not supported";
  auto spread = [&](LoweredValue value) { // [batch, channels] or [channels] beside the spatial dims
    Extents shape(x.rank(), l.constant(1));
    if (value.rank() == 2)
      shape[0] = value.shape[0];
    shape[isLast ? x.rank() - 1 : 1] = value.shape.back();
    return c.reshape(value, shape);
  };
  LoweredValue sum = c.call("Add", {x, skip.rank() == 2 ? spread(skip) : skip});
  if (hasBias)
    sum = c.call("Add", {sum, spread(l.input(4))});
  c.also(1, sum);
  return c.ok() ? groupNormOf(c, sum) : failure();
}
} // namespace

void snug::addContribNorms(LoweringTable &t) {
  t.add("SimplifiedLayerNormalization", 1, simplifiedLayerNorm, types::Floats); // ONNX Runtime writes it without a domain
  t.add("SimplifiedLayerNormalization", 1, simplifiedLayerNorm, types::Floats, kDomain);
  t.add("SkipLayerNormalization", 1, skipNorm<false>, types::Floats, kDomain);
  t.add("SkipSimplifiedLayerNormalization", 1, skipNorm<true>, types::Floats, kDomain);
  constexpr TypeSet int32 = types::of(6);
  t.add("EmbedLayerNormalization", 1, embedNorm, types::Floats | int32, kDomain);
  t.add("QEmbedLayerNormalization", 1, quantizedEmbedNorm, types::of(1, 2, 3) | int32, kDomain);
  t.add("GroupNorm", 1, groupNorm, types::of(1, 10, 16), kDomain);
  t.add("SkipGroupNorm", 1, skipGroupNorm, types::of(1, 10, 16), kDomain);
}
