// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/ContractPlan.h"
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/RegisterTile.h"
#include "lib/analysis/KernelRule.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

int64_t staticExtent(nn::ContractOp op, const ContractPlan &plan, unsigned dim) {
  ExtentPlace place = plan.extent(dim);
  return typeOf(op->getOperand(place.operand)).getDimSize(place.dim);
}

// The product of extents, dynamic if one of them is.
int64_t product(nn::ContractOp op, const ContractPlan &plan, ArrayRef<unsigned> dims) {
  int64_t result = 1;
  for (unsigned dim : dims) {
    int64_t extent = staticExtent(op, plan, dim);
    if (ShapedType::isDynamic(extent))
      return ShapedType::kDynamic;
    result *= extent;
  }
  return result;
}
} // namespace

int64_t codegen::strideOf(Value value, AffineMap map, unsigned dim) {
  int64_t offset;
  SmallVector<int64_t> strides;
  std::optional<unsigned> position = positionOf(map, dim);
  if (!position || failed(typeOf(value).getStridesAndOffset(strides, offset)))
    return ShapedType::kDynamic;
  return strides[*position];
}

ExtentPlace ContractPlan::extent(unsigned dim) const {
  SmallVector<unsigned> operands;
  for (unsigned operand = 0; operand < maps.size(); ++operand)
    if (!(operand == 1 && packed))
      operands.push_back(operand);
  return *extentPlace(maps, dim, operands); // the verifier wants every dim in the destination or in a
}

SmallVector<unsigned> ContractPlan::rows() const {
  SmallVector<unsigned> result;
  for (const SmallVector<unsigned> &group : rowGroups)
    llvm::append_range(result, group);
  return result;
}

// Whether each operand holds them as it would hold one dim, of the product of both extents.
bool ContractPlan::areOneDim(nn::ContractOp op, unsigned outer, unsigned inner) const {
  for (auto [operand, map] : llvm::enumerate(maps)) {
    auto uses = [&, map = map](unsigned dim) {
      return llvm::count_if(map.getResults(), [&](AffineExpr expr) { return expr.isFunctionOfDim(dim); });
    };
    if (uses(outer) == 0 && uses(inner) == 0)
      continue;
    std::optional<unsigned> around = positionOf(map, outer), inside = positionOf(map, inner);
    if ((operand == 1 && packed) || uses(outer) != 1 || uses(inner) != 1 || !around || !inside)
      return false;
    MemRefType type = typeOf(op->getOperand(operand));
    int64_t size = type.getDimSize(*inside), strideOuter = strideOf(op->getOperand(operand), map, outer),
            strideInner = strideOf(op->getOperand(operand), map, inner);
    if (!ShapedType::isDynamic(strideOuter) && !ShapedType::isDynamic(strideInner) && !ShapedType::isDynamic(size)) {
      if (strideOuter != size * strideInner)
        return false;
    } else if (!type.getLayout().isIdentity() || *around >= *inside ||
               llvm::any_of(llvm::seq(*around + 1, *inside), [&](unsigned i) { return type.getDimSize(i) != 1; })) {
      return false;
    }
  }
  return true;
}

constexpr int64_t enoughRows = 48;

// Takes further dims along while rows are few; dynamic ones only with `dynamic`, and where that costs no division.
void ContractPlan::addRows(nn::ContractOp op, ArrayRef<unsigned> candidates, bool dynamic) {
  auto addOne = [&] {
    SmallVector<unsigned> dims = rows();
    int64_t size = product(op, *this, dims);
    if (!ShapedType::isDynamic(size) && (size <= 1 || size >= enoughRows))
      return false;
    for (unsigned dim : candidates) {
      int64_t extent = staticExtent(op, *this, dim);
      if (llvm::is_contained(dims, dim) || extent == 1 || (ShapedType::isDynamic(extent) && !dynamic))
        continue;
      if (areOneDim(op, dim, dims.front())) {
        rowGroups.front().insert(rowGroups.front().begin(), dim);
        return true;
      }
      if (dynamic && areOneDim(op, dims.back(), dim)) {
        rowGroups.back().push_back(dim);
        return true;
      }
    }
    // An image's rows, if the result has them next to each other.
    int64_t inner = strideOf(op.getInit(), maps.back(), dims.back());
    for (unsigned dim : candidates)
      if (dims.size() == 1 && !ShapedType::isDynamic(size) && !ShapedType::isDynamic(inner) && dim != dims[0] &&
          staticExtent(op, *this, dim) > 1 && strideOf(op.getInit(), maps.back(), dim) == inner * size) {
        rowGroups.insert(rowGroups.begin(), {dim});
        return true;
      }
    return false;
  };
  while (addOne())
    ;
}

// Rows are the dim along which the destination is contiguous, if one is; else the longest. A dynamic one may be long (a
// sequence) or a batch of one, so it is taken only where the static ones are few: alone it may leave a tile almost
// empty.
void ContractPlan::chooseRows(nn::ContractOp op, ArrayRef<unsigned> candidates) {
  auto choose = [&](int64_t dynamicWeight) {
    auto weight = [&](unsigned dim) {
      int64_t extent = staticExtent(op, *this, dim);
      return ShapedType::isDynamic(extent) ? dynamicWeight : extent;
    };
    auto rank = [&](unsigned dim) {
      bool written = strideOf(op.getInit(), maps.back(), dim) == 1 && weight(dim) >= blockSide;
      return std::make_pair(written, weight(dim));
    };
    std::optional<unsigned> best;
    for (unsigned dim : candidates)
      if (!best || (rank(dim) >= rank(*best) && weight(dim) > 1))
        best = dim;
    rowGroups.clear();
    if (best)
      rowGroups.push_back({*best});
  };
  choose(/*dynamicWeight=*/1);
  addRows(op, candidates, /*dynamic=*/false);
  addRows(op, candidates, /*dynamic=*/true);
  int64_t size = product(op, *this, rows());
  if (!ShapedType::isDynamic(size) && size < blockSide && ShapedType::isDynamic(product(op, *this, candidates))) {
    choose(INT64_MAX);
    addRows(op, candidates, /*dynamic=*/true);
  }
}

