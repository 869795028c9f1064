// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The program of one device, made op by op beside that of all: each op on its local operands, each value in the layouts that
// somebody wants.
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/shard/FunctionLayouts.h"
#include "passes/shard/Layouts.h"
#include "passes/shard/LocalOps.h"
#include "passes/shard/OpenExtents.h"
#include "passes/shard/Passes.h"
#include "passes/shard/Resharding.h"
#include <numeric>

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_PARTITION
#include "passes/shard/Passes.h.inc"
} // namespace snug

namespace {
constexpr llvm::StringLiteral kDims = "snug.dims"; // of arguments and results

bool isTensor(Value value) { return isa<RankedTensorType>(value.getType()); }

class Partitioner {
public:
  Partitioner(func::FuncOp function, const MeshExtents &mesh)
      : function(function), block(function.front()), b(function.getContext()), mesh(mesh), bounds(function->getParentOfType<ModuleOp>()) {}

  LogicalResult run() {
    readExtents();
    SmallVector<Operation *> ops;
    for (Operation &op : block)
      ops.push_back(&op);
    // All is read before anything is changed.
    for (Operation *op : ops)
      rules.try_emplace(op, ShardRule::of(op));
    if (failed(readEnds()))
      return failure();
    for (Operation *op : ops) {
      b.setInsertionPoint(op);
      if (failed(partition(op)))
        return failure();
    }
    for (Operation *op : llvm::reverse(ops))
      if (done.contains(op) && op->use_empty())
        op->erase();
    writeEnds();
    return success();
  }

private:
  struct Version {
    TensorLayout layout;
    Value local;
  };

  // One value for the extent of each open dim, the same as far as it can be known.
  void readExtents() {
    sayExtents(block);
    auto share = [&](Value value, Attribute attribute) {
      if (auto type = dyn_cast<RankedTensorType>(value.getType()))
        if (std::optional<TensorLayout> layout = readShared(attribute, type, mesh))
          shared[value] = *layout;
    };
    for (BlockArgument argument : block.getArguments()) {
      share(argument, function.getArgAttr(argument.getArgNumber(), kShared));
      function.removeArgAttr(argument.getArgNumber(), kShared);
    }
    for (Operation &op : block) {
      if (auto layouts = op.getAttrOfType<ArrayAttr>(kShared); layouts && layouts.size() == op.getNumResults())
        for (auto [result, layout] : llvm::zip_equal(op.getResults(), layouts))
          share(result, layout);
      op.removeAttr(kShared);
    }
    auto note = [&](Value value) {
      if (auto type = dyn_cast<RankedTensorType>(value.getType()))
        for (int64_t dim = 0; dim < type.getRank(); ++dim)
          extents[value].push_back(extentOf(value, dim));
    };
    llvm::for_each(block.getArguments(), note);
    for (Operation &op : block)
      llvm::for_each(op.getResults(), note);
  }

  // Arguments keep their types until nothing reads them as a whole any more.
  LogicalResult readEnds() {
    b.setInsertionPointToStart(&block);
    for (BlockArgument argument : block.getArguments()) {
      auto type = dyn_cast<RankedTensorType>(argument.getType());
      if (!type)
        continue;
      auto layout = readLayout(function, function.getArgAttr(argument.getArgNumber(), kLayout), type, mesh);
      if (failed(layout))
        return failure();
      Value local = argument;
      if (*layout != TensorLayout())
        local = UnrealizedConversionCastOp::create(b, argument.getLoc(), localType(type, *layout, mesh), local).getResult(0);
      versions[argument].push_back({*layout, local});
    }
    for (auto [i, type] : llvm::enumerate(function.getResultTypes())) {
      returned.emplace_back();
      if (!isa<RankedTensorType>(type))
        continue;
      auto layout = readLayout(function, function.getResultAttr(i, kLayout), cast<RankedTensorType>(type), mesh);
      if (failed(layout))
        return failure();
      returned.back() = *layout;
    }
    return success();
  }

