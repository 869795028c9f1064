// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Softmax and norms that a model spells out in elementwise ops and reductions along the last dim. An elementwise op
// that is a function of one element x, of sums over x's row, and of vectors along the row is compared with the formulas
// of the row kernels at sample points. The candidates for x are what the reductions read, however far back.
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "passes/fuse/Patterns.h"
#include "passes/fuse/ScalarExpression.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
// Far enough apart that different formulas differ; in the range in which exp is tame.
constexpr double kSamples[][6] = {{0.7, 1.9, 3.1, 1.3, -0.4, 0.9},
                                  {-1.2, 0.6, 5.7, 0.8, 1.1, -0.3},
                                  {2.3, -2.5, 0.9, -1.7, 0.2, 1.6},
                                  {-0.3, -4.1, 11.0, 2.1, -0.9, -2.2}};

bool agree(double a, double b) { return std::abs(a - b) <= 1e-6 * (std::abs(a) + std::abs(b)) + 1e-12; }

// A reduction along the last dim of x, of f(x, other reductions).
struct RowReduction {
  unsigned leaf; // in the root's expression
  bool isMax;
  ScalarExpression element;
};

class RowMatcher {
public:
  RowMatcher(linalg::GenericOp root, Value x) : root(root), x(x) {}
  // Replaces the root if it is softmax or a norm of x.
  bool matchSoftmax();
  bool matchNorm(nn::NormKind kind);

private:
  bool prepare();
  std::optional<RowReduction> reductionOf(unsigned leaf, const Leaf &source);
  std::optional<double> factor(const RowReduction &r, function_ref<double(ArrayRef<double>)> formula,
                               std::optional<unsigned> other = {}, double otherFactor = 1);
  Value vectorOf(unsigned leaf, OpBuilder &b);
  // Whether it is x at the element that the root makes. Along an extent of 1, 0 is as good as the loop.
  bool isX(const Leaf &leaf) const {
    if (leaf.value != x)
      return false;
    for (auto [position, expr] : llvm::enumerate(leaf.map.getResults())) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      if (dim ? dim.getPosition() != position : cast<ShapedType>(x.getType()).getDimSize(position) != 1)
        return false;
    }
    return true;
  }
  AffineMap identity() { return AffineMap::getMultiDimIdentityMap(root.getNumLoops(), root.getContext()); }

  linalg::GenericOp root;
  Value x;
  std::optional<ScalarExpression> expression;
  unsigned xLeaf = 0;
  SmallVector<RowReduction> reductions;
  SmallVector<unsigned> vectors;
};

bool isSame(const Leaf &a, const Leaf &b) {
  if (a.value != b.value)
    return false;
  for (auto [position, exprs] : llvm::enumerate(llvm::zip(a.map.getResults(), b.map.getResults())))
    if (std::get<0>(exprs) != std::get<1>(exprs) && cast<ShapedType>(a.value.getType()).getDimSize(position) != 1)
      return false;
  return true;
}

// The value that a reduction starts from.
std::optional<double> initialValue(Value init) {
  Leaf source = throughUnitReshapes(
      {init, AffineMap::getMultiDimIdentityMap(cast<ShapedType>(init.getType()).getRank(), init.getContext())});
  auto fill = source.value.getDefiningOp<linalg::FillOp>();
  FloatAttr value;
  if (!fill || !matchPattern(fill.getInputs()[0], m_Constant(&value)))
    return std::nullopt;
  return value.getValueAsDouble();
}

