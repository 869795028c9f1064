// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/Annotations.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Shard/IR/ShardDialect.h"
#include "mlir/Dialect/Shard/IR/ShardOps.h"
#include "passes/shard/Pins.h"

using namespace mlir;
using namespace snug;

namespace {
class Annotations {
public:
  explicit Annotations(ModuleOp module) : module(module), b(module.getContext()) {}

  FailureOr<std::optional<MeshExtents>> read() {
    if (failed(readGrids()))
      return failure();
    SmallVector<shard::ShardOp> ops;
    module.walk([&](shard::ShardOp op) { ops.push_back(op); });
    for (shard::ShardOp op : ops)
      if (failed(readPin(op)))
        return failure();
    module.walk([](shard::ShardingOp op) {
      if (op->use_empty())
        op.erase();
    });
    WalkResult left = module.walk([](Operation *op) {
      if (!isa<shard::ShardDialect>(op->getDialect()) || isa<shard::GridOp>(op))
        return WalkResult::advance();
      op->emitError() << "'" << op->getName() << "' is not understood: only shard.grid, shard.sharding and shard.shard are";
      return WalkResult::interrupt();
    });
    if (left.wasInterrupted())
      return failure();
    for (auto grid : llvm::make_early_inc_range(module.getOps<shard::GridOp>()))
      grid.erase();
    return mesh;
  }

private:
  LogicalResult readGrids() {
    for (auto grid : module.getOps<shard::GridOp>()) {
      ArrayRef<int64_t> shape = grid.getShape();
      if (shape.empty() || shape.size() > kMeshAxes || llvm::any_of(shape, [](int64_t n) { return n < 1; }))
        return grid.emitError() << "a mesh has one or two axes, of a number of devices that is known";
      MeshExtents extents{shape[0], shape.size() > 1 ? shape[1] : 1};
      if (mesh && *mesh != extents)
        return grid.emitError() << "is another mesh than the grid before it; a program is cut for one";
      mesh = extents;
    }
    return success();
  }

  LogicalResult readPin(shard::ShardOp op) {
    FailureOr<PinnedDims> dims = dimsOf(op);
    if (failed(dims))
      return failure();
    Attribute pin = b.getDenseI64ArrayAttr(*dims);
    auto argument = dyn_cast<BlockArgument>(op.getSrc());
    auto function = dyn_cast<func::FuncOp>(op->getParentOp());
    if (function && argument && argument.getOwner() == &function.front() && argument.hasOneUse()) {
      function.setArgAttr(argument.getArgNumber(), kPin, pin);
      noteResults(op, function, pin);
      op.replaceAllUsesWith(op.getSrc());
      op.erase();
      return success();
    }
    if (function)
      noteResults(op, function, pin);
    b.setInsertionPoint(op);
    auto value = mesh::PinOp::create(b, op.getLoc(), op.getType(), op.getSrc(), cast<DenseI64ArrayAttr>(pin));
    op.replaceAllUsesWith(value.getResult());
    op.erase();
    return success();
  }

  static void noteResults(shard::ShardOp op, func::FuncOp function, Attribute pin) {
    for (OpOperand &use : op->getUses())
      if (isa<func::ReturnOp>(use.getOwner()))
        function.setResultAttr(use.getOperandNumber(), kPin, pin);
  }

  FailureOr<PinnedDims> dimsOf(shard::ShardOp op) {
    auto sharding = op.getSharding().getDefiningOp<shard::ShardingOp>();
    if (!sharding)
      return op.emitError() << "its sharding is not that of a shard.sharding";
    if (!sharding.getStaticHaloSizes().empty() || !sharding.getDynamicHaloSizes().empty())
      return op.emitError() << "parts with halos are not supported";
    if (!sharding.getStaticShardedDimsOffsets().empty() || !sharding.getDynamicShardedDimsOffsets().empty())
      return op.emitError() << "parts of given sizes are not supported: all devices have equal ones";
    auto grid = SymbolTable::lookupNearestSymbolFrom<shard::GridOp>(op, sharding.getGridAttr());
    if (!grid)
      return op.emitError() << "there is no grid " << sharding.getGridAttr();
    PinnedDims dims{kWholeAlong, kWholeAlong};
    for (auto [dim, axes] : llvm::enumerate(sharding.getSplitAxes())) {
      ArrayRef<int16_t> list = axes.asArrayRef();
      if (list.size() > 1 && list[0] > list[1])
        return op.emitError() << "dim " << dim << " is cut along axis 1 first, and then along axis 0; only the other order is supported";
      for (int16_t axis : list)
        if (axis >= 0 && axis < kMeshAxes)
          dims[axis] = static_cast<int64_t>(dim);
    }
    return dims;
  }

  ModuleOp module;
  OpBuilder b;
  std::optional<MeshExtents> mesh;
};
} // namespace

FailureOr<std::optional<MeshExtents>> snug::readAnnotations(ModuleOp module) { return Annotations(module).read(); }
