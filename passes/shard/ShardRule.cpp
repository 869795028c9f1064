// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/ShardRule.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "passes/shard/OpenExtents.h"
#include "passes/shard/RowsInParts.h"
#include "passes/shard/Summands.h"
#include <numeric>
#include <set>

using namespace mlir;
using namespace snug;

namespace {
int64_t sum(const std::vector<int64_t> &lengths) { return std::accumulate(lengths.begin(), lengths.end(), int64_t(0)); }

// A row of ones from the first boundary to the last.
std::vector<int64_t> lengthsBetween(const std::set<int64_t> &boundaries) {
  std::vector<int64_t> lengths;
  for (auto place = boundaries.begin(); std::next(place) != boundaries.end(); ++place)
    lengths.push_back(*std::next(place) - *place);
  return lengths;
}

// What a dim is filled up with is zeros, before ops have made something else of them.
bool mayHoldFilling(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return !tensor || tensor.getElementType().isIntOrFloat();
}

// Whether what reduces into the destinations is a sum that may be made in parts.
bool mayReduceInParts(Operation *op, const IndexRule &rule) {
  if (auto contract = dyn_cast<nn::ContractOp>(op)) { // nothing may happen to a sum before it is complete
    Block &epilogue = contract.getEpilogue().front();
    return epilogue.getTerminator()->getOperand(0) == epilogue.getArgument(0);
  }
  auto dps = dyn_cast<DestinationStyleOpInterface>(op);
  // Sums that begin with what a destination holds begin with it on each device.
  return dps && (!rule.keepsDestinations || llvm::all_of(dps.getDpsInits(), isZeroFill));
}
} // namespace

void ShardRule::reset(size_t numDims) {
  dimExtents.assign(numDims, 0);
  reductions.assign(numDims, false);
  placed.assign(numDims, false);
  fillable.assign(numDims, false);
}

ShardRule ShardRule::of(Operation *op) {
  ShardRule rule;
  rule.operands.resize(op->getNumOperands());
  rule.results.resize(op->getNumResults());
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op))
    rule.readReshape(op, expand.getResultType(), expand.getReassociationIndices(), /*expands=*/true);
  else if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op))
    rule.readReshape(op, collapse.getSrcType(), collapse.getReassociationIndices(), /*expands=*/false);
  else if (auto pin = dyn_cast<mesh::PinOp>(op)) { // each dim by itself
    SmallVector<SmallVector<int64_t, 2>> dims;
    for (int64_t dim = 0; dim < cast<RankedTensorType>(pin.getType()).getRank(); ++dim)
      dims.push_back({dim});
    rule.readReshape(op, cast<RankedTensorType>(pin.getType()), dims, /*expands=*/true);
  } else if (isa<tensor::ExtractSliceOp>(op))
    rule.readExtractSlice(op);
  else if (isa<tensor::InsertSliceOp>(op))
    rule.readInsertSlice(op);
  else
    rule.readMaps(op);
  rule.readSummands(op);
  return rule;
}

void ShardRule::readSummands(Operation *op) {
  summands = linearOperands(op);
  size_t all = dimExtents.size() + summands.size();
  dimExtents.resize(all, 0);
  reductions.resize(all, false);
  placed.resize(all, false);
  fillable.resize(all, false);
}

