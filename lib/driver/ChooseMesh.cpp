// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ChooseMesh.h"
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/IndexBounds.h"
#include "lib/solver/MeshRings.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/shard/LayoutSearch.h"
#include "passes/shard/LinearLayers.h"
#include "passes/shard/Pins.h"
#include <algorithm>
#include <map>

using namespace mlir;
using namespace snug;

bool snug::hasPinnedAxes(const CompileOptions &options, const std::array<int64_t, 2> &mesh) {
  for (const auto &[name, dims] : options.pins)
    for (size_t axis = 0; axis < dims.size(); ++axis)
      if (dims[axis] >= 0 && mesh[axis] <= 1)
        return false;
  return true;
}

// The ways to cut for a mesh that differ from those for others of the same devices: along one axis inputs or outputs, and those are
// two meshes; along two the families, and all of them together.
static SmallVector<MeshFamily> familiesOf(const MeshExtents &mesh, const CompileOptions &options) {
  if (options.anyMesh && options.meshFamily) {
    bool isOther = *options.meshFamily == MeshFamily::OneD && mesh[0] == 1; // the same ring
    if (isOther || !familyProblem(*options.meshFamily, mesh).empty())
      return {};
    return {*options.meshFamily};
  }
  if (mesh[1] == 1)
    return {MeshFamily::OneD};
  if (mesh[0] == 1)
    return {MeshFamily::ColumnFirst};
  return {MeshFamily::HierarchicalOneD, MeshFamily::ColumnFirst, MeshFamily::RowFirst, MeshFamily::Free};
}

FailureOr<MeshReport> snug::chooseMesh(ModuleOp program, const CompileOptions &options, int threads, const MeshMix &mix) {
  MeshReport report;
  report.topology = options.topology.name;
  report.mesh = options.mesh;
  report.family = options.meshFamily.value_or(MeshFamily::Free);
  report.setting = {options.topology, mix.phases};
  auto costsOf = [&](const MeshExtents &mesh) {
    return LayoutCosts(program, mesh, options.topology, options.machine, threads, mix.points,
                       {options.ringAttention.value_or(RingAttention::Auto), options.overlap != 1, options.replicateWeights});
  };
  if (options.anyMesh || options.verbose || !options.reports.empty()) {
    std::vector<StatedProgram> programs;
    for (int64_t devices = options.topology.size(), first = devices; first >= 1; --first) {
      MeshExtents mesh{first, devices / first};
      if (devices % first != 0 || !hasPinnedAxes(options, mesh))
        continue;
      if (SmallVector<MeshFamily> families = familiesOf(mesh, options); !families.empty()) {
        LayoutCosts costs = costsOf(mesh);
        for (StatedProgram &one : priceLayouts(program, costs, families))
          programs.push_back(std::move(one));
      }
    }
    report.plan = planStated(report.setting, programs);
  }
  if (!options.anyMesh)
    report.refused = pinProblem(program, options.mesh);
  else if (!options.pins.empty() && report.plan->candidates.empty())
    report.refused = "no mesh of " + std::to_string(options.topology.size()) + " devices has more than one along each axis that is named";
  else if (!options.pins.empty() && !report.plan->admissible)
    report.refused = report.plan->candidates.front().refused;
  if (!report.refused.empty()) {
    report.refused = "--shard: " + report.refused;
    return report;
  }
  if (options.anyMesh) {
    if (report.plan->candidates.empty())
      return program.emitError() << familyProblem(report.family, {options.topology.size(), 1});
    const MeshCandidate &best = report.plan->candidates.front();
    if (!best.refused.empty())
      return program.emitError() << best.refused;
    report.mesh = {best.mesh.d1, best.mesh.d2};
    report.family = best.family;
    for (size_t c = 0; c < report.plan->admissible; ++c) {
      const MeshCandidate &one = report.plan->candidates[c];
      report.candidates.push_back({{one.mesh.d1, one.mesh.d2}, one.family, one.time_s, std::nullopt});
    }
  }
  LayoutCosts costs = costsOf(report.mesh);
  std::optional<ScopedDiagnosticHandler> keep;
  if (options.triesMeshes)
    keep.emplace(program.getContext(), [&](Diagnostic &diagnostic) {
      bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
      if (isError)
        report.refused = diagnostic.str();
      return success(isError);
    });
  FailureOr<LayoutSearchResult> chosen = searchLayouts(program, costs, report.family);
  if (failed(chosen) && options.triesMeshes)
    return report;
  if (failed(chosen))
    return failure();
  if (!options.anyMesh)
    report.candidates.push_back({report.mesh, report.family, chosen->seconds, std::nullopt});
  report.outside = static_cast<int64_t>(chosen->outside);
  for (auto [weight, bytes] : chosen->replicated) {
    weight.consume_front("weight_"); // as the model's file names it
    report.replicated.push_back({weight.str(), bytes});
  }
  return report;
}

