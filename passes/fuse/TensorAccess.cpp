// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/TensorAccess.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace snug;

void IterationSpace::read(Value tensor, AffineMap map) {
  for (auto [position, expr] : llvm::enumerate(map.getResults()))
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      extents[dim.getPosition()] = cast<ShapedType>(tensor.getType()).getDimSize(position);
}

// --- expressions --------------------------------------------------------------------------------------------------

namespace {
// expr = sum of terms times their factors.
using Terms = SmallVector<std::pair<AffineExpr, int64_t>>;

void addTerms(Terms &terms, AffineExpr expr, int64_t factor) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
    if (constant.getValue() != 0)
      terms.push_back({getAffineConstantExpr(1, expr.getContext()), constant.getValue() * factor});
  } else if (expr.getKind() == AffineExprKind::Add) {
    addTerms(terms, binary.getLHS(), factor);
    addTerms(terms, binary.getRHS(), factor);
  } else if (auto by =
                 expr.getKind() == AffineExprKind::Mul ? dyn_cast<AffineConstantExpr>(binary.getRHS()) : nullptr) {
    addTerms(terms, binary.getLHS(), factor * by.getValue());
  } else {
    terms.push_back({expr, factor});
  }
}

// Parts of the sum that `divisor` divides, already divided, and the rest.
std::pair<AffineExpr, AffineExpr> split(AffineExpr expr, int64_t divisor) {
  Terms terms;
  addTerms(terms, expr, 1);
  AffineExpr whole = getAffineConstantExpr(0, expr.getContext()), rest = whole;
  for (auto [term, factor] : terms)
    factor % divisor == 0 ? whole = whole + term * (factor / divisor) : rest = rest + term * factor;
  return {whole, rest};
}
} // namespace

std::optional<int64_t> IterationSpace::maximum(AffineExpr expr) const {
  Terms terms;
  addTerms(terms, expr, 1);
  int64_t sum = 0;
  for (auto [term, factor] : terms) {
    auto binary = dyn_cast<AffineBinaryOpExpr>(term);
    std::optional<int64_t> most;
    if (isa<AffineConstantExpr>(term))
      most = 1;
    else if (auto dim = dyn_cast<AffineDimExpr>(term))
      most = ShapedType::isDynamic(extents[dim.getPosition()]) ? std::nullopt
                                                               : std::optional<int64_t>(extents[dim.getPosition()] - 1);
    else if (term.getKind() == AffineExprKind::Mod)
      most = cast<AffineConstantExpr>(binary.getRHS()).getValue() - 1;
    else if (std::optional<int64_t> inner =
                 term.getKind() == AffineExprKind::FloorDiv ? maximum(binary.getLHS()) : std::nullopt)
      most = *inner / cast<AffineConstantExpr>(binary.getRHS()).getValue();
    if (!most || factor < 0)
      return std::nullopt;
    sum += *most * factor;
  }
  return sum;
}

AffineExpr IterationSpace::divide(AffineExpr expr, int64_t divisor) const {
  if (divisor == 1)
    return expr;
  auto [whole, rest] = split(expr, divisor);
  std::optional<int64_t> most = maximum(rest);
  return most && *most < divisor ? whole : whole + rest.floorDiv(divisor);
}

AffineExpr IterationSpace::modulo(AffineExpr expr, int64_t divisor) const {
  AffineExpr rest = split(expr, divisor).second;
  std::optional<int64_t> most = maximum(rest);
  return most && *most < divisor ? rest : rest % divisor;
}

