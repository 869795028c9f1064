// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which mesh a model is cut for, and what the cuts cost.
#ifndef SNUG_LIB_DRIVER_CHOOSEMESH_H
#define SNUG_LIB_DRIVER_CHOOSEMESH_H

#include "lib/driver/MeshMix.h"
#include "lib/driver/Options.h"
#include "mlir/IR/BuiltinOps.h"
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace snug {

// What a model needs of one mesh. Times in seconds, bytes of one run with the largest dims, on one device.
struct MeshReport {
  struct Candidate {
    std::array<int64_t, 2> mesh = {1, 1};
    MeshFamily family = MeshFamily::Free;
    double seconds = 0;
    std::optional<double> share; // of the budget that decides, of what each device needs at least; above 1 it cannot fit
  };
  struct Traffic {
    std::string kind;
    std::vector<int64_t> axes;
    int64_t calls = 0;
    double bytes = 0; // that a device sends
  };
  struct Replicated {
    std::string weight;
    double bytes = 0; // on each device, beyond its share
  };
  // A kernel that is done in pieces, with the collectives of its rows.
  struct Overlap {
    std::vector<std::string> kernels; // nodes
    std::vector<std::pair<std::string, std::vector<int64_t>>> collectives; // kind and axes
    int64_t pieces = 1;
    double alone_ms = 0, ms = 0, hidden_ms = 0;
  };
  struct Part { // of an input or output that devices do not have all of
    bool isInput = false;
    std::string name;
    std::array<int64_t, 2> dims = {-1, -1}; // cut along each axis, or -1
  };
  std::array<int64_t, 2> mesh = {1, 1};
  MeshFamily family = MeshFamily::Free;
  int64_t outside = 0; // products with matrices of weights that cannot be cut as the family says
  std::string topology;
  std::vector<Candidate> candidates; // of which it was chosen; fastest first
  MeshSetting setting;
  std::optional<MeshPlan> plan; // all meshes of so many devices in all families, where somebody reads it
  std::vector<Traffic> traffic;
  std::vector<Replicated> replicated;
  std::vector<Overlap> overlap;
  std::vector<Part> parts;
  std::string refused; // why there is none on which what was asked for can be done; empty: there is one
};

// Whether each axis along which --shard cuts something has more than one device.
bool hasPinnedAxes(const CompileOptions &options, const std::array<int64_t, 2> &mesh);

// Marks the ops of the program with their cuts: for options.mesh, or for the mesh and family that is the fastest of all of the
// topology's devices. `mix` says what runs there are, and how often. Failure with an error where the model
// cannot be cut, which of a mesh that is one of several is the report's `refused`.
mlir::FailureOr<MeshReport> chooseMesh(mlir::ModuleOp program, const CompileOptions &options, int threads, const MeshMix &mix);

// The collectives of the program of one device.
std::vector<MeshReport::Traffic> trafficOf(mlir::ModuleOp program);

// Bytes per second and seconds of latency of the links along axis 0, then along axis 1.
std::array<double, 4> linksOf(const Topology &topology, const std::array<int64_t, 2> &mesh);

// Adds what snug-overlap-collectives did to the program: each collective in pieces is as many.
void recordOverlap(mlir::ModuleOp program, MeshReport &report);

// The inputs and outputs of the program of one device that it has parts of.
std::vector<MeshReport::Part> partsOf(mlir::ModuleOp program);

} // namespace snug

#endif
