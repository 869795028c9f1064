// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Pins.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace snug;

std::optional<TensorLayout> snug::layoutAlong(ArrayRef<int64_t> dims, RankedTensorType type, const MeshExtents &mesh, std::string &why) {
  TensorLayout layout;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    int64_t dim = dims[axis];
    if (dim == -1 || dim == kWholeAlong || mesh[axis] <= 1)
      continue;
    std::string name = "dim " + std::to_string(dim);
    if (!type.getElementType().isIntOrFloat()) {
      why = "it holds strings";
      return std::nullopt;
    }
    if (dim < 0 || dim >= type.getRank()) {
      why = "it has no " + name;
      return std::nullopt;
    }
    if (type.isDynamicDim(dim)) {
      why = name + " is open, and only dims of one extent are cut";
      return std::nullopt;
    }
    layout[axis] = AxisLayout::cut(dim, {type.getDimSize(dim)});
    int64_t parts = axis == 1 && dims[0] == dim ? mesh[0] * mesh[1] : mesh[axis];
    if (type.getDimSize(dim) == 0 || type.getDimSize(dim) % parts != 0) {
      why = "the " + std::to_string(type.getDimSize(dim)) + " of " + name + " do not divide by " + std::to_string(parts);
      return std::nullopt;
    }
  }
  return layout;
}

bool snug::isPinnedTo(const TensorLayout &layout, const PinnedDims &dims, const MeshExtents &mesh) {
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (dims[axis] >= 0 && mesh[axis] > 1 && (layout[axis].kind != AxisLayout::Cut || layout[axis].dim != dims[axis]))
      return false;
    else if (dims[axis] == kWholeAlong && layout[axis].kind != AxisLayout::Whole)
      return false;
  return true;
}

static std::optional<PinnedDims> readPin(Attribute attribute) {
  auto dims = dyn_cast_or_null<DenseI64ArrayAttr>(attribute);
  if (!dims || dims.size() != kMeshAxes)
    return std::nullopt;
  return PinnedDims{dims[0], dims[1]};
}

// Where the dim is after a step of a recipe, or nothing where it is none any more. Panels count by what they are made of.
static std::optional<int64_t> afterStep(Attribute step, int64_t dim, SmallVector<int64_t> &shape) {
  if (auto transpose = dyn_cast<nn::RecipeTransposeAttr>(step)) {
    SmallVector<int64_t> permuted;
    for (int64_t source : transpose.getPermutation())
      permuted.push_back(shape[source]);
    shape = permuted;
    return llvm::find(transpose.getPermutation(), dim) - transpose.getPermutation().begin();
  }
  if (auto slice = dyn_cast<nn::RecipeSliceAttr>(step)) {
    bool isWhole = slice.getSizes()[dim] == shape[dim];
    shape.assign(slice.getSizes().begin(), slice.getSizes().end());
    return isWhole ? std::optional(dim) : std::nullopt;
  }
  if (auto reshape = dyn_cast<nn::RecipeReshapeAttr>(step)) {
    int64_t extent = shape[dim], before = 1, outer = 1;
    for (int64_t i = 0; i < dim; ++i)
      before *= shape[i];
    shape.assign(reshape.getShape().begin(), reshape.getShape().end());
    for (auto [i, size] : llvm::enumerate(shape)) {
      if (outer == before && size == extent)
        return i;
      outer *= size;
    }
    return std::nullopt;
  }
  return dim;
}

// Of the weight as it is read. Nothing where a dim is not among its own.
static std::optional<PinnedDims> asRead(nn::WeightOp weight, ArrayRef<int64_t> dataShape, PinnedDims dims) {
  for (int64_t &dim : dims) {
    SmallVector<int64_t> shape(dataShape);
    for (Attribute step : weight.getRecipe()) {
      if (dim < 0)
        break;
      auto next = afterStep(step, dim, shape);
      if (!next)
        return std::nullopt;
      dim = *next;
    }
  }
  return dims;
}

static std::string alongText(const PinnedDims &dims) {
  std::string text;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (dims[axis] >= 0)
      text += (text.empty() ? "dim " : " and dim ") + std::to_string(dims[axis]) + " along axis " + std::to_string(axis);
  return text;
}

