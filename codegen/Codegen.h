// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a planned program (stage contract C5: memrefs at fixed offsets of one arena, kernel ops in destination-passing
// style) to a shared library that exports snug_model_query (include/snug/ModelABI.h), and its weights.
#ifndef SNUG_CODEGEN_CODEGEN_H
#define SNUG_CODEGEN_CODEGEN_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlir {
class DialectRegistry;
class ModuleOp;
} // namespace mlir

namespace snug {

struct CodegenOptions {
  std::string outputPath;          // the library; weights that are not embedded go beside it, see weightsPaths
  std::string modelDirectory;      // folder that snug_nn.data's file names are relative to
  std::string modelName;           // with modelBytes: the name that snug_nn.data gives the model's own file
  std::optional<llvm::StringRef> modelBytes; // what is in that file, where it is in memory; no other file is read then
  std::string march;               // a CPU name as LLVM knows it; empty: this machine's CPU
  std::string target = "cpu";      // as given to --target: cpu or cuda[:CHIP,...]
  std::string cudaToolkit;         // folder of the CUDA toolkit; empty: where it is commonly found
  int threads = 1;                 // planned number of threads; a module's snug.threads wins
  uint64_t embedLimit = 64 * 1024; // weights up to this many bytes are embedded in the library, but not those of a mesh
  bool verify = true;              // run MLIR's verifier between passes
  std::string dumpDirectory;       // if set: kernels as MLIR, LLVM IR and assembly are written there
};

// What a thread or a block of a GPU's kernel takes, as ptxas says it.
struct KernelResources {
  std::string kernel, chip;
  uint32_t registers = 0;   // a thread
  uint32_t sharedBytes = 0; // a block, static ones only
  // A thread's own memory, of which the driver keeps some for every thread that can be resident: not planned memory, so
  // kernels should have none.
  uint32_t stackBytes = 0;
  uint32_t spillStoreBytes = 0, spillLoadBytes = 0;
};

struct CodegenReport {
  int exitCode = 0;  // of a failed compilation: 2 bad data file, 3 unsupported, 5 environment, 70 own fault
  std::string error; // one message with the fact and the remedy; the same as was emitted at a location, if any
  uint64_t kernels = 0, launches = 0; // distinct kernels, launches
  uint64_t weightsBytes = 0, arenaBytes = 0;
  std::vector<KernelResources> gpuKernels; // of each kernel, of each chip
  double lowerMs = 0, llvmMs = 0, weightsMs = 0, linkMs = 0;
};

// Module attribute: bytes for strings that a run makes. Absent where it makes none.
inline constexpr llvm::StringLiteral kTextBytes = "snug.text_bytes";
// Module attribute: in which type products of f32 are made, "tf32" (operands are rounded to it, sums are f32). Absent: f32. Kernels, libraries
// and the library's header read it.
inline constexpr llvm::StringLiteral kPrecision = "snug.precision";
// What creating a context adds besides the arena, in bytes: at most this, of a program from canonical IR on. On the CPU, to a process:
// each worker of OpenMP has a stack of which kernels may use 64 KiB (made resident at once), its own state and its heap; and
// what strings need: those that runs make, those of constants, regular expressions. `threads` holds where the module has no
// snug.threads. On a GPU, to its memory: the shapes that data decides.
int64_t libraryBytes(mlir::ModuleOp module, int threads, bool onGpu);

// Where the weights of a library go, and files of those names that are there from an earlier compilation of it, which are
// removed: `<library>.safetensors`, or for a program that is cut for a mesh `<library>.rank<R>.safetensors`.
std::vector<std::string> weightsPaths(llvm::StringRef library, mlir::ModuleOp module);
std::string rankWeightsPath(llvm::StringRef library, int64_t rank);

// Registers every dialect, interface model and translation that compileToLibrary needs.
void registerCodegenDialects(mlir::DialectRegistry &registry);

// Compiles `module` (which it changes) to options.outputPath. Nothing half-written stays behind on failure. Uses the
// context's threads where multithreading is enabled; the bytes written do not depend on their number.
mlir::LogicalResult compileToLibrary(mlir::ModuleOp module, const CodegenOptions &options, CodegenReport &report);

// Gives to those of `libraries` (names as --gpu-libraries has them) what they do better than generated kernels: marks ops of the
// planned @main, and changes those that they have in another form only. Returns the bytes of workspace that they would like;
// 0 where nothing is theirs. Looks at types only.
int64_t assignLibraries(mlir::ModuleOp module, const std::string &target, const std::string &march,
                        const std::vector<std::string> &libraries);

// Says, for each kernel op of @main at its location, what code generation lacks for it; what passes is compiled. Looks at
// types only, so it is cheap. Failure is exit code 3.
mlir::LogicalResult checkKernels(mlir::ModuleOp module, const std::string &target, const std::string &march);

} // namespace snug
#endif
