// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ChooseMesh.h"
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/shard/LayoutSearch.h"
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
  std::string problem = "no mesh of " + std::to_string(options.topology.size()) +
                        " devices has more than one along each axis that is named";
  meshes.erase(std::remove_if(meshes.begin(), meshes.end(),
                              [&](const MeshExtents &mesh) {
                                if (!hasPinnedAxes(options, mesh))
                                  return true;
                                std::string own = pinProblem(program, mesh);
                                problem = own.empty() ? problem : own;
                                return !own.empty();
                              }),
               meshes.end());
  if (meshes.empty()) {
    report.pinProblem = "--shard: " + problem;
    return report;
  }
  auto search = [&](const MeshExtents &mesh) {
    LayoutCosts costs(program, mesh, options.topology, options.machine, threads);
    return searchLayouts(program, costs);
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
