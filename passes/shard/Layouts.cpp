// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Layouts.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Shard/IR/ShardDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include <numeric>

using namespace mlir;
using namespace snug;

void snug::registerShardDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect, linalg::LinalgDialect, math::MathDialect, tensor::TensorDialect,
                  shard::ShardDialect>();
  registerNnDialect(registry);
  registerMeshDialect(registry);
  registerIndexRuleModels(registry);
}

FailureOr<MeshExtents> snug::readMesh(ModuleOp module) {
  FailureOr<std::optional<Mesh>> mesh = Mesh::of(module);
  if (failed(mesh))
    return module.emitError() << kMesh << " is no array of two extents of at least 1, as array<i64: 2, 4>";
  return *mesh ? (*mesh)->extents : MeshExtents{1, 1};
}

FailureOr<OpCuts> snug::readCuts(Operation *op, const ShardRule &rule, const MeshExtents &mesh) {
  OpCuts cuts;
  Attribute attribute = op->getAttr(kCuts);
  if (!attribute)
    return cuts;
  auto list = dyn_cast<ArrayAttr>(attribute);
  auto wrong = [&](const Twine &why) { return op->emitError() << kCuts << " " << why; };
  if (!list)
    return wrong("is no array");
  for (Attribute element : list) {
    auto cut = dyn_cast<DictionaryAttr>(element);
    auto axis = cut ? cut.getAs<IntegerAttr>("axis") : nullptr, dim = cut ? cut.getAs<IntegerAttr>("dim") : nullptr;
    auto segments = cut ? cut.getAs<DenseI64ArrayAttr>("segments") : nullptr;
    if (!axis || !dim || !segments || axis.getInt() < 0 || axis.getInt() >= kMeshAxes || dim.getInt() < 0)
      return wrong("has an entry that is none: {axis = 0, dim = 2, segments = array<i64: 64, 64>}");
    IterationCut one{static_cast<unsigned>(dim.getInt()), segments.asArrayRef().vec(), cut.contains("ring")};
    if (!rule.allows(one))
      return wrong("cuts dim " + Twine(dim.getInt()) + ", which cannot be cut so");
    if (cuts[axis.getInt()])
      return wrong("cuts along axis " + Twine(axis.getInt()) + " twice");
    if (mesh[axis.getInt()] > 1)
      cuts[axis.getInt()] = one;
  }
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    if (!operandLayout(rule, i, cuts, mesh))
      return wrong("needs a part of operand " + Twine(i) + " that cannot be had");
  for (unsigned i = 0; i < op->getNumResults(); ++i)
    if (!resultLayout(rule, i, cuts, mesh))
      return wrong("gives a part of result " + Twine(i) + " that cannot be");
  return cuts;
}

void snug::writeCuts(Operation *op, const OpCuts &cuts) {
  Builder b(op->getContext());
  SmallVector<Attribute> list;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis]) {
      NamedAttrList cut;
      cut.append("axis", b.getI64IntegerAttr(axis));
      cut.append("dim", b.getI64IntegerAttr(cuts[axis]->dim));
      cut.append("segments", b.getDenseI64ArrayAttr(cuts[axis]->segments));
      if (cuts[axis]->isRing)
        cut.append("ring", b.getUnitAttr());
      list.push_back(cut.getDictionary(op->getContext()));
    }
  op->removeAttr(kCuts);
  if (!list.empty())
    op->setAttr(kCuts, b.getArrayAttr(list));
}

Attribute snug::sharedAttribute(MLIRContext *context, const TensorLayout &layout) {
  Builder b(context);
  SmallVector<Attribute> axes;
  for (const AxisLayout &axis : layout)
    if (axis.kind == AxisLayout::Cut)
      axes.push_back(b.getDictionaryAttr({b.getNamedAttr("dim", b.getI64IntegerAttr(axis.dim)),
                                          b.getNamedAttr("segments", b.getDenseI64ArrayAttr(axis.segments))}));
    else
      axes.push_back(b.getStringAttr(axis.kind == AxisLayout::Partial ? "partial" : "whole"));
  return b.getArrayAttr(axes);
}