std::vector<MeshReport::Traffic> snug::trafficOf(ModuleOp program) {
  IndexBounds bounds(program);
  const Mesh mesh = Mesh::of(program)->value_or(Mesh());
  std::map<std::pair<std::string, std::vector<int64_t>>, MeshReport::Traffic> all;
  program.walk([&](mesh::CollectiveOpInterface op) {
    std::string kind = mesh::stringifyCollectiveKind(op.getCollectiveKind()).str();
    MeshReport::Traffic &one = all[{kind, op.getAxes().vec()}];
    one.kind = kind;
    one.axes = op.getAxes().vec();
    ++one.calls;
    auto group = static_cast<double>(mesh.groupSize(op.getAxes()));
    double send = static_cast<double>(tensorBytes(op.getInput(), bounds).value_or(0)),
           receive = static_cast<double>(tensorBytes(op.getInit(), bounds).value_or(0));
    double passes = op.getCollectiveKind() == mesh::CollectiveKind::AllReduce ? 2 : 1;
    one.bytes += op.getCollectiveKind() == mesh::CollectiveKind::Shift ? send : std::max(send, receive) * passes * (group - 1) / group;
  });
  std::vector<MeshReport::Traffic> list;
  for (auto &[key, traffic] : all)
    list.push_back(traffic);
  return list;
}

std::array<double, 4> snug::linksOf(const Topology &topology, const std::array<int64_t, 2> &mesh) {
  std::array<double, 4> links{};
  for (int axis = 0; axis < 2; ++axis) {
    std::vector<LevelUse> use = ringUse(topology, {mesh[0], mesh[1]}, axis + 1);
    links[2 * axis] = ringBandwidth(topology, use);
    links[2 * axis + 1] = ringLatency(topology, use);
  }
  return links;
}

void snug::recordOverlap(ModuleOp program, MeshReport &report) {
  auto chains = program->getAttrOfType<ArrayAttr>("snug.overlap");
  for (auto chain : chains ? chains.getAsRange<DictionaryAttr>() : ArrayAttr::get(program.getContext(), {}).getAsRange<DictionaryAttr>()) {
    auto ms = [&](StringRef name) { return chain.getAs<FloatAttr>(name).getValueAsDouble(); };
    MeshReport::Overlap one{{}, {}, chain.getAs<IntegerAttr>("pieces").getInt(), ms("alone_ms"), ms("ms"), ms("hidden_ms")};
    for (StringRef node : chain.getAs<ArrayAttr>("kernels").getAsValueRange<StringAttr>())
      one.kernels.push_back(node.str());
    for (auto collective : chain.getAs<ArrayAttr>("collectives").getAsRange<DictionaryAttr>()) {
      std::string kind = collective.getAs<StringAttr>("kind").str();
      std::vector<int64_t> axes = collective.getAs<DenseI64ArrayAttr>("axes").asArrayRef().vec();
      for (MeshReport::Traffic &traffic : report.traffic)
        if (traffic.kind == kind && traffic.axes == axes)
          traffic.calls += one.pieces - 1;
      one.collectives.emplace_back(kind, axes);
    }
    report.overlap.push_back(std::move(one));
  }
}

std::vector<MeshReport::Part> snug::partsOf(ModuleOp program) {
  std::vector<MeshReport::Part> parts;
  auto main = program.lookupSymbol<func::FuncOp>("main");
  auto note = [&](bool isInput, DictionaryAttr attributes) {
    auto layout = attributes ? attributes.getAs<DenseI64ArrayAttr>(kLayout) : DenseI64ArrayAttr();
    auto name = attributes ? attributes.getAs<StringAttr>("snug.name") : StringAttr();
    if (layout)
      parts.push_back({isInput, name ? name.str() : "", {layout[0], layout[1]}});
  };
  for (unsigned i = 0; main && i < main.getNumArguments(); ++i)
    note(true, main.getArgAttrDict(i));
  for (unsigned i = 0; main && i < main.getNumResults(); ++i)
    note(false, main.getResultAttrDict(i));
  return parts;
}
