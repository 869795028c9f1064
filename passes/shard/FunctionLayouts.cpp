// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/FunctionLayouts.h"
#include "dialects/nn/ScatterOp.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace snug;

FailureOr<TensorLayout> snug::readLayout(Operation *op, Attribute attribute, RankedTensorType type, const MeshExtents &mesh) {
  if (!attribute)
    return TensorLayout();
  auto dims = dyn_cast<DenseI64ArrayAttr>(attribute);
  std::string why = "it is no array of two dims, as array<i64: 1, -1>";
  std::optional<TensorLayout> layout = dims && dims.size() == kMeshAxes ? layoutAlong(dims, type, mesh, why) : std::nullopt;
  if (!layout)
    return op->emitError() << "a tensor " << type << " cannot lie as " << attribute << " says on " << mesh[0] << "x" << mesh[1]
                           << " devices: " << why;
  return *layout;
}

Attribute snug::layoutAttribute(MLIRContext *context, const TensorLayout &layout) {
  std::array<int64_t, kMeshAxes> dims;
  bool isWhole = true;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    dims[axis] = layout[axis].kind == AxisLayout::Cut ? layout[axis].dim : -1;
    isWhole &= dims[axis] == -1;
  }
  return isWhole ? Attribute() : DenseI64ArrayAttr::get(context, dims);
}

// Values that are in this one as they are, along dims of which both have all.
static SmallVector<Value> heldIn(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto insert = dyn_cast_or_null<tensor::InsertSliceOp>(op))
    return {insert.getSource(), insert.getDest()};
  if (auto concat = dyn_cast_or_null<tensor::ConcatOp>(op))
    return SmallVector<Value>(concat.getInputs());
  if (auto slice = dyn_cast_or_null<tensor::ExtractSliceOp>(op)) // a cache that forgets what is oldest
    return {slice.getSource()};
  if (auto cast = dyn_cast_or_null<tensor::CastOp>(op))
    return {cast.getSource()};
  if (auto scatter = dyn_cast_or_null<nn::ScatterOp>(op)) // written into, wherever the data says
    return {scatter.getInit()};
  SmallVector<Value> held;
  if (auto kernel = dyn_cast_or_null<nn::ScalarKernelOp>(op); kernel && kernel.getIns().size() > 1)
    for (int64_t number : kernel.getOverwrites()) // a cache
      if (value == kernel->getResult(0))
        held.push_back(kernel->getOperand(number));
  return held;
}

// Whether one has more elements, where open dims have more than any other.
static bool isLarger(BlockArgument one, BlockArgument other) {
  auto size = [](BlockArgument argument) {
    auto type = cast<RankedTensorType>(argument.getType());
    double elements = 1;
    for (int64_t extent : type.getShape())
      elements *= ShapedType::isDynamic(extent) ? 1e6 : static_cast<double>(extent);
    return elements;
  };
  return size(one) > size(other);
}

// The argument of the block that the value holds, with its rank and elements; of several the largest, as what grows is larger
// than what it grows by.
static BlockArgument argumentIn(Value value, Block &block) {
  llvm::SmallSetVector<Value, 8> seen;
  seen.insert(value);
  auto type = cast<RankedTensorType>(value.getType());
  BlockArgument found;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (auto argument = dyn_cast<BlockArgument>(seen[i]); argument && argument.getOwner() == &block && (!found || isLarger(argument, found)))
      found = argument;
    for (Value held : heldIn(seen[i]))
      if (auto own = dyn_cast<RankedTensorType>(held.getType());
          own && own.getRank() == type.getRank() && own.getElementType() == type.getElementType())
        seen.insert(held);
  }
  return found;
}

