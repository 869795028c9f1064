// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A folder with the fixture models of MeshFixture.c and the weights of their ranks, and what they compute.
#ifndef SNUG_TEST_UNIT_COMM_MESH_FIXTURE_H
#define SNUG_TEST_UNIT_COMM_MESH_FIXTURE_H

#include "test/unit/runtime/Fixture.h"

#include <algorithm>
#include <array>

constexpr int64_t kMeshWidth = 4;

inline std::array<float, kMeshWidth> rankWeights(uint32_t rank) {
  auto r = float(rank);
  return {r + 1, 10 * (r + 1), -(r + 1), 0.5f};
}

inline std::string rankWeightsFile(uint32_t rank, const std::string &id) {
  std::string json = R"({"__metadata__":{"format":"pt","snug_weights_id":")" + id +
                     R"("},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  json.resize(248, ' ');
  std::string file{char(248), 0, 0, 0, 0, 0, 0, 0};
  file += json;
  for (float w : rankWeights(rank))
    file.append(reinterpret_cast<const char *>(&w), 4);
  return file;
}

class MeshFolder : public ModelFolder {
public:
  MeshFolder() {
    for (uint32_t rank = 0; rank < 8; ++rank)
      writeFile(weightsOf(rank), rankWeightsFile(rank, "000000000000000" + std::to_string(rank)));
  }
  std::filesystem::path weightsOf(uint32_t rank) const { return folder / ("mesh." + std::to_string(rank) + ".safetensors"); }
};

// The outputs of one rank.
struct MeshOutputs {
  std::vector<float> total, rows, columns, each;
};

inline MeshOutputs meshOutputs(uint32_t d1, uint32_t d2, uint32_t rank, const std::vector<float> &x) {
  MeshOutputs out{std::vector<float>(x.size()), std::vector<float>(kMeshWidth, -1e30f), std::vector<float>(kMeshWidth), {}};
  for (uint32_t r = 0; r < d1 * d2; ++r) {
    auto w = rankWeights(r);
    out.each.insert(out.each.end(), w.begin(), w.end());
    for (size_t i = 0; i < x.size(); ++i)
      out.total[i] += x[i] * w[i % kMeshWidth];
    for (size_t k = 0; k < kMeshWidth; ++k) {
      if (r % d2 == rank % d2) // along the first axis
        out.rows[k] = std::max(out.rows[k], w[k]);
      if (r / d2 == rank / d2)
        out.columns[k] += w[k];
    }
  }
  return out;
}

#endif
