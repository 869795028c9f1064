// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/WeightFiles.h"
#include "codegen/Codegen.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

std::string snug::rankWeightsPath(StringRef library, int64_t rank) {
  return (library + ".rank" + Twine(rank) + ".safetensors").str();
}

std::vector<std::string> snug::weightsPaths(StringRef library, ModuleOp module) {
  FailureOr<std::optional<Mesh>> mesh = Mesh::of(module);
  int64_t ranks = succeeded(mesh) && *mesh ? (*mesh)->size() : 0;
  std::vector<std::string> paths{(library + ".safetensors").str()};
  for (int64_t rank = 0; rank < ranks || llvm::sys::fs::exists(rankWeightsPath(library, rank)); ++rank)
    paths.push_back(rankWeightsPath(library, rank));
  return paths;
}

WeightFiles::WeightFiles(const std::string &library, std::optional<Mesh> mesh) : library(library) {
  if (!mesh)
    paths.push_back(library + ".safetensors");
  for (int64_t rank = 0; mesh && rank < mesh->size(); ++rank)
    paths.push_back(rankWeightsPath(library, rank));
}

WeightFiles::~WeightFiles() {
  for (const std::string &path : paths)
    llvm::sys::fs::remove(path + ".partial");
}

LogicalResult WeightFiles::write(Weights &weights, const DataFolder &folder, std::string &error) {
  for (auto [rank, path] : llvm::enumerate(paths)) {
    WeightsFile file;
    file.name = llvm::sys::path::filename(path).str();
    llvm::sys::RemoveFileOnSignal(path + ".partial");
    if (failed(weights.writeSafetensors(path + ".partial", folder, rank, file.offset, error)))
      return failure();
    file.id = weights.id;
    written.push_back(file);
  }
  return success();
}

LogicalResult WeightFiles::commit(std::string &error) {
  for (size_t rank = 0; rank < written.size(); ++rank)
    if (std::error_code code = llvm::sys::fs::rename(paths[rank] + ".partial", paths[rank])) {
      error = "cannot write '" + paths[rank] + "': " + code.message();
      for (size_t done = 0; done < rank; ++done)
        llvm::sys::fs::remove(paths[done]);
      return failure();
    }
  auto isOfThis = [&](const std::string &path) { return !written.empty() && llvm::is_contained(paths, path); };
  if (std::string single = library + ".safetensors"; !isOfThis(single))
    llvm::sys::fs::remove(single);
  for (int64_t rank = 0;; ++rank) {
    std::string path = rankWeightsPath(library, rank);
    if (isOfThis(path))
      continue;
    if (!llvm::sys::fs::exists(path) || llvm::sys::fs::remove(path))
      break;
  }
  return success();
}