  void writeEnds() {
    // What the dims of an argument or result are said to be: of those that are cut, a number.
    auto localDims = [&](Attribute dims, Type type) -> Attribute {
      auto texts = dyn_cast_or_null<ArrayAttr>(dims);
      auto tensor = dyn_cast<RankedTensorType>(type);
      if (!texts || !tensor || static_cast<int64_t>(texts.size()) != tensor.getRank())
        return dims;
      SmallVector<Attribute> local(texts.begin(), texts.end());
      for (auto [dim, text] : llvm::enumerate(local))
        if (!tensor.isDynamicDim(dim))
          text = b.getStringAttr(std::to_string(tensor.getDimSize(dim)));
      return b.getArrayAttr(local);
    };
    for (BlockArgument argument : block.getArguments()) {
      if (!versions.count(argument))
        continue;
      Value local = versions[argument].front().local;
      if (local == argument)
        continue;
      Operation *cast = local.getDefiningOp();
      local.replaceAllUsesWith(argument);
      argument.setType(local.getType());
      cast->erase();
      if (Attribute dims = localDims(function.getArgAttr(argument.getArgNumber(), kDims), argument.getType()))
        function.setArgAttr(argument.getArgNumber(), kDims, dims);
    }
    Operation *terminator = block.getTerminator();
    for (auto [i, layout] : llvm::enumerate(returned))
      if (layout != TensorLayout())
        if (Attribute dims = localDims(function.getResultAttr(i, kDims), terminator->getOperand(i).getType()))
          function.setResultAttr(i, kDims, dims);
    function.setType(b.getFunctionType(block.getArgumentTypes(), llvm::to_vector(terminator->getOperandTypes())));
  }

  // Extents are those of the whole. Whether that is known without it.
  bool partitionDim(tensor::DimOp op, int64_t dim) {
    auto type = cast<RankedTensorType>(op.getSource().getType());
    if (dim < 0 || dim >= type.getRank())
      return false;
    if (!type.isDynamicDim(dim)) {
      op.replaceAllUsesWith(arith::ConstantIndexOp::create(b, op.getLoc(), type.getDimSize(dim)).getResult());
    } else if (isa<BlockArgument>(op.getSource())) { // no argument is cut along an open dim
      op.getSourceMutable().set(versions[op.getSource()].front().local);
      return true;
    } else {
      auto extent = dyn_cast_if_present<Value>(extents.find(op.getSource())->second[dim]);
      if (!extent || extent == op.getResult())
        return false;
      op.replaceAllUsesWith(extent);
    }
    done.insert(op);
    return true;
  }

  LogicalResult partition(Operation *op) {
    if (op == block.getTerminator()) {
      for (auto [operand, layout] : llvm::zip_equal(op->getOpOperands(), returned))
        if (versions.count(operand.get()) || isConstant(operand.get()))
          operand.set(version(operand.get(), layout));
      return success();
    }
    if (isa<nn::WeightOp, tensor::EmptyOp>(op)) { // made where they are read
      done.insert(op);
      return success();
    }
    if (auto dim = dyn_cast<tensor::DimOp>(op); dim && dim.getConstantIndex() && isTensor(dim.getSource()))
      if (partitionDim(dim, *dim.getConstantIndex()))
        return success();
    if (llvm::none_of(op->getResults(), isTensor)) {
      readWhole(op);
      return success();
    }
    const ShardRule &rule = rules.find(op)->second;
    FailureOr<OpCuts> cuts = readCuts(op, rule, mesh);
    if (failed(cuts))
      return failure();
    op->removeAttr(kCuts);
    if (auto pin = dyn_cast<mesh::PinOp>(op); pin && !isPinnedTo(*resultLayout(rule, 0, *cuts, mesh), {pin.getDims()[0], pin.getDims()[1]}, mesh))
      return pin.emitOpError() << "has no " << kCuts << " that keep it: run snug-select-layouts first";
    if (!(*cuts)[0] && !(*cuts)[1] && !isa<mesh::PinOp>(op)) {
      readWhole(op);
      for (Value result : op->getResults())
        if (isTensor(result))
          versions[result].push_back({TensorLayout(), result});
      return success();
    }
    SmallVector<TensorLayout> results;
    SmallVector<Type> types;
    for (OpResult result : op->getResults()) {
      results.push_back(*resultLayout(rule, result.getResultNumber(), *cuts, mesh));
      types.push_back(localType(cast<RankedTensorType>(result.getType()), results.back(), mesh));
    }
    SmallVector<Value> operands;
    for (OpOperand &operand : op->getOpOperands())
      operands.push_back(isTensor(operand.get())
                             ? version(operand.get(), *operandLayout(rule, operand.getOperandNumber(), *cuts, mesh))
                             : operand.get());
    SmallVector<Value> local = LocalOps(b, mesh, extents).make(op, rule, *cuts, types, operands);
    done.insert(op);
    for (auto [result, layout, made] : llvm::zip_equal(op->getResults(), results, local))
      versions[result].push_back({layout, made});
    return success();
  }

