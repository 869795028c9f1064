// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/FittingMesh.h"
#include "lib/driver/Pipeline.h"
#include "mlir/IR/Diagnostics.h"
#include "passes/shard/LayoutCosts.h"
#include "passes/shard/LinearLayers.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>

using namespace mlir;
using namespace snug;

// Without a topology no more devices are thought of.
static constexpr int64_t kMostLeastDevices = 64;

bool snug::asksForFittingMesh(const CompileOptions &options) {
  return options.leastMesh || (options.anyMesh && (options.memoryBudget.isSet() || options.activationBudget.isSet()));
}

namespace {
class FittingMesh {
public:
  FittingMesh(MLIRContext &context, CompileOptions &options, std::vector<MeshReport::Candidate> &considered)
      : context(context), options(options), considered(considered) {}

  int resolve() {
    std::string muted;
    llvm::raw_string_ostream nobody(muted);
    const Console console = options.console;
    // The first mesh may say what is wrong with the model or the command.
    std::optional<ScopedDiagnosticHandler> quiet;
    CompileOptions best;
    std::optional<MeshReport::Candidate> found;
    const int64_t most = options.topologyFile.empty() ? kMostLeastDevices : options.topology.size();
    for (int64_t devices = options.leastMesh ? 1 : most; devices <= most; ++devices) {
      std::optional<Topology> topology = options.topologyFile.empty() ? std::optional(uniformTopology(devices, options.gpuCapability))
                                                                      : firstDevices(options.topology, devices);
      if (!topology || cannotFit(devices))
        continue;
      for (int64_t first = devices; first >= 1; --first) {
        if (devices % first != 0 || (options.meshFamily && devices > 1 && !familyProblem(*options.meshFamily, {first, devices / first}).empty()))
          continue;
        CompileOptions one = options;
        one.anyMesh = one.leastMesh = one.verbose = false;
        one.reports.clear(); // nobody reads of all meshes what each probe would find out again
        one.mesh = {first, devices / first};
        one.triesMeshes = true;
        if (!hasPinnedAxes(one, one.mesh))
          continue;
        one.topology = *topology;
        if (quiet)
          one.console.messageStream = &nobody;
        MeshReport::Candidate candidate{one.mesh, options.meshFamily.value_or(MeshFamily::Free), 0, std::nullopt};
        if (int code = probe(one, candidate); code && !quiet && refused.empty())
          return code;
        else if (code)
          continue;
        if (!quiet)
          quiet.emplace(&context, [](Diagnostic &) { return success(); });
        considered.push_back(candidate);
        if (!found || isBetter(candidate, *found)) {
          found = candidate;
          best = one;
        }
      }
      if (options.leastMesh && found && *found->share <= 1)
        break;
    }
    if (!found)
      return console.fail(SNUG_EXIT_UNSUPPORTED, refused.empty() ? "no mesh of the topology's devices can be had" : printable(refused));
    std::stable_sort(considered.begin(), considered.end(), isBetter);
    options.mesh = best.mesh;
    options.topology = best.topology;
    options.anyMesh = options.leastMesh = false;
    console.messages() << "mesh " << best.mesh[0] << "x" << best.mesh[1]
                       << (*found->share <= 1 ? ": the fastest that fits, of " : ": the nearest to fit, of ") << considered.size()
                       << " looked at\n";
    return SNUG_EXIT_DONE;
  }

private:
  // Weights, inputs and outputs are more than a device may have, even if it had no more than its share of all.
  bool cannotFit(int64_t devices) const {
    return alone && options.memoryBudget.bytes >= 0 &&
           (alone->weights + alone->inputs + alone->outputs) / devices > options.memoryBudget.bytes;
  }

  static bool isBetter(const MeshReport::Candidate &a, const MeshReport::Candidate &b) {
    bool fits = *a.share <= 1, otherFits = *b.share <= 1;
    if (fits != otherFits)
      return fits;
    return fits ? a.seconds < b.seconds : *a.share < *b.share;
  }

  int probe(const CompileOptions &one, MeshReport::Candidate &candidate) {
    CompileReport report;
    Pipeline pipeline(context, one, report);
    if (imported)
      pipeline.take(OwningOpRef<ModuleOp>(imported->clone()));
    else if (int code = pipeline.import())
      return code;
    else
      imported = OwningOpRef<ModuleOp>(pipeline.module().clone());
    double share = 0;
    int code = pipeline.need(share, &candidate.seconds);
    candidate.share = share;
    refused = report.mesh ? report.mesh->refused : "";
    if (!code && one.mesh[0] * one.mesh[1] == 1)
      alone = report;
    return code;
  }

  MLIRContext &context;
  CompileOptions &options;
  std::vector<MeshReport::Candidate> &considered;
  OwningOpRef<ModuleOp> imported;
  std::optional<CompileReport> alone; // of one device
  std::string refused;                // of the last mesh
};
} // namespace

int snug::resolveFittingMesh(MLIRContext &context, CompileOptions &options, std::vector<MeshReport::Candidate> &considered) {
  if (!options.memoryBudget.isSet() && !options.activationBudget.isSet())
    return options.console.fail(SNUG_EXIT_USAGE, "--mesh least asks for how many devices a budget is enough; add --memory-budget or "
                                                 "--activation-budget");
  if (options.activationBudget.percent >= 0)
    return options.console.fail(SNUG_EXIT_USAGE, "a mesh that fits needs a budget in bytes: a share of the unchunked arena is another "
                                                 "one on each");
  return FittingMesh(context, options, considered).resolve();
}
