// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Weights.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Error.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace snug;

// The alignment that kernels may assume of the blob.
static constexpr uint64_t kWeightsAlignment = 64;

namespace {
// Takes the one string out of a safetensors header that we look for, without building the tree of all its tensors.
struct WeightsIdReader : nlohmann::json_sax<nlohmann::json> {
  int depth = 0;
  bool inMetadata = false, atId = false;
  std::string id;

  bool start_object(std::size_t) override { return ++depth, true; }
  bool end_object() override {
    if (--depth == 1)
      inMetadata = false;
    return true;
  }
  bool key(string_t &name) override {
    if (depth == 1)
      inMetadata = name == "__metadata__";
    atId = depth == 2 && inMetadata && name == "snug_weights_id";
    return true;
  }
  bool string(string_t &value) override {
    if (atId)
      id = value;
    atId = false;
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t &) override { return true; }
  bool binary(binary_t &) override { return true; }
  bool parse_error(std::size_t, const std::string &, const nlohmann::json::exception &) override { return false; }
};

struct File {
  int descriptor;
  ~File() {
    if (descriptor >= 0)
      close(descriptor);
  }
};
} // namespace

Weights::~Weights() {
  if (mapping)
    munmap(mapping, mappingBytes);
}

void Weights::map(const snug_model_header &header, uint32_t rank, const std::string &folder) {
  uint64_t bytes = header.memory.weights_bytes;
  if (bytes == 0)
    return;
  bool isOneOfMany = numRanks(header) > 0;
  snug_rank_weights place = {header.weights_file, header.weights_offset, header.weights_id};
  if (isOneOfMany)
    place = header.rank_weights[rank];
  else if (header.weights_data) {
    if (reinterpret_cast<uintptr_t>(header.weights_data) % kWeightsAlignment != 0)
      throw Failure(SNUG_EXIT_INVALID, "the model's embedded weights are not aligned to 64 bytes: compile it again");
    blob = header.weights_data;
    return;
  }
  std::string name = place.file ? place.file : "";
  if (name.empty() || name.find('/') != std::string::npos)
    throw Failure(SNUG_EXIT_INVALID, "the model names no weights file beside it: compile it again");
  std::string path = folder + "/" + name;
  File file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.descriptor < 0)
    throw Failure(SNUG_EXIT_MACHINE, "cannot open the weights file '" + path + "': " + strerror(errno) +
                                         "; it has to lie beside the model's library");
  auto damaged = [&](const std::string &why) {
    return Failure(SNUG_EXIT_INVALID,
                   "the weights file '" + path + "' " + why + "; copy it again or compile the model again");
  };
  struct stat status;
  if (fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode))
    throw damaged("is not a regular file");
  uint64_t fileBytes = uint64_t(status.st_size), end;
  if (__builtin_add_overflow(place.offset, bytes, &end) || fileBytes < end)
    throw damaged("has " + std::to_string(fileBytes) + " bytes, the model needs " + std::to_string(end));

  void *address = mmap(nullptr, fileBytes, PROT_READ, MAP_SHARED, file.descriptor, 0);
  if (address == MAP_FAILED)
    throw Failure(SNUG_EXIT_MACHINE, "cannot map the weights file '" + path + "': " + strerror(errno));
  mapping = address;
  mappingBytes = fileBytes;

  // A safetensors file: 8 bytes little-endian length of the JSON header, the header, the data.
  auto *start = static_cast<const char *>(address);
  uint64_t headerBytes = 0;
  for (int i = 7; i >= 0 && fileBytes >= 8; --i)
    headerBytes = headerBytes << 8 | uint8_t(start[i]);
  if (fileBytes < 8 || headerBytes > fileBytes - 8)
    throw damaged("is not a safetensors file (its header's length is past its end)");
  // The devices of a mesh may have their parts one behind the other in one file.
  bool isInPlace = isOneOfMany ? headerBytes + 8 <= place.offset : headerBytes + 8 == place.offset;
  if (!isInPlace || place.offset % kWeightsAlignment != 0)
    throw damaged("has its data at byte " + std::to_string(headerBytes + 8) + ", the model expects it at " +
                  std::to_string(place.offset));
  WeightsIdReader reader;
  if (!nlohmann::json::sax_parse(start + 8, start + 8 + headerBytes, &reader))
    throw damaged("is not a safetensors file (its header is not JSON)");
  if (reader.id != (place.id ? place.id : ""))
    throw damaged("belongs to another model (its weights id is '" + reader.id + "', the model's is '" +
                  (place.id ? place.id : "") + "')");
  blob = reinterpret_cast<const uint8_t *>(start) + place.offset;
}