std::optional<TensorLayout> snug::readShared(Attribute attribute, RankedTensorType type, const MeshExtents &mesh) {
  auto axes = dyn_cast_or_null<ArrayAttr>(attribute);
  if (!axes || axes.size() != kMeshAxes)
    return std::nullopt;
  TensorLayout layout;
  for (auto [axis, one] : llvm::zip_equal(layout, axes)) {
    auto word = dyn_cast<StringAttr>(one);
    auto cut = dyn_cast<DictionaryAttr>(one);
    auto dim = cut ? cut.getAs<IntegerAttr>("dim") : nullptr;
    auto segments = cut ? cut.getAs<DenseI64ArrayAttr>("segments") : nullptr;
    if (word && (word.getValue() == "whole" || word.getValue() == "partial")) {
      axis.kind = word.getValue() == "whole" ? AxisLayout::Whole : AxisLayout::Partial;
      continue;
    }
    if (!dim || !segments || dim.getInt() < 0 || dim.getInt() >= type.getRank())
      return std::nullopt;
    axis = AxisLayout::cut(dim.getInt(), segments.asArrayRef().vec());
    int64_t length = std::accumulate(axis.segments.begin(), axis.segments.end(), int64_t(0)), extent = type.getDimSize(dim.getInt());
    if (ShapedType::isDynamic(extent) ? axis.segments != std::vector<int64_t>{AxisLayout::kOpen} : length != extent)
      return std::nullopt;
  }
  return isLayout(layout, mesh) ? std::optional(layout) : std::nullopt;
}

std::pair<Value, int64_t> snug::tensorOf(Operation *op, const ShardRule &rule, const IterationCut &cut) {
  for (OpResult result : op->getResults())
    if (auto layout = rule.resultLayout(result.getResultNumber(), cut); layout && layout->kind == AxisLayout::Cut)
      return {result, layout->dim};
  for (OpOperand &operand : op->getOpOperands())
    if (auto layout = rule.operandLayout(operand.getOperandNumber(), cut); layout && layout->kind == AxisLayout::Cut)
      return {operand.get(), layout->dim};
  return {};
}

template <class Read>
static std::optional<TensorLayout> layoutOf(const ShardRule &rule, const OpCuts &cuts, const MeshExtents &mesh, Read read) {
  TensorLayout layout;
  // Two axes that cut one dim do it alike, and a dim of iterations is cut by its number of parts.
  if (cuts[0] && cuts[1] && cuts[0]->dim == cuts[1]->dim && cuts[0]->segments != cuts[1]->segments)
    return std::nullopt;
  // Keys go round, or each device attends to its own.
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (cuts[axis] && cuts[1 - axis] && cuts[axis]->isRing && rule.isKeys(cuts[1 - axis]->dim))
      return std::nullopt;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    bool isNested = cuts[0] && cuts[1] && cuts[0]->dim == cuts[1]->dim;
    if (isFilled(AxisLayout::cut(0, cuts[axis]->segments), axis, mesh)) {
      if (!rule.mayBeFilled(cuts[axis]->dim))
        return std::nullopt;
    } else {
      for (int64_t length : cuts[axis]->segments)
        if (length % (isNested ? mesh[0] * mesh[1] : mesh[axis]) != 0)
          return std::nullopt;
    }
    std::optional<AxisLayout> one = read(*cuts[axis]);
    if (!one)
      return std::nullopt;
    layout[axis] = *one;
  }
  return isLayout(layout, mesh) ? std::optional(layout) : std::nullopt;
}

std::optional<TensorLayout> snug::operandLayout(const ShardRule &rule, unsigned operand, const OpCuts &cuts, const MeshExtents &mesh) {
  return layoutOf(rule, cuts, mesh, [&](const IterationCut &cut) { return rule.operandLayout(operand, cut); });
}

std::optional<TensorLayout> snug::resultLayout(const ShardRule &rule, unsigned result, const OpCuts &cuts, const MeshExtents &mesh) {
  return layoutOf(rule, cuts, mesh, [&](const IterationCut &cut) { return rule.resultLayout(result, cut); });
}