std::optional<TensorAccess> IterationSpace::throughView(Operation *view, ArrayRef<AffineExpr> indices) const {
  auto expand = dyn_cast_or_null<tensor::ExpandShapeOp>(view);
  auto collapse = dyn_cast_or_null<tensor::CollapseShapeOp>(view);
  if (!expand && !collapse)
    return std::nullopt;
  RankedTensorType expanded = expand ? expand.getResultType() : collapse.getSrcType();
  AffineExpr zero = getAffineConstantExpr(0, view->getContext());
  TensorAccess access{view->getOperand(0), {}};
  if (collapse)
    access.indices.assign(expanded.getRank(), zero);
  auto groups = expand ? expand.getReassociationIndices() : collapse.getReassociationIndices();
  for (auto [position, group] : llvm::enumerate(groups)) {
    int64_t stride = 1; // 0: behind a dynamic extent
    AffineExpr merged = expand ? zero : indices[position];
    std::optional<int64_t> outermost;
    for (int64_t dim : group)
      if (!outermost && expanded.getDimSize(dim) != 1)
        outermost = dim;
    for (int64_t dim : llvm::reverse(group)) {
      int64_t size = expanded.getDimSize(dim);
      if (size == 1)
        continue;
      if (stride == 0)
        return std::nullopt;
      if (expand) {
        merged = merged + indices[dim] * stride;
      } else {
        AffineExpr own = divide(merged, stride);
        if (dim != outermost && ShapedType::isDynamic(size))
          return std::nullopt;
        access.indices[dim] = dim == outermost ? own : modulo(own, size);
      }
      stride = ShapedType::isDynamic(size) ? 0 : stride * size;
    }
    if (expand) // what a collapse took apart becomes whole again: 4 * (x floordiv 4) + x mod 4 = x
      access.indices.push_back(simplifyAffineExpr(merged, extents.size(), 0));
  }
  return access;
}

// --- elementwise ops ----------------------------------------------------------------------------------------------

bool snug::isPointwise(linalg::LinalgOp op) {
  if (op.getNumParallelLoops() != op.getNumLoops() || op->getNumResults() != 1 || !op.getBlock())
    return false;
  AffineMap result = op.getMatchingIndexingMap(op.getDpsInitOperand(0));
  return result.isPermutation() && op.getRegionOutputArgs()[0].use_empty() &&
         llvm::all_of(op.getBlock()->getOperations(), [](Operation &inner) { return inner.getNumRegions() == 0; });
}

TensorAccess snug::readOf(linalg::LinalgOp op, OpOperand &operand, ArrayRef<AffineExpr> indices) {
  AffineMap iterations = inversePermutation(op.getMatchingIndexingMap(op.getDpsInitOperand(0)));
  SmallVector<AffineExpr> dims;
  for (AffineExpr expr : iterations.getResults())
    dims.push_back(expr.replaceDims(indices));
  TensorAccess access{operand.get(), {}};
  for (AffineExpr expr : op.getMatchingIndexingMap(&operand).getResults())
    access.indices.push_back(expr.replaceDims(dims));
  return access;
}

Value ScalarProgram::index(AffineExpr expr) {
  Location loc = b.getUnknownLoc();
  SmallVector<Value> dims;
  for (unsigned dim = 0; dim < space.extents.size(); ++dim)
    dims.push_back(expr.isFunctionOfDim(dim) ? Value(nn::IndexOp::create(b, loc, b.getIndexType(), dim)) : Value());
  return affine::expandAffineExpr(b, loc, expr, dims, {});
}

Value ScalarProgram::cloneBody(Block &body, IRMapping &mapping) {
  for (Operation &inner : body.without_terminator())
    if (!mapping.contains(inner.getNumResults() ? inner.getResult(0) : Value()))
      b.clone(inner, mapping);
  return mapping.lookupOrDefault(body.getTerminator()->getOperand(0));
}

FailureOr<Value> ScalarProgram::computed(linalg::LinalgOp op, ArrayRef<AffineExpr> indices) {
  traced.insert(op);
  IRMapping mapping;
  for (OpOperand *operand : op.getDpsInputOperands()) {
    BlockArgument argument = op.getMatchingBlockArgument(operand);
    if (argument.use_empty())
      continue;
    if (!isa<ShapedType>(operand->get().getType())) {
      mapping.map(argument, operand->get());
      continue;
    }
    FailureOr<Value> scalar = element(readOf(op, *operand, indices));
    if (failed(scalar))
      return failure();
    mapping.map(argument, *scalar);
  }
  AffineMap iterations = inversePermutation(op.getMatchingIndexingMap(op.getDpsInitOperand(0)));
  for (auto place : op.getBlock()->getOps<linalg::IndexOp>())
    mapping.map(place.getResult(), index(iterations.getResult(place.getDim()).replaceDims(indices)));
  return cloneBody(*op.getBlock(), mapping);
}