void ShardRule::readMaps(Operation *op) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(rule) || !isa<DestinationStyleOpInterface>(op))
    return;
  SmallVector<AffineMap> maps(rule->operands);
  if (auto contract = dyn_cast<nn::ContractOp>(op); contract && contract.getPacked()) {
    // Panels are made of what a device has: what counts are the logical dims of the weight.
    maps = contract.getMaps();
    rule->dims.truncate(maps[0].getNumDims());
    for (auto [dim, type] : llvm::zip_equal(rule->dims, contract.getIteratorTypes().getAsValueRange<StringAttr>()))
      dim = type == "parallel" ? IterDim{} : IterDim{IterKind::Reduction, Combiner::Sum};
    rule->results.assign(1, maps.back());
  }
  unsigned numDims = rule->dims.size();
  reset(numDims);
  constexpr int64_t kUnknown = -2;
  dimExtents.assign(numDims, kUnknown);
  bool inParts = mayReduceInParts(op, *rule);
  if (takesRowsInParts(op)) {
    rowDim = numDims - 1;
    rule->dims.back() = IterDim{};
  }
  for (auto [index, dim] : llvm::enumerate(rule->dims)) {
    reductions[index] = dim.kind == IterKind::Reduction;
    if (dim.combiner == Combiner::OnlineSoftmax) {
      keyDim = index;
      ringDim = cast<nn::AttentionOp>(op).rowDim();
    } else if (dim.kind == IterKind::Whole || (reductions[index] && (dim.combiner != Combiner::Sum || !inParts)))
      dimExtents[index] = 0;
  }
  auto read = [&](AffineMap map, Value tensor, Links &links) {
    auto type = dyn_cast<RankedTensorType>(tensor.getType());
    if (!map || !type)
      return;
    for (auto [dim, expr] : llvm::enumerate(map.getResults())) {
      if (auto bare = dyn_cast<AffineDimExpr>(expr)) {
        Link link;
        link.iteration = bare.getPosition();
        link.dim = dim;
        // The logical extent of a packed weight is that of the result or of the other operand.
        bool isLogical = map.getNumResults() == static_cast<unsigned>(type.getRank());
        int64_t &known = dimExtents[link.iteration];
        if (isLogical) {
          int64_t extent = !type.isDynamicDim(dim) ? type.getDimSize(dim) : extentOf(tensor, dim) ? AxisLayout::kOpen : 0;
          known = known == kUnknown || known == extent ? extent : 0;
        }
        links.push_back(link);
        continue;
      }
      if (std::optional<Link> merged = mergedLink(expr, rule->dims); merged && !type.isDynamicDim(dim)) {
        int64_t extent = type.getDimSize(dim) / merged->inner, &known = dimExtents[merged->iteration];
        known = known == kUnknown || known == extent ? extent : 0;
        merged->dim = dim;
        links.push_back(*merged);
        continue;
      }
      for (unsigned iteration = 0; iteration < numDims; ++iteration)
        if (expr.isFunctionOfDim(iteration))
          dimExtents[iteration] = 0; // a window
    }
  };
  for (auto [index, map] : llvm::enumerate(maps))
    read(map, op->getOperand(index), operands[index]);
  for (auto [index, map] : llvm::enumerate(rule->results))
    read(map, op->getResult(index), results[index]);
  bool fills = llvm::all_of(op->getOperandTypes(), mayHoldFilling);
  for (auto [index, extent] : llvm::enumerate(dimExtents)) {
    // Keys that are none are left out.
    fillable[index] = isKeys(index) || (fills && !reductions[index] && !isRow(index) && isBare(index));
    if (extent == kUnknown || (extent == AxisLayout::kOpen && !fillable[index]))
      extent = 0;
    // Each result follows each parallel dim.
    for (const Links &links : results)
      if (!reductions[index] && llvm::none_of(links, [&](const Link &link) { return link.iteration == index; }))
        extent = 0;
  }
  op->walk([&](Operation *inner) {
    if (auto index = dyn_cast<linalg::IndexOp>(inner))
      placed[index.getDim()] = true;
    else if (auto index = dyn_cast<nn::IndexOp>(inner))
      placed[index.getDim()] = true;
    else if (auto extent = dyn_cast<nn::ExtentOp>(inner)) // of all devices' parts together, not of one's
      for (const Link &link : operands[extent.getNumber()])
        if (link.dim == static_cast<int64_t>(extent.getDim()))
          dimExtents[link.iteration] = 0;
  });
}

// d * k + rest, where what is merged with a dim is never cut.
std::optional<ShardRule::Link> ShardRule::mergedLink(AffineExpr expr, ArrayRef<IterDim> dims) {
  auto sum = dyn_cast<AffineBinaryOpExpr>(expr);
  auto product = sum && expr.getKind() == AffineExprKind::Add ? dyn_cast<AffineBinaryOpExpr>(sum.getLHS()) : nullptr;
  auto rest = product ? dyn_cast<AffineDimExpr>(sum.getRHS()) : nullptr;
  auto dim = product && product.getKind() == AffineExprKind::Mul ? dyn_cast<AffineDimExpr>(product.getLHS()) : nullptr;
  auto factor = product ? dyn_cast<AffineConstantExpr>(product.getRHS()) : nullptr;
  if (!dim || !rest || !factor || dims[rest.getPosition()].kind != IterKind::Whole)
    return std::nullopt;
  Link link;
  link.iteration = dim.getPosition();
  link.inner = factor.getValue();
  return link;
}

// Whether the dim stands in operands and results as it is.
bool ShardRule::isBare(unsigned dim) const {
  auto isMerged = [&](const Links &links) {
    return llvm::any_of(links, [&](const Link &link) { return link.iteration == dim && (link.inner != 1 || link.outer != 1); });
  };
  return llvm::none_of(operands, isMerged) && llvm::none_of(results, isMerged);
}

