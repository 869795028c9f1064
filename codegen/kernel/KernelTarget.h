// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the two tails of code generation have in common: which ops are kernels, how a launch's iterations are counted, and
// what is asked of a target.
//
// A kernel function is (pointers: memref<T>, scalars, and what the target adds) and holds one kernel op over
// memref.reinterpret_casts of its pointers. Range and lowering look at static types only, so host and kernel agree without
// talking to each other.
#ifndef SNUG_CODEGEN_KERNEL_KERNELTARGET_H
#define SNUG_CODEGEN_KERNEL_KERNELTARGET_H

#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinOps.h"
#include <chrono>

namespace snug {
struct CodegenOptions;
struct CodegenReport;
} // namespace snug

namespace snug::codegen {

// Where the extent of an iteration dim is read: dim `dim` of operand `operand`.
struct ExtentPlace {
  unsigned operand, dim;
};
// One factor of a range: the product of `extents`, cut in tiles of `tile`.
struct RangeFactor {
  llvm::SmallVector<ExtentPlace, 2> extents;
  int64_t tile = 1;
};
// The range of a launch: [0, product of factors), row-major, the last factor fastest. No factor: one iteration.
struct KernelRange {
  llvm::SmallVector<RangeFactor> factors;
  int64_t grain = 1; // CPU: least iterations worth a thread of their own; GPU: iterations of a block
};

// The result of `map` that is the bare dim `dim`.
std::optional<unsigned> positionOf(mlir::AffineMap map, unsigned dim);
// The first of `operands` (none: of all) that is indexed by the bare dim `dim`; maps[i] belongs to operand i.
std::optional<ExtentPlace> extentPlace(llvm::ArrayRef<mlir::AffineMap> maps, unsigned dim,
                                       llvm::ArrayRef<unsigned> operands = {});

// Static extent, or a guess for dynamic ones; for cost estimates only.
double guessExtent(int64_t extent);

bool isKernelOp(mlir::Operation *op);
// The kernel op of a kernel function.
mlir::Operation *kernelOpOf(mlir::Operation *kernel);
// Whether operands are of types that any kernel can take; else says which is not.
mlir::LogicalResult checkOperands(mlir::Operation *op);

// Kernels as a library ships them: objects of the host's machine code, or an image for a GPU.
struct KernelCode {
  std::vector<llvm::SmallVector<char, 0>> objects;
  struct GpuKernel {
    std::string name;
    uint32_t threads, sharedBytes, numArguments; // of a block; dynamic; 8 bytes each
  };
  std::vector<GpuKernel> gpuKernels;
  std::vector<char> gpuImage; // a fat binary that has them by name
  bool isForGpu = false;
};

// Of a kernel function: 31 bits hold the place of each element of an operand, counted from the first one.
inline constexpr llvm::StringLiteral kSmallOffsets = "snug.small_offsets";

// What a launch asks of a library, in a kernel's place: its attributes `library` and `shape`.
struct LibraryCall {
  plan::ContractionAttr library;
  llvm::SmallVector<mlir::Value> shape;
};

// The machine that kernels are made for. Immutable; shared by threads.
class KernelTarget {
public:
  virtual ~KernelTarget() = default;
  // As --target would name it in full; recorded in the library.
  virtual std::string name() const { return "cpu"; }
  // Compute capability of the oldest GPU that it is (90 of sm_90); 0: a CPU.
  virtual int gpuCapability() const { return 0; }
  // Types in which it can make products of f32, as --precision names them.
  virtual std::vector<llvm::StringRef> precisions() const { return {"f32"}; }
  // Whether there is a kernel for these types and shapes; else says why not. What is said here is said nowhere else.
  virtual mlir::LogicalResult check(mlir::Operation *op) const = 0;
  // Whether the host program can load from and store to the memory of kernels.
  virtual bool hostSeesMemory() const { return true; }
  // Whether the host program is one that this target can have; else says what is not.
  virtual mlir::LogicalResult checkProgram(mlir::ModuleOp module) const = 0;
  // Of an op that check() has passed.
  virtual KernelRange range(mlir::Operation *op) const = 0;
  // Bytes that kernels may take the arena, weights, inputs and outputs to be aligned to, a power of two.
  virtual int64_t tensorAlignment() const { return 1; }
  // Index arguments that kernel functions have behind their scalars and that a launch does not give.
  virtual unsigned numWorkArguments() const = 0;
  // Marks (kLibrary) what some of `libraries` does better than a kernel, and brings it into a form that they have. Returns the
  // bytes of workspace that they would like, 0 where nothing is theirs.
  virtual int64_t assignLibraries(mlir::ModuleOp, llvm::ArrayRef<std::string>) const { return 0; }
  // Of an op that is marked so. `workspace`: its memref; none: there is none.
  virtual std::optional<LibraryCall> libraryCall(mlir::Operation *, mlir::OpBuilder &, mlir::Value) const { return std::nullopt; }
  // Takes the kernel functions out of `module` and compiles them. On failure the report has code and message.
  virtual mlir::LogicalResult compile(mlir::ModuleOp module, const CodegenOptions &options, KernelCode &code,
                                      CodegenReport &report) const = 0;
};

// Kernel ops of @main become functions (equal ones once) and a snug_plan.launch in their place.
mlir::LogicalResult outlineKernels(mlir::ModuleOp module, const KernelTarget &target, const CodegenOptions &options,
                                   CodegenReport &report);

// Ends a stage: the report has the exit code and the message, which is emitted at the module, too.
mlir::LogicalResult fail(mlir::ModuleOp module, CodegenReport &report, int code, const std::string &message);
// Writes `op` to <options.dumpDirectory>/<name>.mlir where dumps are asked for.
void dump(mlir::ModuleOp op, const CodegenOptions &options, const std::string &name);
std::string dumpPrefix(const CodegenOptions &options, const std::string &name);

// Adds the time that it lives to `ms`.
class Stopwatch {
public:
  explicit Stopwatch(double &ms) : ms(ms), start(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }

private:
  double &ms;
  std::chrono::steady_clock::time_point start;
};

} // namespace snug::codegen
#endif
