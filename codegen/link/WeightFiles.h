// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The files of weights beside a library: one, or one a rank of a mesh.
#ifndef SNUG_CODEGEN_LINK_WEIGHTFILES_H
#define SNUG_CODEGEN_LINK_WEIGHTFILES_H

#include "codegen/link/Weights.h"

namespace snug::codegen {

struct WeightsFile {
  std::string name; // base name
  uint64_t offset = 0;
  std::string id;
};

// Files are written under names of their own and take their places all at once, in commit(). Before, nothing that was
// there is touched; what was not committed is removed.
class WeightFiles {
public:
  WeightFiles(const std::string &library, std::optional<Mesh> mesh);
  ~WeightFiles();

  // One rank after the other. On failure `error` says why.
  mlir::LogicalResult write(Weights &weights, const DataFolder &folder, std::string &error);
  // Also removes files of an earlier compilation that are no part of this one: they would only mislead.
  mlir::LogicalResult commit(std::string &error);

  std::vector<WeightsFile> written; // by rank

private:
  std::string library;
  std::vector<std::string> paths;
};

} // namespace snug::codegen
#endif
