// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace snug;

size_t Buckets::size() const {
  size_t count = 1;
  for (const auto &list : bounds)
    count *= list.size();
  return count;
}

llvm::SmallVector<int64_t> Buckets::boundsOf(size_t bucket) const {
  SmallVector<int64_t> result(bounds.size());
  for (size_t dim = bounds.size(); dim-- > 0; bucket /= bounds[dim].size())
    result[dim] = bounds[dim][bucket % bounds[dim].size()];
  return result;
}

std::optional<size_t> Buckets::next(size_t bucket, size_t dim) const {
  size_t stride = 1;
  for (size_t inner = dim + 1; inner < bounds.size(); ++inner)
    stride *= bounds[inner].size();
  bool isLast = bucket / stride % bounds[dim].size() + 1 == bounds[dim].size();
  return isLast ? std::nullopt : std::optional(bucket + stride);
}

std::optional<Buckets> Buckets::read(ModuleOp module) {
  auto attribute = module->getAttrOfType<DictionaryAttr>("snug.buckets");
  auto lists = attribute ? attribute.getAs<ArrayAttr>("bounds") : ArrayAttr();
  auto arenas = attribute ? attribute.getAs<DenseI64ArrayAttr>("arenas") : DenseI64ArrayAttr();
  if (!lists || !arenas)
    return std::nullopt;
  Buckets buckets;
  for (Attribute list : lists) {
    auto numbers = dyn_cast<DenseI64ArrayAttr>(list);
    if (!numbers || numbers.empty())
      return std::nullopt;
    buckets.bounds.emplace_back(numbers.asArrayRef());
  }
  buckets.arenas.assign(arenas.asArrayRef().begin(), arenas.asArrayRef().end());
  return buckets.arenas.size() == buckets.size() ? std::optional(buckets) : std::nullopt;
}

void Buckets::write(ModuleOp module) const {
  Builder builder(module.getContext());
  SmallVector<Attribute> lists;
  for (const auto &list : bounds)
    lists.push_back(builder.getDenseI64ArrayAttr(list));
  module->setAttr("snug.buckets",
                  builder.getDictionaryAttr({builder.getNamedAttr("bounds", builder.getArrayAttr(lists)),
                                             builder.getNamedAttr("arenas", builder.getDenseI64ArrayAttr(arenas))}));
}

std::optional<int64_t> snug::plannedOffset(Value byteShift, std::optional<size_t> bucket) {
  APInt constant;
  if (matchPattern(byteShift, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  auto op = byteShift.getDefiningOp<plan::OffsetOp>();
  if (!op || op.getOffsets().empty() || bucket.value_or(0) >= op.getOffsets().size())
    return std::nullopt;
  return bucket ? op.getOffsets()[*bucket] : op.getOffsets().back();
}