  // An op that each device does as it is, and its bodies.
  void readWhole(Operation *op) {
    int64_t gathered = 0; // bytes, for the largest dims
    auto localize = [&](OpOperand &operand) {
      if (!versions.count(operand.get()) && !isConstant(operand.get()))
        return;
      size_t before = numGathered;
      Value whole = version(operand.get(), TensorLayout());
      gathered += numGathered > before ? tensorBytes(operand.get(), bounds).value_or(0) : 0;
      operand.set(whole);
    };
    size_t before = numGathered;
    for (OpOperand &operand : op->getOpOperands())
      localize(operand);
    op->walk([&](Operation *inner) {
      for (OpOperand &operand : inner->getOpOperands())
        if (inner != op && operand.get().getParentBlock() == &block)
          localize(operand);
    });
    if (numGathered > before && !isa<IndexRuleOpInterface>(op))
      op->emitWarning() << "'" << op->getName() << "' cannot be cut: " << gathered << " bytes that it reads are brought together on each device";
  }

  static bool isConstant(Value value) { return value.getDefiningOp<nn::WeightOp>() || value.getDefiningOp<tensor::EmptyOp>(); }

  Value version(Value value, const TensorLayout &layout) {
    if (auto weight = value.getDefiningOp<nn::WeightOp>())
      return localWeight(weight, layout);
    if (auto empty = value.getDefiningOp<tensor::EmptyOp>()) {
      SmallVector<OpFoldResult> sizes = empty.getMixedSizes();
      for (auto [dim, size] : llvm::enumerate(sizes))
        size = localExtent(b, empty.getLoc(), size, dim, layout, mesh);
      return tensor::EmptyOp::create(b, empty.getLoc(), sizes, empty.getType().getElementType());
    }
    auto isLayout = [&](const Version &one) { return one.layout == layout; };
    if (auto found = shared.find(value); found != shared.end() && found->second != layout && llvm::none_of(versions[value], isLayout)) {
      TensorLayout first = found->second; // from there on, as everybody else
      shared.erase(found);
      Version from{first, version(value, first)};
      shared[value] = first;
      Value local = reshard(b, value.getLoc(), from.local, extents[value], from.layout, layout, mesh);
      ++numGathered;
      versions[value].push_back({layout, local});
      return local;
    }
    SmallVector<Version> &known = versions[value];
    // From what takes the least, counting a collective as what it moves of the tensor.
    auto effort = [&](const Version &from) {
      double sum = 0;
      TensorLayout now = from.layout;
      std::vector<ReshardStep> steps = planResharding(now, layout, mesh);
      for (const ReshardStep &step : steps) {
        double before = shareOf(now, mesh);
        now = after(now, step);
        bool isSum = step.kind == ReshardStep::AllReduce || step.kind == ReshardStep::AllReduceBoth;
        if (step.kind != ReshardStep::Slice && step.kind != ReshardStep::Mask)
          sum += std::max(before, shareOf(now, mesh)) * (isSum ? 2 : 1);
      }
      return std::pair(sum, steps.size());
    };
    const Version *best = nullptr;
    for (const Version &one : known)
      if (!best || effort(one) < effort(*best))
        best = &one;
    if (best->layout == layout)
      return best->local;
    Location loc = value.getLoc();
    Value local = reshard(b, loc, best->local, extents[value], best->layout, layout, mesh);
    ++numGathered;
    known.push_back({layout, local});
    return local;
  }

