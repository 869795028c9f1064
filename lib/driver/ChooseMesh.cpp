// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ChooseMesh.h"
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "passes/shard/LayoutSearch.h"
#include <algorithm>
#include <map>

using namespace mlir;
using namespace snug;

FailureOr<MeshReport> snug::chooseMesh(ModuleOp program, const CompileOptions &options, int threads) {
  MeshReport report;
  report.topology = options.topology.name;
  std::vector<MeshExtents> meshes{options.mesh};
  if (options.anyMesh) {
    meshes.clear();
    for (int64_t first = options.topology.size(); first >= 1; --first)
      if (options.topology.size() % first == 0)
        meshes.push_back({first, options.topology.size() / first});
  }
  auto search = [&](const MeshExtents &mesh) {
    LayoutCosts costs(program, mesh, options.topology, options.machine, threads);
    return searchLayouts(program, costs);
  };
  for (const MeshExtents &mesh : meshes) {
    auto found = search(mesh);
    if (failed(found))
      return failure();
    report.candidates.push_back({mesh, found->seconds});
  }
  std::stable_sort(report.candidates.begin(), report.candidates.end(), [](const auto &a, const auto &b) { return a.seconds < b.seconds; });
  report.mesh = report.candidates.front().mesh;
  auto chosen = search(report.mesh); // what others have marked is gone
  for (auto [weight, bytes] : chosen->replicated) {
    weight.consume_front("weight_"); // as the model's file names it
    report.replicated.push_back({weight.str(), bytes});
  }
  return report;
}

std::vector<MeshReport::Traffic> snug::trafficOf(ModuleOp program) {
  IndexBounds bounds(program);
  auto mesh = program->getAttrOfType<DenseI64ArrayAttr>("snug.mesh");
  std::map<std::pair<std::string, std::vector<int64_t>>, MeshReport::Traffic> all;
  program.walk([&](mesh::CollectiveOpInterface op) {
    std::string kind = mesh::stringifyCollectiveKind(op.getCollectiveKind()).str();
    MeshReport::Traffic &one = all[{kind, op.getAxes().vec()}];
    one.kind = kind;
    one.axes = op.getAxes().vec();
    ++one.calls;
    double group = 1;
    for (int64_t axis : op.getAxes())
      group *= static_cast<double>(mesh[axis]);
    double send = static_cast<double>(tensorBytes(op.getInput(), bounds).value_or(0)),
           receive = static_cast<double>(tensorBytes(op.getInit(), bounds).value_or(0));
    one.bytes += std::max(send, receive) * (group - 1) / group * (op.getCollectiveKind() == mesh::CollectiveKind::AllReduce ? 2 : 1);
  });
  std::vector<MeshReport::Traffic> list;
  for (auto &[key, traffic] : all)
    list.push_back(traffic);
  return list;
}
