// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The host side of a compiled model: the run function, the shapes function and the header.
#ifndef SNUG_CODEGEN_HOST_HOSTPROGRAM_H
#define SNUG_CODEGEN_HOST_HOSTPROGRAM_H

#include "codegen/host/DimExpression.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/SetVector.h"
#include <optional>

namespace llvm {
class Module;
}

namespace snug::codegen {
struct KernelCode;
struct StringTable;
struct Weights;
struct WeightsFile;

// What @main's attributes say, read and checked.
struct ModelSignature {
  struct Dim {
    std::string name;
    int64_t min, max, step;
  };
  struct Value {
    std::string name;
    mlir::MemRefType type;
    mlir::Type elementType; // as the model's file has it
    std::vector<std::string> text;
    std::vector<DimExpression> extents;
    bool isOverwritten = false; // an input that the caller donated
    // What the header says of the shape. Of an output whose shape is computed from data it is the largest one, and the
    // memref is a row of all its elements.
    std::vector<std::string> declaredText;
    std::vector<DimExpression> declared;
    bool hasDataShape = false;
    std::vector<std::string> stringKeys; // of an output that is a sequence of maps: either of these
    std::vector<int64_t> intKeys;
    std::array<int64_t, 2> cutDims{-1, -1}; // that devices along the axes of the mesh have parts of, or -1
    std::optional<unsigned> shapeOf; // the actual extents of that output; the header does not list it
  };
  std::string name;
  int64_t threads = 1;
  std::vector<Dim> dims;
  std::vector<Value> inputs, outputs;
  struct Launch {
    std::string kernel, nodes;
  };
  std::vector<Launch> launches; // in program order
  llvm::SetVector<plan::ContractionAttr> contractions; // that libraries may do
  uint64_t workspaceBytes = 0;                         // that they work in, at the end of the arena
  std::string precision = "f32";                       // of products of f32
  std::optional<Mesh> mesh; // that the program is cut for
  struct Collective {
    mesh::CollectiveKind kind;
    uint32_t axes; // bits
    mesh::Reduction reduction;
    mlir::Type elementType;
    std::string nodes;
  };
  std::vector<Collective> collectives; // in program order
  bool startsCollectives = false;      // some of them run while it computes
  uint64_t arenaBytes = 0, arenaAlignment = 64;
  uint64_t textBytes = 0; // of the strings that a run makes
  bool usesText = false;  // calls the runtime's functions on strings
  // What has to hold between dims: `left` >= `right`, or `left` == `right`.
  struct Requirement {
    std::string text;
    DimExpression left, right;
    bool isEquation;
  };
  std::vector<Requirement> requirements;
  struct ValueDim {
    unsigned dim, input;
    int64_t element;
  };
  std::vector<ValueDim> valueDims; // that are elements of inputs
  std::optional<Buckets> buckets; // of the arena; one plan for all dims where there are none

  static mlir::FailureOr<ModelSignature> read(mlir::ModuleOp module, int defaultThreads);
};

// The name of the function that runs kernel `name` from an argument array (snug_kernel_fn).
std::string kernelEntryName(llvm::StringRef name);

// A new module with @snug_run_body, made of @main's body: arguments (arena, weights, strings, inputs, outputs, dims,
// contract, read, start, wait, collective, the state of these, the place in the mesh, text, its state, and parallel_for and its state, or of a
// model for a GPU launch and its state); launches are calls of these. It is ready for conversion to LLVM. Empties @main.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>> buildHostModule(mlir::ModuleOp module, mlir::func::FuncOp main,
                                                                   const ModelSignature &signature,
                                                                   const Weights &weights, const StringTable &strings,
                                                                   const KernelCode &code);

struct HeaderInputs {
  const ModelSignature &signature;
  const StringTable &strings;
  const KernelCode &code;
  std::string target;
  uint64_t weightsBytes = 0, libraryBytes = 0;
  std::optional<std::vector<char>> embedded;
  std::string embeddedId;
  llvm::ArrayRef<WeightsFile> weightsFiles; // by rank; none where weights are embedded or there are none
};
// Adds to the translated host module: the run function over snug_run_args, shapes, the header and snug_model_query.
void addModelHeader(llvm::Module &module, const HeaderInputs &inputs);

// Adds the entry of each kernel function: loads the arguments from the launch's array. Makes the kernels internal.
void addKernelEntries(llvm::Module &module);

} // namespace snug::codegen
#endif
