// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Activations, matrix products and convolutions that ONNX Runtime's optimizer joins with what stands beside them.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Composer.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr StringLiteral kDomain = "com.microsoft";

// --- activations --------------------------------------------------------------------------------------------------

LoweredValue gelu(Composer &c, LoweredValue x, bool fast = false) {
  return c.call("Gelu", {x}, {c.attr("approximate", StringRef(fast ? "tanh" : "none"))});
}

template <bool Fast> LogicalResult geluOp(Lowering &l) {
  Composer c(l);
  return c.define(0, gelu(c, c.sum(l.input(0), c.input(1)), Fast));
}
LogicalResult quickGelu(Lowering &l) {
  Composer c(l);
  return c.define(0, c.call("Swish", {l.input(0)}, {c.attr("alpha", l.floatAttr("alpha", 1.702))}));
}
// The left half of the columns times gelu of the right one.
LogicalResult biasSplitGelu(Lowering &l) {
  Composer c(l);
  LoweredValue x = c.sum(l.input(0), c.input(1));
  if (!c.ok())
    return failure();
  auto half = x.rank() ? l.quotient(x.shape.back(), l.constant(2)) : std::nullopt;
  if (!half)
    return l.error() << "an input of shape " << l.print(x.shape) << " has no two halves of columns"
                     << (x.rank() ? l.stepHint(x.shape.back(), 2) : "");
  int64_t last = x.rank() - 1;
  LoweredValue left = c.part(x, last, l.constant(0), *half), right = c.part(x, last, *half, *half);
  return c.define(0, c.call("Mul", {left, gelu(c, right)}));
}
LogicalResult biasAdd(Lowering &l) {
  Composer c(l);
  return c.define(0, c.sum(c.sum(l.input(0), c.input(1)), c.input(2)));
}

