// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/ExternalData.h"

#include "llvm/ADT/Twine.h"

#include <algorithm>
#include <filesystem>
#include <limits>

namespace fs = std::filesystem;

namespace snug {

ExternalData::ExternalData(const OnnxSource &source, bool mayBeMissing)
    : modelBytes(source.bytes), mayBeMissing(mayBeMissing) {
  fs::path path(source.path.str());
  folder = path.has_parent_path() ? path.parent_path().string() : ".";
  name = path.filename().string();
}

std::optional<DataFile> ExternalData::find(llvm::StringRef location, std::string &problem) {
  if (auto found = known.find(location); found != known.end())
    return found->second;

  if (modelBytes) {
    if (location == name)
      return known[location] = DataFile{name, modelBytes->size(), modelBytes};
    problem = ("refers to external data '" + location +
               "', but the model was given as bytes, which lie in no folder; compile it from its file")
                  .str();
    return std::nullopt;
  }
  auto outside = [&](llvm::StringRef why) {
    problem = ("refers to external data '" + location + "', which " + why +
               "; a model's data must lie below its own folder: move it there and name it relative to the model")
                  .str();
    return std::nullopt;
  };
  fs::path relative(location.str());
  if (location.empty() || location.contains('\0'))
    return outside("is no file name");
  if (relative.is_absolute())
    return outside("is an absolute path");
  if (std::find(relative.begin(), relative.end(), "..") != relative.end())
    return outside("contains '..'");

  std::error_code error;
  fs::path path = fs::path(folder) / relative;
  // The model file is what the user named, so it may be a link; all else must not lead out of the folder.
  if (relative.lexically_normal().string() != name) {
    fs::path root = fs::weakly_canonical(folder, error);
    fs::path target = error ? fs::path() : fs::weakly_canonical(path, error);
    if (error) {
      problem = ("refers to external data '" + location + "', which cannot be resolved: " + error.message()).str();
      return std::nullopt;
    }
    if (std::mismatch(root.begin(), root.end(), target.begin(), target.end()).first != root.end())
      return outside("is a link out of the model's folder");
    path = target;
  }
  fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found && mayBeMissing)
    return known[location] = DataFile{path.string(), std::numeric_limits<uint64_t>::max()};
  if (status.type() == fs::file_type::not_found) {
    problem = ("needs external data file '" + location + "', which is missing in '" + folder +
               "'; put the file that belongs to the model there")
                  .str();
    return std::nullopt;
  }
  if (status.type() != fs::file_type::regular) {
    problem = ("refers to external data '" + location + "', which is no regular file").str();
    return std::nullopt;
  }
  uint64_t size = fs::file_size(path, error);
  if (error) {
    problem = ("needs external data file '" + location + "', which cannot be read: " + error.message()).str();
    return std::nullopt;
  }
  return known[location] = DataFile{path.string(), size};
}

} // namespace snug
