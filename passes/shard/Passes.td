// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_PASSES
#define SNUG_PASSES_SHARD_PASSES

include "mlir/Pass/PassBase.td"

def SelectLayouts : Pass<"snug-select-layouts", "::mlir::ModuleOp"> {
  let summary = "Choose what each device of a mesh computes";
  let description = [{
    Finds the dims along which ops can be cut, from contractions outwards, and chooses for each op and each axis of the mesh
    one of them, or none, so that computing and what it takes to bring tensors from one layout to another take the least
    time, and weights are cut as far as they can be. What is pinned (snug_mesh.pin, `snug.pin = array<i64: 1, -1>` of arguments,
    results and snug_nn.data, or annotations of the dialect `shard`) lies so; arguments that come back grown or written into lie
    as is best, the same before and after, and all others are whole (`snug.layout`). Works on any program of linalg, tensor and nn ops; an op without an
    index rule takes its operands as a whole, on each device. The choice is written to the ops as `snug.cuts`, a list of
    dictionaries such as `{axis = 0, dim = 2, segments = array<i64: 64>}`, and the mesh to the module as
    `snug.mesh = array<i64: 2, 4>`; snug-partition carries it out.
  }];
  let options = [
    ListOption<"mesh", "mesh", "int64_t", "Devices along the two axes of the mesh; without it those of the program's shard.grid">,
    Option<"topology", "topology", "std::string", "",
           "Topology file (docs/topology.md) of the links between the devices; without it all are at one switch of 10 GB/s">,
    Option<"ringAttention", "ring-attention", "std::string", "\"auto\"",
           "Whether keys and values go round where rows of an attention are cut: auto, off, on">,
    Option<"replicateWeights", "replicate-weights", "bool", "false",
           "Whether matrices may be on several devices as a whole, where that is faster">,
    Option<"family", "family", "std::string", "\"free\"",
           "How products with matrices of weights are cut: free, 1d, hierarchical, column-first, row-first (docs/mesh.md)">,
    Option<"threads", "threads", "int", "1", "Threads of each device that the time model assumes">
  ];
}

def Partition : Pass<"snug-partition", "::mlir::ModuleOp"> {
  let summary = "Make the program of one device of a mesh";
  let description = [{
    Ops with `snug.cuts` become what one device does of them; between ops that lie differently stand the collectives that
    bring tensors from one layout to the other. Arguments and results with `snug.layout` become parts. Afterwards
    all types are local (contract C2), and what differs between devices is `snug_mesh.index` and their parts of the weights.
  }];
}

def VerifyPartition : Pass<"snug-verify-partition", "::mlir::ModuleOp"> {
  let summary = "Check contract C2: the program of one device of a mesh";
  let description = [{
    Runs after snug-partition. No cut is left that was not carried out; collectives and places stand in programs for a mesh
    only, and no collective in a loop or branch whose course depends on the device's place, where some devices would wait
    for others that never come. That sizes are those of one device the ops' own verifiers check: operands, results and
    groups have to fit.
  }];
}
#endif
