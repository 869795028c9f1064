// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// libFuzzer target: the runtime's reader of weights files. The input begins with where the model expects the data
// and how many bytes of it; the rest is the file.
//   fuzz-weights -runs=100000 -seed=1 -max_len=4096 CORPUS

#include "runtime/core/Error.h"
#include "runtime/core/Weights.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint64_t numbers[2] = {}; // the offset and the size of the data
  if (size < sizeof(numbers))
    return 0;
  std::memcpy(numbers, data, sizeof(numbers));
  static const std::string folder = [] {
    std::string name = (std::filesystem::temp_directory_path() / "fuzz-weights-XXXXXX").string();
    if (!mkdtemp(name.data()))
      abort();
    return name;
  }();
  std::string path = folder + "/weights";
  int file = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, data + sizeof(numbers), size - sizeof(numbers)) < 0)
    abort();
  close(file);

  snug_model_header header = {};
  header.weights_file = "weights";
  header.weights_id = "id";
  header.weights_offset = numbers[0];
  header.memory.weights_bytes = numbers[1];
  snug::Weights weights;
  try {
    weights.map(header, 0, folder);
  } catch (const snug::Failure &) {
    return 0;
  }
  // What is accepted can be read.
  volatile uint8_t sum = 0;
  for (uint64_t i = 0; i < header.memory.weights_bytes; ++i)
    sum = sum + weights.data()[i];
  return 0;
}
