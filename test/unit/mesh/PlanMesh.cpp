// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plans the meshes of transformers for tests: one problem a line of standard input, one plan a line of standard output,
// both JSON. --text prints plans for people, --presets the presets.
#include "Transformer.h"
#include "lib/solver/MeshPlanText.h"

#include <iostream>
#include <nlohmann/json.hpp>

using namespace snug;
using nlohmann::json;

// The words that nameOf gives; one of them is wrong in no problem of a test.
static MeshFamily familyNamed(const std::string &name) {
  for (MeshFamily family : MeshProblem().families)
    if (name == nameOf(family))
      return family;
  throw std::runtime_error("no family " + name);
}

static MeshProblem read(const json &line) {
  MeshProblem problem;
  std::string error;
  std::optional<Topology> topology = parseTopology(line["topology"].dump(), error);
  if (!topology)
    throw std::runtime_error(error);
  problem.topology = *topology;
  test::Transformer m;
  const json &model = line["model"];
  m.layers = model["layers"];
  m.hidden = model["hidden"];
  m.heads = model["heads"];
  m.kvHeads = model["kv_heads"];
  m.headDim = model["head_dim"];
  m.ffn = model["ffn"];
  m.ups = model["ups"];
  m.elementBytes = model["element_bytes"];
  m.moments = model["moments"];
  m.reduceUps = model["reduce_ups"];
  m.overlaps = model["overlaps"];
  std::vector<test::TransformerPhase> phases;
  for (const json &phase : line["phases"]) {
    problem.phases.push_back({phase["name"], phase["runs"]});
    phases.push_back({phase["tokens"], phase["keys"]});
  }
  problem.families.clear();
  for (const json &family : line["families"])
    problem.families.push_back(familyNamed(family));
  if (line.contains("vector_bits"))
    problem.machine = builtinMachine(line["vector_bits"]);
  problem.terms = [=](int64_t outputs, int64_t inputs) { return transformerTerms(m, phases, outputs, inputs); };
  return problem;
}

int main(int argc, char **argv) try {
  std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--presets") {
    for (const TopologyPreset &preset : topologyPresets())
      std::cout << json{{"topology", json::parse(topologyText(preset.topology))}, {"source", preset.source}} << "\n";
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);) {
    MeshProblem problem = read(json::parse(line));
    MeshPlan plan = planMesh(problem);
    std::cout << (mode == "--text" ? meshPlanText(problem, plan) : meshPlanJson(problem, plan)) << "\n";
  }
  return 0;
} catch (const std::exception &problem) {
  std::cerr << "plan-mesh: " << problem.what() << "\n";
  return 1;
}