std::optional<RowReduction> RowMatcher::reductionOf(unsigned leaf, const Leaf &source) {
  auto op = source.value.getDefiningOp<linalg::GenericOp>();
  if (!op || op.getNumReductionLoops() != 1 || op.getNumResults() != 1 || !op.hasPureTensorSemantics() ||
      op.hasIndexSemantics())
    return std::nullopt;
  // The reduction's loops at the root's: parallel ones as the root reads the result, the reduced one along the row.
  unsigned numLoops = op.getNumLoops();
  SmallVector<AffineExpr> loops(numLoops);
  for (auto [result, expr] : llvm::enumerate(op.getIndexingMapsArray().back().getResults()))
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      loops[dim.getPosition()] = source.map.getResult(result);
  for (auto [dim, iterator] : llvm::enumerate(op.getIteratorTypesArray())) {
    if (iterator == utils::IteratorType::reduction)
      loops[dim] = getAffineDimExpr(root.getNumLoops() - 1, op.getContext());
    if (!loops[dim])
      return std::nullopt;
  }
  Value accumulator = op.getBody()->getArguments().back();
  Operation *combine = op.getBody()->getTerminator()->getOperand(0).getDefiningOp();
  if (!isa_and_nonnull<arith::AddFOp, arith::MaximumFOp, arith::MaxNumFOp>(combine) || !accumulator.hasOneUse() ||
      !llvm::is_contained(combine->getOperands(), accumulator))
    return std::nullopt;
  bool isMax = !isa<arith::AddFOp>(combine);
  std::optional<double> initial = initialValue(op.getDpsInits()[0]);
  if (!initial || (isMax ? *initial > -3.4e38 : *initial != 0))
    return std::nullopt;
  Value term = combine->getOperand(combine->getOperand(0) == accumulator ? 1 : 0);
  AffineMap at = AffineMap::get(root.getNumLoops(), 0, loops, op.getContext());
  RowReduction r{leaf, isMax, ScalarExpression(op, term, at, x)};
  if (!r.element.valid())
    return std::nullopt;
  return r;
}

// Sorts the leaves of the root into x, reductions over its row and vectors along it.
bool RowMatcher::prepare() {
  expression.emplace(root, root.getBody()->getTerminator()->getOperand(0), identity(), x);
  if (!expression->valid())
    return false;
  bool found = false;
  unsigned rank = root.getNumLoops();
  for (auto [index, leaf] : llvm::enumerate(expression->leaves())) {
    if (isX(leaf)) {
      xLeaf = index;
      found = true;
      continue;
    }
    if (std::optional<RowReduction> r = reductionOf(index, leaf)) {
      reductions.push_back(std::move(*r));
      continue;
    }
    unsigned along = 0;
    for (AffineExpr expr : leaf.map.getResults())
      if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
        if (dim.getPosition() + 1 != rank)
          return false;
        ++along;
      }
    if (along != 1)
      return false;
    vectors.push_back(index);
  }
  return found && !reductions.empty() && reductions.size() <= 2 && vectors.size() <= 2;
}

// c where the reduction's term is c * formula(x, row values) for all samples; nullopt if there is no such c. The term
// may also read the reduction of leaf `other`, which is otherFactor times sample 1.
std::optional<double> RowMatcher::factor(const RowReduction &r, function_ref<double(ArrayRef<double>)> formula,
                                         std::optional<unsigned> other, double otherFactor) {
  std::optional<double> result;
  for (ArrayRef<double> sample : kSamples) {
    SmallVector<double> values;
    for (const Leaf &leaf : r.element.leaves()) {
      if (isX(leaf))
        values.push_back(sample[0]);
      else if (other && isSame(leaf, expression->leaves()[*other]))
        values.push_back(otherFactor * sample[1]);
      else
        return std::nullopt;
    }
    double c = r.element.evaluate(values) / formula(sample);
    if (!std::isfinite(c) || c == 0 || (result && !agree(*result, c)))
      return std::nullopt;
    result = c;
  }
  return result;
}