void ShardRule::readReshape(Operation *op, RankedTensorType expanded, ArrayRef<SmallVector<int64_t, 2>> groups, bool expands) {
  reset(expanded.getRank());
  Links &whole = expands ? results[0] : operands[0], &merged = expands ? operands[0] : results[0];
  for (auto [place, group] : llvm::enumerate(groups)) {
    int64_t outer = 1;
    for (size_t i = 0; i < group.size(); ++i) {
      int64_t inner = 1;
      bool isStatic = !expanded.isDynamicDim(group[i]) && outer > 0;
      for (int64_t later : ArrayRef<int64_t>(group).drop_front(i + 1)) {
        isStatic &= !expanded.isDynamicDim(later);
        inner *= expanded.isDynamicDim(later) ? 0 : expanded.getDimSize(later);
      }
      int64_t extent = expanded.getDimSize(group[i]);
      // What is merged with others is no longer one segment when it is filled up.
      bool isAlone = outer == 1 && inner == 1;
      bool isOpen = isAlone && expanded.isDynamicDim(group[i]) && extentOf(op->getOperand(0), expands ? place : group[i]) &&
                    extentOf(op->getResult(0), expands ? group[i] : place);
      if (isStatic || isOpen) {
        dimExtents[group[i]] = isOpen ? AxisLayout::kOpen : extent;
        fillable[group[i]] = isAlone && mayHoldFilling(expanded);
        Link bare, link;
        bare.iteration = link.iteration = group[i];
        bare.dim = group[i];
        link.dim = place;
        link.outer = outer;
        link.inner = inner;
        whole.push_back(bare);
        merged.push_back(link);
      }
      outer = expanded.isDynamicDim(group[i]) ? 0 : outer * extent;
    }
  }
}

// Iterations are the source's; a dim that is taken in part counts from where the part begins.
void ShardRule::readExtractSlice(Operation *operation) {
  auto op = cast<tensor::ExtractSliceOp>(operation);
  RankedTensorType source = op.getSourceType();
  reset(source.getRank());
  llvm::SmallBitVector dropped = op.getDroppedDims();
  int64_t kept = 0;
  for (int64_t dim = 0; dim < source.getRank(); ++dim) {
    if (dropped.test(dim))
      continue;
    Link from, to;
    from.iteration = to.iteration = dim;
    from.dim = dim;
    to.dim = kept++;
    auto offset = getConstantIntValue(op.getMixedOffsets()[dim]), size = getConstantIntValue(op.getMixedSizes()[dim]);
    bool isOpen = source.isDynamicDim(dim);
    if (!offset || getConstantIntValue(op.getMixedStrides()[dim]) != 1 ||
        (isOpen ? *offset != 0 || !isExtent(op.getMixedSizes()[dim], op.getSource(), dim) : !size))
      continue;
    dimExtents[dim] = isOpen ? AxisLayout::kOpen : *size;
    fillable[dim] = (isOpen || *size == source.getDimSize(dim)) && mayHoldFilling(source);
    from.offset = *offset;
    if (isOpen) {
      operands[0].push_back(from);
      results[0].push_back(to);
      continue;
    }
    if (*size != source.getDimSize(dim)) {
      std::set<int64_t> boundaries{0, source.getDimSize(dim)};
      for (Operation *user : op.getSource().getUsers())
        if (auto other = dyn_cast<tensor::ExtractSliceOp>(user)) {
          auto start = getConstantIntValue(other.getMixedOffsets()[dim]), length = getConstantIntValue(other.getMixedSizes()[dim]);
          if (!start || !length)
            continue;
          boundaries.insert(*start);
          boundaries.insert(*start + *length);
        }
      from.boundaries.assign(boundaries.begin(), boundaries.end());
    }
    operands[0].push_back(from);
    results[0].push_back(to);
  }
}

// Iterations are the destination's, along dims that the part has in full.
void ShardRule::readInsertSlice(Operation *operation) {
  auto op = cast<tensor::InsertSliceOp>(operation);
  RankedTensorType whole = op.getDestType();
  reset(whole.getRank());
  llvm::SmallBitVector dropped = op.getDroppedDims();
  int64_t kept = 0;
  for (int64_t dim = 0; dim < whole.getRank(); ++dim) {
    if (dropped.test(dim))
      continue;
    Link part, bare;
    part.iteration = bare.iteration = dim;
    bare.dim = dim;
    part.dim = kept++;
    if (!isExtent(op.getMixedSizes()[dim], op.getDest(), dim))
      continue;
    dimExtents[dim] = whole.isDynamicDim(dim) ? AxisLayout::kOpen : whole.getDimSize(dim);
    fillable[dim] = mayHoldFilling(whole);
    operands[0].push_back(part);
    operands[1].push_back(bare);
    results[0].push_back(bare);
  }
}

