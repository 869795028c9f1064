// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshRings.h"
#include "passes/shard/Annotations.h"
#include "passes/shard/LayoutSearch.h"
#include "passes/shard/Passes.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_SELECTLAYOUTS
#include "passes/shard/Passes.h.inc"
} // namespace snug

namespace {
struct SelectLayoutsPass : snug::impl::SelectLayoutsBase<SelectLayoutsPass> {
  using SelectLayoutsBase::SelectLayoutsBase;

  void getDependentDialects(DialectRegistry &registry) const override { registerShardDialects(registry); }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<std::optional<MeshExtents>> grid = readAnnotations(module);
    if (failed(grid))
      return signalPassFailure();
    if (*grid && mesh.empty())
      mesh = ArrayRef<int64_t>(**grid);
    if (*grid && !llvm::equal(**grid, mesh)) {
      module.emitError() << "is annotated for a grid of " << (**grid)[0] << "x" << (**grid)[1] << " devices, which is not the mesh that was asked for";
      return signalPassFailure();
    }
    if (mesh.size() != kMeshAxes || mesh[0] < 1 || mesh[1] < 1) {
      module.emitError() << "mesh takes the devices along its two axes, as mesh=2,4";
      return signalPassFailure();
    }
    MeshExtents extents{mesh[0], mesh[1]};
    std::optional<MeshFamily> cuts = familyOf(family);
    if (!cuts) {
      module.emitError() << "there is no family '" << family << "'; there are free, 1d, hierarchical, column-first, row-first";
      return signalPassFailure();
    }
    std::optional<Topology> links = readTopology(module, topology, extents);
    if (!links)
      return signalPassFailure();
    std::optional<RingAttention> ring = ringAttentionOf(ringAttention);
    if (!ring) {
      module.emitError() << "ring-attention is auto, off or on, not '" << ringAttention << "'";
      return signalPassFailure();
    }
    LayoutCosts costs(module, extents, *links, builtinMachine(512), threads, PhasePoint(), {*ring, /*overlaps=*/true, replicateWeights});
    if (failed(searchLayouts(module, costs, *cuts)))
      signalPassFailure();
  }

  // Of the file, else of one switch between all devices.
  static std::optional<Topology> readTopology(ModuleOp module, const std::string &path, const MeshExtents &mesh) {
    if (path.empty())
      return uniformTopology(mesh[0] * mesh[1]);
    auto buffer = llvm::MemoryBuffer::getFile(path);
    std::string error = buffer ? "" : buffer.getError().message();
    std::optional<Topology> read = buffer ? parseTopology((*buffer)->getBuffer().str(), error) : std::nullopt;
    if (!read)
      module.emitError() << "topology '" << path << "': " << error;
    if (read && read->size() != mesh[0] * mesh[1]) {
      module.emitError() << "topology '" << path << "' has " << read->size() << " devices, the mesh has " << mesh[0] * mesh[1];
      return std::nullopt;
    }
    return read;
  }
};
} // namespace