Value ScalarProgram::input(const TensorAccess &access) {
  Block *block = b.getInsertionBlock();
  for (auto [position, known] : llvm::enumerate(inputs))
    if (known.tensor == access.tensor && known.indices == access.indices)
      return block->getArgument(block->getNumArguments() - inputs.size() + position);
  inputs.push_back(access);
  return block->addArgument(cast<ShapedType>(access.tensor.getType()).getElementType(), access.tensor.getLoc());
}

FailureOr<Value> ScalarProgram::element(const TensorAccess &access) {
  FailureOr<Value> given = source(access);
  if (failed(given) || *given)
    return given;
  Operation *producer = access.tensor.getDefiningOp();
  if (auto op = dyn_cast_or_null<linalg::LinalgOp>(producer); op && isPointwise(op) && computes(op, access.indices))
    return computed(op, access.indices);
  if (std::optional<TensorAccess> before = space.throughView(producer, access.indices)) {
    // A view of a plain tensor is read as it is.
    Operation *behind = before->tensor.getDefiningOp();
    FailureOr<Value> known = source(*before);
    if (failed(known))
      return failure();
    auto op = dyn_cast_or_null<linalg::LinalgOp>(behind);
    if (*known || (op && isPointwise(op) && computes(op, before->indices)) ||
        isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(behind)) {
      traced.insert(producer);
      return *known ? known : element(*before);
    }
  }
  return input(access);
}

// --- copies -------------------------------------------------------------------------------------------------------

TensorAccess snug::throughCopies(TensorAccess access, const IterationSpace &space,
                                 function_ref<bool(ArrayRef<AffineExpr>)> accepts,
                                 SmallVectorImpl<std::pair<Value, bool>> *factors) {
  TensorAccess best = access;
  SmallVector<std::pair<Value, bool>> found;
  while (Operation *producer = access.tensor.getDefiningOp()) {
    if (std::optional<TensorAccess> before = space.throughView(producer, access.indices)) {
      access = *before;
    } else if (auto op = dyn_cast<linalg::LinalgOp>(producer); op && isPointwise(op)) {
      Value value = beforeConversions(op.getBlock()->getTerminator()->getOperand(0));
      auto isScalar = [&](Value v) {
        return v.getParentBlock() != op.getBlock() || v.getDefiningOp<arith::ConstantOp>();
      };
      // value = argument * scalar * ... / scalar
      while (Operation *scaling = value.getDefiningOp()) {
        if (!factors || scaling->getBlock() != op.getBlock())
          break;
        if (isa<arith::MulFOp>(scaling) && isScalar(scaling->getOperand(1)))
          found.push_back({scaling->getOperand(1), false});
        else if (isa<arith::DivFOp>(scaling) && isScalar(scaling->getOperand(1)))
          found.push_back({scaling->getOperand(1), true});
        else if (isa<arith::MulFOp>(scaling) && isScalar(scaling->getOperand(0)))
          found.push_back({scaling->getOperand(0), false});
        else
          break;
        value = beforeConversions(isScalar(scaling->getOperand(1)) ? scaling->getOperand(0) : scaling->getOperand(1));
      }
      auto argument = dyn_cast<BlockArgument>(value);
      if (!argument || argument.getOwner() != op.getBlock())
        return best;
      OpOperand *operand = op.getMatchingOpOperand(argument);
      if (!isa<ShapedType>(operand->get().getType()))
        return best;
      access = readOf(op, *operand, access.indices);
    } else {
      return best;
    }
    if (accepts(access.indices)) {
      best = access;
      if (factors) {
        factors->append(found);
        found.clear();
      }
    }
  }
  return best;
}
