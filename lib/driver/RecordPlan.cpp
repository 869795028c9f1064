// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/RecordPlan.h"
#include "codegen/Codegen.h"
#include "dialects/nn/ScatterOp.h"
#include "dialects/onnx/OnnxDialect.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/NodeName.h"
#include "lib/solver/MeshPlanText.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/memory/Passes.h"
#include "passes/chunk/ChunkProgram.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace snug;

void snug::recordFiles(ModuleOp program, const CompileOptions &options, CompileReport &report) {
  if (!options.modelBytes)
    report.files = {options.model};
  if (!options.machineFile.empty())
    report.files.push_back(options.machineFile);
  if (llvm::sys::fs::exists(options.topologyFile)) // it may be a preset's name
    report.files.push_back(options.topologyFile);
  std::string folder = llvm::sys::path::parent_path(options.model).str();
  llvm::StringSet<> seen;
  seen.insert(llvm::sys::path::filename(options.model));
  program.walk([&](onnx::InitializerOp op) {
    if (op.getFile() && !options.modelBytes && seen.insert(*op.getFile()).second) {
      llvm::SmallString<256> path(folder);
      llvm::sys::path::append(path, *op.getFile());
      report.files.push_back(path.str().str());
    }
  });
}

void snug::sayMesh(const CompileOptions &options, const CompileReport &report) {
  if (!report.mesh)
    return;
  const MeshReport &mesh = *report.mesh;
  if (mesh.plan && (options.anyMesh || options.verbose)) {
    MeshSetting said = mesh.setting;
    said.topology.name = printable(said.topology.name);
    for (MeshPhase &phase : said.phases)
      phase.name = printable(phase.name);
    options.console.messages() << meshPlanText(said, *mesh.plan);
  }
  double beyond = 0;
  std::string names;
  for (const MeshReport::Replicated &one : mesh.replicated) {
    beyond += one.bytes;
    names += (names.empty() ? "'" : ", '") + printable(one.weight) + "'";
  }
  if (beyond > 0)
    options.console.messages() << "snugc: warning: each device holds " << printBytes(static_cast<int64_t>(beyond))
                               << " of weights beyond its share, which do not divide by " << mesh.mesh[0] << "x" << mesh.mesh[1]
                               << " devices or are read as a whole: " << names << "\n";
  if (mesh.outside > 0)
    options.console.messages() << "snugc: warning: " << mesh.outside << (mesh.outside == 1 ? " product" : " products")
                               << " with matrices of weights cannot be cut as '" << nameOf(mesh.family) << "' says, and "
                               << (mesh.outside == 1 ? "is" : "are") << " cut freely\n";
}

// Whether libraries do the same with chunk loops and without: of slices, and in less workspace than they would like, they may choose
// another order of sums.
static bool librariesAreExact(ModuleOp program, int64_t wantedWorkspace) {
  bool isExact = workspaceBytes(program) == wantedWorkspace;
  program.walk([&](Operation *op) {
    for (Operation *around = op; op->hasAttr(kLibrary) && around; around = around->getParentOp())
      isExact &= !around->hasAttr("snug.chunk_loop");
  });
  return isExact;
}

// Neither loops that make sums in parts nor sums that are made for loops.
static bool isExact(ModuleOp program) {
  auto loops = program->getAttrOfType<ArrayAttr>("snug.chunk_report");
  bool accumulates = loops && llvm::any_of(loops.getAsRange<DictionaryAttr>(), [](DictionaryAttr loop) {
    auto kind = loop.getAs<StringAttr>("kind");
    return kind && kind.getValue() == "accumulate";
  });
  return !accumulates && llvm::none_of(program.getOps<func::FuncOp>(),
                                       [](func::FuncOp function) { return function->hasAttr(kReassociates); });
}

// Whether what a GPU combines in the order of arrival has the same bits in any order.
static bool scattersAreExact(ModuleOp program) {
  return !program.walk([](nn::ScatterOp op) { return op.dependsOnOrder() ? WalkResult::interrupt() : WalkResult::advance(); })
              .wasInterrupted();
}

void snug::recordLibraries(ModuleOp program, bool isForGpu, int64_t wantedWorkspace, CompileReport &report) {
  report.exact = isExact(program) && librariesAreExact(program, wantedWorkspace) && !(isForGpu && !scattersAreExact(program));
  report.workspace = workspaceBytes(program);
  program.walk([&](Operation *op) {
    if (auto library = op->getAttrOfType<StringAttr>(kLibrary)) {
      SmallVector<std::string> nodes = nodeNames(op->getLoc());
      report.libraryKernels.push_back({library.str(), {nodes.begin(), nodes.end()}});
    }
  });
}

void snug::recordBuckets(ModuleOp program, CompileReport &report) {
  std::optional<Buckets> buckets = Buckets::read(program);
  auto named = program->getAttrOfType<ArrayAttr>("snug.dims");
  for (size_t i = 0; buckets && i < buckets->size(); ++i) {
    PlanBucket bucket;
    for (auto [dim, bound] : llvm::zip_equal(named.getAsRange<DictionaryAttr>(), buckets->boundsOf(i)))
      bucket.dims.push_back({dim.getAs<StringAttr>("name").str(), bound});
    bucket.arena = buckets->arenas[i];
    report.buckets.push_back(std::move(bucket));
  }
}