  // The same data, cut when the library is linked; panels are made of what is left.
  Value localWeight(nn::WeightOp weight, const TensorLayout &layout) {
    TensorLayout summed = layout; // what summands are made of when the program runs
    for (AxisLayout &axis : summed)
      if (axis.kind == AxisLayout::Partial)
        axis = AxisLayout::whole();
    if (summed != layout)
      return reshard(b, weight.getLoc(), localWeight(weight, summed), extents[weight], summed, layout, mesh);
    if (layout[0].kind == AxisLayout::Whole && layout[1].kind == AxisLayout::Whole) {
      done.remove(weight);
      return weight;
    }
    SmallVector<Attribute> recipe(weight.getRecipe().begin(), weight.getRecipe().end());
    auto type = cast<RankedTensorType>(weight.getType());
    auto pack = recipe.empty() ? nullptr : dyn_cast<nn::RecipePackAttr>(recipe.back());
    if (pack)
      recipe.pop_back();
    for (int axis = 0; axis < kMeshAxes; ++axis) {
      const AxisLayout &cut = layout[axis];
      if (cut.kind != AxisLayout::Cut)
        continue;
      recipe.push_back(nn::RecipeShardAttr::get(b.getContext(), cut.dim, axis, segmentsFor(axis, cut, layout, mesh)));
    }
    RankedTensorType local;
    if (pack) { // of (k, n): the last panel may be filled up, so that how long a cut n is only its segments say
      int64_t width = pack.getWidth(), k = type.getDimSize(1), n = type.getDimSize(0) * width;
      for (const AxisLayout &cut : layout)
        if (cut.kind == AxisLayout::Cut && cut.dim == 1)
          n = std::accumulate(cut.segments.begin(), cut.segments.end(), int64_t(0));
      auto logical = localType(RankedTensorType::get({k, n}, type.getElementType()), layout, mesh);
      recipe.push_back(pack);
      local = logical.clone({(logical.getDimSize(1) + width - 1) / width, logical.getDimSize(0), width});
    } else {
      local = localType(type, layout, mesh);
    }
    return nn::WeightOp::create(b, weight.getLoc(), local, weight.getDataAttr(), b.getArrayAttr(recipe));
  }

  func::FuncOp function;
  Block &block;
  OpBuilder b;
  const MeshExtents mesh;
  IndexBounds bounds;
  llvm::DenseMap<Operation *, ShardRule> rules;
  WholeExtents extents; // of tensors; null where no value says it
  SmallVector<TensorLayout> returned; // how each result lies
  llvm::DenseMap<Value, SmallVector<Version>> versions;
  llvm::DenseMap<Value, TensorLayout> shared; // where versions that others want are made from
  llvm::SmallSetVector<Operation *, 32> done;
  size_t numGathered = 0; // values that were brought to another layout
};

struct PartitionPass : snug::impl::PartitionBase<PartitionPass> {
  using PartitionBase::PartitionBase;

  void getDependentDialects(DialectRegistry &registry) const override { registerShardDialects(registry); }

  void runOnOperation() override {
    FailureOr<MeshExtents> mesh = readMesh(getOperation());
    if (failed(mesh))
      return signalPassFailure();
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() && function.getBody().hasOneBlock() && failed(Partitioner(function, *mesh).run()))
        return signalPassFailure();
  }
};
} // namespace