std::string snug::pinProblem(ModuleOp module, const MeshExtents &mesh) {
  std::string problem;
  auto check = [&](const Twine &what, Attribute attribute, Type type) {
    if (!attribute || !problem.empty())
      return false;
    auto tensor = dyn_cast<RankedTensorType>(type);
    std::optional<PinnedDims> dims = readPin(attribute);
    std::string why = "it is no tensor", shape;
    if (!dims) {
      problem = (what + " has a pin that is no array of two dims, as array<i64: 1, -1>").str();
      return false;
    }
    if (tensor && layoutAlong(*dims, tensor, mesh, why))
      return true;
    for (int64_t extent : tensor ? tensor.getShape() : ArrayRef<int64_t>())
      shape += (shape.empty() ? "" : "x") + (ShapedType::isDynamic(extent) ? std::string("?") : std::to_string(extent));
    problem = (what + (shape.empty() ? "" : " of shape ") + shape + " cannot be in parts of " + alongText(*dims) + " on " + Twine(mesh[0]) + "x" +
               Twine(mesh[1]) + " devices: " + why)
                  .str();
    return false;
  };
  auto checkIsCut = [&](const std::string &what, func::FuncOp function) {
    if (problem.empty() && function && !function.getBody().hasOneBlock())
      problem = what + " cannot be in parts: its function has control flow between blocks, and is not cut";
  };
  auto nameOf = [](DictionaryAttr attributes, const Twine &other) {
    auto name = attributes ? attributes.getAs<StringAttr>("snug.name") : StringAttr();
    return "'" + (name ? name.str() : other.str()) + "'";
  };
  if (auto name = module->getAttrOfType<StringAttr>(kPinnedSizes))
    return "'" + name.str() + "' cannot be in parts: it holds integers that are known, or from which sizes are computed, when the model is compiled";
  llvm::StringMap<std::pair<nn::DataOp, PinnedDims>> data;
  module.walk([&](Operation *op) {
    if (auto function = dyn_cast<func::FuncOp>(op)) {
      for (auto [i, type] : llvm::enumerate(function.getArgumentTypes())) {
        std::string name = nameOf(function.getArgAttrDict(i), "argument " + Twine(i));
        if (check(name, function.getArgAttr(i, kPin), type) && function.getArgAttr(i, kValueDims))
          problem = name + " cannot be in parts: sizes are read from it";
        else if (function.getArgAttr(i, kPin))
          checkIsCut(name, function);
      }
      for (auto [i, type] : llvm::enumerate(function.getResultTypes())) {
        std::string name = nameOf(function.getResultAttrDict(i), "result " + Twine(i));
        if (check(name, function.getResultAttr(i, kPin), type))
          checkIsCut(name, function);
      }
    } else if (auto pin = dyn_cast<mesh::PinOp>(op)) {
      auto name = dyn_cast<NameLoc>(op->getLoc());
      std::string what = name ? "'" + name.getName().str() + "'" : "a value";
      if (check(what, pin.getDimsAttr(), pin.getType()) && !isa<func::FuncOp>(op->getParentOp()))
        problem = what + " cannot be in parts: it is in a loop or branch, which each device does as a whole";
      else
        checkIsCut(what, pin->getParentOfType<func::FuncOp>());
    } else if (auto constant = dyn_cast<nn::DataOp>(op); constant && constant->hasAttr(kPin)) {
      StringRef name = constant.getSymName();
      name.consume_front("weight_");
      if (check("'" + name + "'", constant->getAttr(kPin), constant.getType()))
        data[constant.getSymName()] = {constant, *readPin(constant->getAttr(kPin))};
    }
  });
  module.walk([&](nn::WeightOp weight) {
    auto pinned = data.find(weight.getData());
    if (pinned == data.end() || !problem.empty())
      return;
    auto [constant, dims] = pinned->second;
    StringRef name = constant.getSymName();
    name.consume_front("weight_");
    if (!asRead(weight, cast<ShapedType>(constant.getType()).getShape(), dims))
      problem = "'" + name.str() + "' cannot be in parts of " + alongText(dims) + ": it is read in another shape, which has no such dim";
    else
      checkIsCut("'" + name.str() + "'", weight->getParentOfType<func::FuncOp>());
  });
  return problem;
}

Pins::Pins(ModuleOp module) {
  for (auto constant : module.getOps<nn::DataOp>())
    if (std::optional<PinnedDims> dims = readPin(constant->getAttr(kPin)))
      data[constant.getSymName()] = *dims;
  for (auto constant : module.getOps<nn::DataOp>())
    if (data.count(constant.getSymName()))
      shapes[constant.getSymName()] = llvm::to_vector(cast<ShapedType>(constant.getType()).getShape());
}

std::optional<PinnedDims> Pins::ofWeight(nn::WeightOp weight) const {
  auto found = data.find(weight.getData());
  return found == data.end() ? std::nullopt : asRead(weight, shapes.find(weight.getData())->second, found->second);
}

std::vector<KnownLayout> Pins::known(Block &block, const MeshExtents &mesh) const {
  std::vector<KnownLayout> values;
  auto note = [&](Value value, const PinnedDims &dims) {
    std::string why;
    if (auto layout = layoutAlong(dims, cast<RankedTensorType>(value.getType()), mesh, why))
      for (const AxisLayout &along : *layout)
        if (along.kind == AxisLayout::Cut)
          values.push_back({value, along});
  };
  for (Operation &op : block)
    if (auto pin = dyn_cast<mesh::PinOp>(op))
      note(pin.getInput(), {pin.getDims()[0], pin.getDims()[1]});
    else if (auto weight = dyn_cast<nn::WeightOp>(op))
      if (auto dims = ofWeight(weight); dims && (weight.getRecipe().empty() || !isa<nn::RecipePackAttr>(weight.getRecipe().getValue().back())))
        note(weight, *dims); // of panels it is contractions that know how they can be cut
  return values;
}