FailureOr<ContractPlan> ContractPlan::of(nn::ContractOp op, const CpuTarget &target) {
  ContractPlan plan;
  plan.maps = op.getMaps();
  plan.packed = op.getPacked();
  TileShape shape = TileShape::of(target);
  for (Value operand : {op.getA(), op.getB()})
    if (Type type = typeOf(operand).getElementType(); !computesInF32(type))
      return op.emitOpError() << "is generated for operands of f32 and narrower floats only, not " << type;
  unsigned dims = op.getIteratorTypes().size();
  auto extent = [&](unsigned dim) { return staticExtent(op, plan, dim); };
  auto weight = [&](unsigned dim) { // dynamic extents count as large
    return ShapedType::isDynamic(extent(dim)) ? INT64_MAX : extent(dim);
  };
  SmallVector<unsigned> ms, ns, ks;
  for (unsigned dim = 0; dim < dims; ++dim) {
    bool inA = plan.maps[0].isFunctionOfDim(dim), inB = plan.maps[1].isFunctionOfDim(dim);
    if (cast<StringAttr>(op.getIteratorTypes()[dim]).getValue() == "reduction")
      ks.push_back(dim);
    else if (inA && !inB)
      ms.push_back(dim);
    else if (inB && !inA)
      ns.push_back(dim);
    else
      plan.outer.push_back(dim);
  }
  for (unsigned dim : ks)
    if (!plan.maps[0].isFunctionOfDim(dim) || !plan.maps[1].isFunctionOfDim(dim))
      return op.emitOpError("has a reduction dim that one operand lacks");
  plan.k = ks.front();
  for (unsigned dim : ks)
    if (weight(dim) > weight(plan.k))
      plan.k = dim;
  llvm::copy_if(ks, std::back_inserter(plan.taps), [&](unsigned dim) { return dim != plan.k; });
  if (plan.packed && ns.size() != 1)
    return op.emitOpError("reads a packed weight with other than one column dim");
  plan.chooseRows(op, ms);
  for (unsigned dim : ns) {
    bool better = !plan.n || (strideOf(op.getB(), plan.maps[1], dim) == 1 && weight(dim) >= 16) ||
                  (strideOf(op.getB(), plan.maps[1], *plan.n) != 1 && weight(dim) >= weight(*plan.n));
    if (better)
      plan.n = dim;
  }
  // Columns want to be contiguous in their operand; if only the other one's are, the operands change places.
  if (!plan.packed && plan.m() && plan.n && strideOf(op.getB(), plan.maps[1], *plan.n) != 1 &&
      strideOf(op.getA(), plan.maps[0], *plan.m()) == 1) {
    unsigned rows = *plan.n;
    plan.n = plan.m();
    plan.rowGroups = {{rows}};
    std::swap(plan.left, plan.right);
  }
  SmallVector<unsigned> rows = plan.rows();
  for (unsigned dim : llvm::concat<unsigned>(ms, ns))
    if (dim != plan.n && !llvm::is_contained(rows, dim))
      plan.outer.push_back(dim);
  llvm::sort(plan.outer);
  plan.sizeM = product(op, plan, rows);
  plan.sizeN = plan.n ? extent(*plan.n) : 1;
  plan.sizeK = extent(plan.k);
  plan.width = plan.packed ? typeOf(op.getB()).getDimSize(2) : shape.columns;
  if (plan.packed && plan.width % shape.columns != 0)
    return op.emitOpError() << "reads panels of width " << plan.width << ", which is no multiple of " << shape.columns;
  plan.contiguous = plan.n && strideOf(op->getOperand(plan.right), plan.maps[plan.right], *plan.n) == 1;
  bool whole = !ShapedType::isDynamic(plan.sizeN) && plan.sizeN % shape.columns == 0;
  bool last = plan.n && positionOf(plan.maps[plan.right], *plan.n) ==
                            static_cast<unsigned>(typeOf(op->getOperand(plan.right)).getRank() - 1);
  plan.copied = !plan.packed && !(plan.contiguous && whole && last);
  // 48 KiB of accumulators, or 24 KiB and 32 KiB of copied panel: with what is spilled, below 64 KiB of stack. Widened
  // rows have 6 KiB in half as long blocks.
  plan.widened = isNarrowFloat(typeOf(op->getOperand(plan.left)).getElementType());
  plan.block = plan.widened ? 128 : 256;
  plan.tileColumns = plan.copied ? kTileColumns / 2 : kTileColumns;
  plan.tileRows = kTileRows;
  if (plan.rowGroups.size() > 1) { // whole rows of an image
    int64_t inside = product(op, plan, ArrayRef(rows).drop_front(plan.rowGroups.front().size()));
    plan.tileRows = kTileRows / inside * inside;
  }
  // The operand that is read again and again should be the one that a cache holds: right's columns, if right is large.
  constexpr int64_t large = 2 << 20;
  plan.columnsOutside = !ShapedType::isDynamic(plan.sizeN) && !ShapedType::isDynamic(plan.sizeK) &&
                        plan.sizeN * plan.sizeK * 4 >= large &&
                        (ShapedType::isDynamic(plan.sizeM) || plan.sizeM <= plan.sizeN);
  if (!ShapedType::isDynamic(plan.sizeM))
    plan.tileRows = std::min(plan.tileRows, std::max<int64_t>(plan.sizeM, 1));
  return plan;
}