// In all ways that both can lie in; whole first, which is taken where nothing speaks for another.
static std::vector<TensorLayout> layoutsOfBoth(RankedTensorType before, RankedTensorType after, const MeshExtents &mesh) {
  std::vector<TensorLayout> all;
  std::string why;
  for (int64_t first = -1; first < (mesh[0] > 1 ? before.getRank() : 0); ++first)
    for (int64_t second = -1; second < (mesh[1] > 1 ? before.getRank() : 0); ++second) {
      auto layout = layoutAlong({first, second}, before, mesh, why), other = layoutAlong({first, second}, after, mesh, why);
      if (layout && other && *layout == *other)
        all.push_back(*layout);
    }
  return all;
}

FunctionLayouts FunctionLayouts::of(func::FuncOp function, const MeshExtents &mesh) {
  FunctionLayouts all;
  Block &block = function.front();
  Operation *terminator = block.getTerminator();
  all.arguments.assign(function.getNumArguments(), 0);
  all.results.assign(function.getNumResults(), 0);
  auto pin = [&](Attribute attribute, Type type, unsigned &choice) {
    std::string why;
    if (!attribute)
      return;
    choice = all.choices.size();
    all.choices.push_back({*layoutAlong(cast<DenseI64ArrayAttr>(attribute), cast<RankedTensorType>(type), mesh, why)});
  };
  for (auto [i, choice] : llvm::enumerate(all.arguments))
    pin(function.getArgAttr(i, kPin), function.getArgumentTypes()[i], choice);
  for (auto [i, choice] : llvm::enumerate(all.results))
    pin(function.getResultAttr(i, kPin), function.getResultTypes()[i], choice);
  for (auto [i, choice] : llvm::enumerate(all.results)) {
    Value value = terminator->getOperand(i);
    // What is handed on as it was is no state of a program.
    bool isMade = isa<RankedTensorType>(value.getType()) && !isa<BlockArgument>(value);
    BlockArgument argument = isMade ? argumentIn(value, block) : BlockArgument();
    if (!argument)
      continue;
    unsigned &before = all.arguments[argument.getArgNumber()];
    std::vector<TensorLayout> layouts = layoutsOfBoth(cast<RankedTensorType>(argument.getType()), cast<RankedTensorType>(value.getType()), mesh);
    if (before && choice)
      continue; // each has its pin
    // Whoever has a choice already, by a pin or from another result, has it for both as far as the other can lie so.
    if (unsigned known = before ? before : choice) {
      std::vector<TensorLayout> &open = all.choices[known];
      std::vector<TensorLayout> common;
      llvm::copy_if(open, std::back_inserter(common), [&](const TensorLayout &one) { return llvm::is_contained(layouts, one); });
      if (common.empty())
        continue;
      open = std::move(common);
      before = choice = known;
    } else if (layouts.size() > 1) {
      before = choice = all.choices.size();
      all.choices.push_back(std::move(layouts));
    }
  }
  return all;
}

std::vector<KnownLayout> FunctionLayouts::known(func::FuncOp function) const {
  std::vector<KnownLayout> values;
  auto note = [&](Value value, unsigned choice) {
    for (const AxisLayout &layout : choices[choice].front())
      if (choices[choice].size() == 1 && layout.kind == AxisLayout::Cut)
        values.push_back({value, layout});
  };
  Block &block = function.front();
  for (auto [i, choice] : llvm::enumerate(arguments))
    note(block.getArgument(i), choice);
  for (auto [i, choice] : llvm::enumerate(results))
    note(block.getTerminator()->getOperand(i), choice);
  return values;
}

void FunctionLayouts::write(func::FuncOp function, ArrayRef<unsigned> states) const {
  auto of = [&](unsigned choice) { return layoutAttribute(function.getContext(), choices[choice][states[choice]]); };
  for (auto [i, choice] : llvm::enumerate(arguments)) {
    function.removeArgAttr(i, kLayout);
    if (Attribute layout = of(choice))
      function.setArgAttr(i, kLayout, layout);
  }
  for (auto [i, choice] : llvm::enumerate(results)) {
    function.removeResultAttr(i, StringAttr::get(function.getContext(), kLayout));
    if (Attribute layout = of(choice))
      function.setResultAttr(i, kLayout, layout);
  }
}