// exp(scale x - max) / sum exp(scale x - max); without the maximum it is the same function, only less robust.
bool RowMatcher::matchSoftmax() {
  if (!prepare() || !vectors.empty())
    return false;
  const RowReduction *max = nullptr, *sum = nullptr;
  for (const RowReduction &r : reductions)
    (r.isMax ? max : sum) = &r;
  if (!sum || (reductions.size() == 2 && !max))
    return false;
  std::optional<double> scale;
  if (max) {
    scale = factor(*max, [](ArrayRef<double> s) { return s[0]; });
  } else {
    double e = sum->element.leaves().size() == 1 ? std::log(sum->element.evaluate({1.0})) : 0;
    scale = std::isfinite(e) && e != 0 ? std::optional<double>(e) : std::nullopt;
  }
  if (!scale)
    return false;
  auto power = [&](ArrayRef<double> s) { return std::exp(*scale * s[0] - (max ? s[1] : 0)); };
  std::optional<double> one = factor(*sum, power, max ? std::optional(max->leaf) : std::nullopt);
  if (!one || !agree(*one, 1))
    return false;
  for (ArrayRef<double> sample : kSamples) {
    SmallVector<double> values(expression->leaves().size());
    values[xLeaf] = sample[0];
    if (max)
      values[max->leaf] = sample[1];
    values[sum->leaf] = sample[2];
    if (!agree(expression->evaluate(values), power(sample) / sample[2]))
      return false;
  }
  IRRewriter b(root);
  float attribute = static_cast<float>(*scale);
  auto op = nn::SoftmaxOp::create(b, root.getLoc(), root.getResultTypes(), x, root.getDpsInits()[0],
                                  b.getF32FloatAttr(agree(attribute, 1) ? 1.0f : attribute));
  b.replaceOp(root, op->getResults());
  return true;
}

// (x - mean) / sqrt(variance + epsilon) * scale + shift, with or without mean, scale and shift.
bool RowMatcher::matchNorm(nn::NormKind kind) {
  bool layer = kind == nn::NormKind::Layer;
  int64_t length = cast<ShapedType>(x.getType()).getShape().back();
  if (!prepare() || ShapedType::isDynamic(length) || reductions.size() != (layer ? 2u : 1u))
    return false;
  double n = static_cast<double>(length);
  // Samples: 0 is x, 1 the sum of the row, 2 the sum of squares (layer: of x - mean), 3 the scale, 4 the shift.
  const RowReduction *sum = nullptr, *squares = nullptr;
  double sumFactor = 1, squareFactor = 1;
  bool centered = layer;
  for (const RowReduction &r : reductions) {
    if (r.isMax)
      return false;
    std::optional<double> c = layer ? factor(r, [](ArrayRef<double> s) { return s[0]; }) : std::nullopt;
    if (c) {
      sum = &r;
      sumFactor = *c;
    } else {
      squares = &r;
    }
  }
  if (!squares || (layer && !sum))
    return false;
  std::optional<double> c;
  if (layer)
    c = factor(
        *squares, [&](ArrayRef<double> s) { return (s[0] - s[1] / n) * (s[0] - s[1] / n); }, sum->leaf, sumFactor);
  if (!c) { // the variance may be written as mean of squares less square of mean
    centered = false;
    c = factor(*squares, [](ArrayRef<double> s) { return s[0] * s[0]; });
  }
  if (!c)
    return false;
  squareFactor = *c;

  std::optional<unsigned> scale, shift;
  auto value = [&](double at, double rowSum, double rowSquares, double scaleBy, double shiftBy) {
    SmallVector<double> values(expression->leaves().size());
    values[xLeaf] = at;
    if (sum)
      values[sum->leaf] = sumFactor * rowSum;
    values[squares->leaf] = squareFactor * (rowSquares + (layer && !centered ? rowSum * rowSum / n : 0));
    if (scale)
      values[*scale] = scaleBy;
    if (shift)
      values[*shift] = shiftBy;
    return expression->evaluate(values);
  };
  auto matches = [&](double &epsilon) {
    double atZero = value(1, 0, 0, 1, 0);
    epsilon = std::isinf(atZero) ? 0 : 1 / (atZero * atZero);
    if (!(epsilon >= 0 && epsilon < 1))
      return false;
    for (ArrayRef<double> s : kSamples) {
      double mean = layer ? s[1] / n : 0, scaleBy = scale ? s[3] : 1, shiftBy = shift ? s[4] : 0;
      // The second time where the epsilon counts as much as the variance.
      for (double squareSum : {s[2], epsilon * n}) {
        double expected = (s[0] - mean) / std::sqrt(squareSum / n + epsilon) * scaleBy + shiftBy;
        if (squareSum > 0 && !agree(value(s[0], s[1], squareSum, s[3], s[4]), expected))
          return false;
      }
    }
    return true;
  };
  SmallVector<std::pair<std::optional<unsigned>, std::optional<unsigned>>> roles;
  if (vectors.empty())
    roles = {{std::nullopt, std::nullopt}};
  else if (vectors.size() == 1)
    roles = {{vectors[0], std::nullopt}, {std::nullopt, vectors[0]}};
  else
    roles = {{vectors[0], vectors[1]}, {vectors[1], vectors[0]}};
  for (auto role : roles) {
    std::tie(scale, shift) = role;
    double epsilon;
    if (!matches(epsilon))
      continue;
    IRRewriter b(root);
    Value scaleVector = scale ? vectorOf(*scale, b) : Value(), shiftVector = shift ? vectorOf(*shift, b) : Value();
    auto op = nn::NormOp::create(b, root.getLoc(), root.getResultTypes()[0], x, scaleVector, shiftVector,
                                 root.getDpsInits()[0], nn::NormKindAttr::get(b.getContext(), kind),
                                 b.getF32FloatAttr(static_cast<float>(epsilon)));
    b.replaceOp(root, op->getResults());
    return true;
  }
  return false;
}