std::optional<IterationCut> ShardRule::keysOfRing(const IterationCut &cut) const {
  if (!keyDim || cut.dim != ringDim || dimExtents[*keyDim] == 0)
    return std::nullopt;
  return IterationCut{*keyDim, {dimExtents[*keyDim]}};
}

bool ShardRule::allows(const IterationCut &cut) const {
  if (cut.dim < dimExtents.size() && isSummands(cut.dim))
    return cut.segments.empty() && !cut.isRing;
  return cut.dim < dimExtents.size() && dimExtents[cut.dim] != 0 && dimExtents[cut.dim] != 1 && sum(cut.segments) == dimExtents[cut.dim] &&
         (!placed[cut.dim] || cut.segments.size() == 1) && (!cut.isRing || (cut.segments.size() == 1 && keysOfRing(cut)));
}

std::optional<std::vector<int64_t>> ShardRule::toTensor(const Link &link, const std::vector<int64_t> &segments) const {
  if (!link.boundaries.empty()) {
    std::set<int64_t> places(link.boundaries.begin(), link.boundaries.end());
    int64_t at = link.offset;
    for (int64_t length : segments)
      places.insert(at += length);
    // What another one takes out of the middle of a segment is not to be cut for this one.
    std::set<int64_t> inside{link.offset};
    at = link.offset;
    for (int64_t length : segments)
      inside.insert(at += length);
    for (int64_t place : places)
      if (place > link.offset && place < at && !inside.count(place))
        return std::nullopt;
    return lengthsBetween(places);
  }
  std::vector<int64_t> merged;
  for (int64_t i = 0; i < link.outer; ++i)
    for (int64_t length : segments)
      merged.push_back(length * link.inner);
  return merged;
}

std::optional<std::vector<int64_t>> ShardRule::toIteration(const Link &link, const std::vector<int64_t> &segments) const {
  std::vector<int64_t> result;
  int64_t extent = dimExtents[link.iteration];
  if (!link.boundaries.empty()) {
    int64_t at = 0;
    for (int64_t length : segments) {
      if (at >= link.offset && at + length <= link.offset + extent)
        result.push_back(length);
      else if (at < link.offset + extent && at + length > link.offset)
        return std::nullopt; // half in, half out
      at += length;
    }
  } else {
    if (segments.size() % link.outer != 0)
      return std::nullopt;
    size_t period = segments.size() / link.outer;
    for (size_t i = 0; i < segments.size(); ++i)
      if (segments[i] % link.inner != 0 || segments[i] != segments[i % period])
        return std::nullopt;
    for (size_t i = 0; i < period; ++i)
      result.push_back(segments[i] / link.inner);
  }
  return sum(result) == extent ? std::optional(result) : std::nullopt;
}

std::vector<IterationCut> ShardRule::cutsOf(const Links &links, const AxisLayout &cut) const {
  std::vector<IterationCut> found;
  for (const Link &link : links)
    if (cut.kind == AxisLayout::Cut && link.dim == cut.dim)
      if (auto segments = toIteration(link, cut.segments)) {
        IterationCut one{link.iteration, *segments};
        if (allows(one))
          found.push_back(one);
      }
  return found;
}

std::vector<IterationCut> ShardRule::cutsOfOperand(unsigned operand, const AxisLayout &layout) const {
  if (layout.kind != AxisLayout::Partial)
    return cutsOf(operands[operand], layout);
  std::vector<IterationCut> found;
  for (auto [number, set] : llvm::enumerate(summands))
    if (set.test(operand))
      found.push_back({static_cast<unsigned>(dimExtents.size() - summands.size() + number), {}});
  return found;
}

std::optional<AxisLayout> ShardRule::operandLayout(unsigned operand, const IterationCut &cut) const {
  if (cut.isRing && (operand == 1 || operand == 2))
    return operandLayout(operand, *keysOfRing(cut));
  if (isSummands(cut.dim)) {
    bool isPart = summands[cut.dim - (dimExtents.size() - summands.size())].test(operand);
    return isPart ? AxisLayout::partial() : AxisLayout::whole();
  }
  for (const Link &link : operands[operand])
    if (link.iteration == cut.dim) {
      auto segments = toTensor(link, cut.segments);
      return segments ? std::optional(AxisLayout::cut(link.dim, *segments)) : std::nullopt;
    }
  return AxisLayout::whole();
}

std::optional<AxisLayout> ShardRule::resultLayout(unsigned result, const IterationCut &cut) const {
  for (const Link &link : results[result])
    if (link.iteration == cut.dim) {
      auto segments = toTensor(link, cut.segments);
      return segments ? std::optional(AxisLayout::cut(link.dim, *segments)) : std::nullopt;
    }
  return reductions[cut.dim] || isSummands(cut.dim) ? AxisLayout::partial() : AxisLayout::whole();
}
