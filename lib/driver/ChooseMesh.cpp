// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ChooseMesh.h"
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "passes/shard/LayoutSearch.h"
#include "passes/shard/LinearLayers.h"
#include <algorithm>
#include <map>

using namespace mlir;
using namespace snug;

FailureOr<MeshReport> snug::chooseMesh(ModuleOp program, const CompileOptions &options, int threads) {
  MeshReport report;
  report.topology = options.topology.name;
  report.family = options.meshFamily.value_or(MeshFamily::Free);
  std::vector<MeshExtents> meshes{options.mesh};
  if (options.anyMesh) {
    meshes.clear();
    for (int64_t first = options.topology.size(); first >= 1; --first)
      if (MeshExtents mesh{first, options.topology.size() / first};
          options.topology.size() % first == 0 && familyProblem(report.family, mesh).empty())
        meshes.push_back(mesh);
    if (meshes.empty())
      return program.emitError() << familyProblem(report.family, {options.topology.size(), 1});
  }
  auto search = [&](const MeshExtents &mesh) {
    LayoutCosts costs(program, mesh, options.topology, options.machine, threads);
    return searchLayouts(program, costs, report.family);
  };
  FailureOr<LayoutSearchResult> chosen = failure();
  for (const MeshExtents &mesh : meshes) {
    if (failed(chosen = search(mesh)))
      return failure();
    report.candidates.push_back({mesh, chosen->seconds});
  }
  std::stable_sort(report.candidates.begin(), report.candidates.end(), [](const auto &a, const auto &b) { return a.seconds < b.seconds; });
  report.mesh = report.candidates.front().mesh;
  if (report.mesh != meshes.back()) // marks are those of the last one
    chosen = search(report.mesh);
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
    one.bytes += std::max(send, receive) * (group - 1) / group * (op.getCollectiveKind() == mesh::CollectiveKind::AllReduce ? 2 : 1);
  });
  std::vector<MeshReport::Traffic> list;
  for (auto &[key, traffic] : all)
    list.push_back(traffic);
  return list;
}