// The op that attribute `activation` names, of numbers in the order of its attributes; none: x.
LoweredValue activated(Composer &c, LoweredValue x, ArrayRef<double> numbers) {
  Lowering &l = c.l;
  StringRef name = l.stringAttr("activation", "");
  if (name.empty() || !c.ok())
    return x;
  auto given = [&](size_t index, double fallback) { return index < numbers.size() ? numbers[index] : fallback; };
  if (llvm::is_contained({"Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "HardSwish", "Gelu"}, name))
    return c.call(name, {x});
  if (llvm::is_contained({"LeakyRelu", "Elu", "ThresholdedRelu", "Celu"}, name))
    return c.call(name, {x}, {c.attr("alpha", given(0, name == "LeakyRelu" ? 0.01 : 1))});
  if (name == "HardSigmoid")
    return c.call(name, {x}, {c.attr("alpha", given(0, 0.2)), c.attr("beta", given(1, 0.5))});
  if (name == "Clip")
    return c.call(name, {x, c.number(x.elementType, given(0, -INFINITY)), c.number(x.elementType, given(1, INFINITY))});
  l.error() << "activation '" << name << "' is not supported; run ONNX Runtime's optimizer without this fusion";
  (void)c.fail();
  return x;
}

SmallVector<double> activationNumbers(Lowering &l) {
  SmallVector<double> numbers;
  if (auto params = dyn_cast_or_null<DenseF32ArrayAttr>(l.attr("activation_params")))
    llvm::append_range(numbers, params.asArrayRef());
  for (StringRef name : {"activation_alpha", "activation_beta", "activation_gamma"})
    if (l.attr(name) && numbers.size() < 3)
      numbers.push_back(l.floatAttr(name, 0));
  return numbers;
}

// --- matrix products ----------------------------------------------------------------------------------------------

// An operand with its first dim moved behind the batch, and its last two turned around, where attributes say so.
LoweredValue turned(Composer &c, LoweredValue value, bool batch, bool matrix) {
  int64_t rank = value.rank();
  if (rank < 2 || (!batch && !matrix))
    return value;
  SmallVector<int64_t> permutation;
  for (int64_t dim = 0; dim < rank; ++dim)
    permutation.push_back(batch && dim < rank - 1 ? (dim + 1) % (rank - 1) : dim);
  if (matrix)
    std::swap(permutation[rank - 1], permutation[rank - 2]);
  return c.transpose(value, permutation);
}

LogicalResult fusedMatMul(Lowering &l) {
  Composer c(l);
  LoweredValue a = turned(c, l.input(0), l.intAttr("transBatchA", 0), l.intAttr("transA", 0));
  LoweredValue b = turned(c, l.input(1), l.intAttr("transBatchB", 0), l.intAttr("transB", 0));
  LoweredValue y = c.call("MatMul", {a, b});
  if (double alpha = l.floatAttr("alpha", 1); alpha != 1 && c.ok())
    y = c.call("Mul", {y, c.number(y.elementType, alpha)});
  return c.define(0, activated(c, y, activationNumbers(l)));
}

LogicalResult fusedGemm(Lowering &l) {
  Composer c(l);
  LoweredValue y = c.call("Gemm", {l.input(0), l.input(1), c.input(2)}, c.same({"alpha", "beta", "transA", "transB"}));
  return c.define(0, activated(c, y, activationNumbers(l)));
}

LogicalResult gemmFastGelu(Lowering &l) {
  Composer c(l);
  return c.define(0, gelu(c, c.sum(c.call("MatMul", {l.input(0), l.input(1)}), c.input(2)), /*fast=*/true));
}

// --- convolutions -------------------------------------------------------------------------------------------------

LoweredValue convolved(Composer &c, LoweredValue x, LoweredValue weight) {
  return c.call("Conv", {x, weight, c.input(2)}, c.same({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}));
}
LogicalResult fusedConv(Lowering &l) {
  Composer c(l);
  LoweredValue y = c.sum(convolved(c, l.input(0), l.input(1)), c.input(3));
  return c.define(0, activated(c, y, activationNumbers(l)));
}
// Channels last in the input, the result and the filters.
LogicalResult nhwcConv(Lowering &l) {
  Composer c(l);
  int64_t rank = l.input(0).rank();
  if (rank < 3 || l.input(1).rank() != rank)
    return l.error() << "inputs of shapes " << l.print(l.input(0).shape) << " and " << l.print(l.input(1).shape)
                     << " are no image and filters with channels last";
  SmallVector<int64_t> toFirst = {0, rank - 1}, toLast = {0};
  for (int64_t dim = 1; dim < rank - 1; ++dim) {
    toFirst.push_back(dim);
    toLast.push_back(dim + 1);
  }
  toLast.push_back(1);
  LoweredValue y = convolved(c, c.transpose(l.input(0), toFirst), c.transpose(l.input(1), toFirst));
  return c.define(0, activated(c, c.transpose(y, toLast), activationNumbers(l)));
}

// --- positions ----------------------------------------------------------------------------------------------------

LogicalResult rotaryEmbedding(Lowering &l) {
  Composer c(l);
  LoweredValue x = l.input(0), places = l.input(1), cosine = l.input(2), sine = l.input(3);
  int64_t heads = l.intAttr("num_heads", 0), rotated = l.intAttr("rotary_embedding_dim", 0);
  if (l.intAttr("is_packed_batching", 0) || l.floatAttr("scale", 1) != 1)
    return l.error() << "is_packed_batching and a scale other than 1 are not supported; export without them";
  if ((x.rank() != 3 && x.rank() != 4) || cosine.rank() != 2)
    return l.error() << "inputs of shapes " << l.print(x.shape) << " and " << l.print(cosine.shape) << " are not supported";
  // Without a number of heads the tables tell their size.
  if (x.rank() == 3 && !heads) {
    auto count = l.quotient(x.shape[2], cosine.shape[1] * 2);
    auto number = count ? dyn_cast<AffineConstantExpr>(*count) : AffineConstantExpr();
    if (!number)
      return l.error() << "heads of " << l.dims.print(cosine.shape[1] * 2) << " elements do not fill "
                       << l.dims.print(x.shape[2]) << "; state num_heads";
    heads = number.getValue();
  }
  // One number is the place of the first row.
  if (places.rank() < 2) {
    AffineExpr length = x.shape[x.rank() == 3 ? 1 : 2];
    LoweredValue first = c.reshape(places, {l.constant(1), l.constant(1)});
    places = c.call("Add", {first, c.positions({l.constant(1), length}, 1)});
  }
  return c.define(0, c.call("RotaryEmbedding", {x, cosine, sine, places},
                            {c.attr("interleaved", l.intAttr("interleaved", 0)), c.attr("num_heads", heads),
                             c.attr("rotary_embedding_dim", rotated)}));
}
} // namespace

void snug::addContribFusedOps(LoweringTable &t) {
  auto add = [&](StringRef op, LoweringFunction function, TypeSet types = types::Floats) { t.add(op, 1, function, types, kDomain); };
  add("Gelu", geluOp<false>);
  add("BiasGelu", geluOp<false>);
  add("FastGelu", geluOp<true>);
  add("QuickGelu", quickGelu);
  add("BiasSplitGelu", biasSplitGelu);
  add("BiasAdd", biasAdd);
  add("FusedMatMul", fusedMatMul);
  add("TransposeMatMul", fusedMatMul);
  add("FusedMatMulActivation", fusedMatMul);
  add("FusedGemm", fusedGemm);
  add("GemmFastGelu", gemmFastGelu);
  add("FusedConv", fusedConv);
  add("NhwcConv", nhwcConv);
  add("NhwcFusedConv", nhwcConv);
  add("RotaryEmbedding", rotaryEmbedding, types::Floats | types::of(7));
  // What the standard took over under the same name.
  for (StringRef op : {"Trilu", "GatherND", "Range"})
    if (const LoweringTable::Entry *entry = t.find("", op, 14))
      add(op, entry->function, entry->types);
}