Value RowMatcher::vectorOf(unsigned leaf, OpBuilder &b) {
  Value value = expression->leaves()[leaf].value;
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() == 1)
    return value;
  ReassociationIndices all;
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    all.push_back(dim);
  return tensor::CollapseShapeOp::create(b, root.getLoc(), value, ArrayRef{all});
}

// What the reductions behind `root` may be over: what they read, and what that is computed from.
SmallVector<Value> candidates(linalg::GenericOp root) {
  llvm::SetVector<Value> seen;
  SmallVector<Value> result;
  seen.insert(root.getResult(0));
  auto type = cast<RankedTensorType>(root.getResultTypes()[0]);
  for (size_t i = 0; i < seen.size() && i < 24; ++i) {
    Operation *op = seen[i].getDefiningOp();
    auto generic = dyn_cast_or_null<linalg::GenericOp>(op);
    if (!generic && !isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
      continue;
    if (generic && !isElementwise(generic) && generic.getNumReductionLoops() != 1)
      continue;
    SmallVector<Value> operands = generic ? generic.getDpsInputs() : SmallVector<Value>{op->getOperand(0)};
    for (Value operand : operands)
      if (isa<RankedTensorType>(operand.getType()))
        seen.insert(operand);
  }
  // It may be stored in another type.
  for (Value value : ArrayRef(seen.getArrayRef()).drop_front())
    if (auto own = cast<RankedTensorType>(value.getType());
        own.getShape() == type.getShape() && computesInF32(own.getElementType()))
      result.push_back(value);
  return result;
}
} // namespace

void snug::fuseRows(func::FuncOp function) {
  SmallVector<linalg::GenericOp> roots;
  function.walk([&](linalg::GenericOp op) {
    auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
    if (type && type.getRank() && computesInF32(type.getElementType()) && isElementwise(op) && !op.hasIndexSemantics())
      roots.push_back(op);
  });
  // From the end, so that scale and shift come with the norm that they belong to.
  for (linalg::GenericOp root : llvm::reverse(roots)) {
    if (root.use_empty())
      continue;
    // The farthest back first: what scales x, or takes its mean off it, belongs to the formula.
    SmallVector<Value> xs = candidates(root);
    std::reverse(xs.begin(), xs.end());
    // What is centred is a norm of both kinds: of x, and of x less its mean.
    bool done = false;
    for (nn::NormKind kind : {nn::NormKind::Layer, nn::NormKind::Rms})
      for (Value x : xs)
        done = done || RowMatcher(root, x).matchNorm(kind);
    for (Value x : xs)
      done = done || RowMatcher(root, x).matchSoftmax();
  }
}
