// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/KernelOps.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::mesh;

#include "dialects/mesh/MeshDialect.cpp.inc"
#include "dialects/mesh/MeshEnums.cpp.inc"
#include "dialects/mesh/CollectiveInterface.cpp.inc"

void MeshDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/mesh/MeshOps.cpp.inc"
      >();
}

int64_t Mesh::groupSize(ArrayRef<int64_t> axes) const {
  int64_t size = 1;
  for (int64_t axis : axes)
    size *= extents[axis];
  return size;
}

FailureOr<std::optional<Mesh>> Mesh::of(Operation *op) {
  auto module = dyn_cast<ModuleOp>(op);
  if (!module)
    module = op->getParentOfType<ModuleOp>();
  Attribute attribute = module ? module->getAttr(kMesh) : Attribute();
  if (!attribute)
    return std::optional<Mesh>();
  constexpr int64_t mostDevices = 1 << 20;
  auto numbers = dyn_cast<DenseI64ArrayAttr>(attribute);
  if (!numbers || numbers.size() != 2 ||
      llvm::any_of(numbers.asArrayRef(), [](int64_t extent) { return extent < 1 || extent > mostDevices; }) ||
      numbers[0] * numbers[1] > mostDevices)
    return failure();
  return std::optional(Mesh{{numbers[0], numbers[1]}});
}

void snug::registerMeshDialect(DialectRegistry &registry) {
  registry.insert<MeshDialect>();
  registry.addExtension(+[](MLIRContext *context, MeshDialect *) {
    context->loadDialect<bufferization::BufferizationDialect>();
    AllReduceOp::attachInterface<KernelBufferization<AllReduceOp>>(*context);
    ReduceScatterOp::attachInterface<KernelBufferization<ReduceScatterOp>>(*context);
    AllGatherOp::attachInterface<KernelBufferization<AllGatherOp>>(*context);
    ShiftOp::attachInterface<KernelBufferization<ShiftOp>>(*context);
    AllToAllOp::attachInterface<KernelBufferization<AllToAllOp>>(*context);
  });
}
