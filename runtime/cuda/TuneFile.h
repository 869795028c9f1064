// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What was found to be fastest on a device: a small file beside a model's library, of JSON (docs/cuda.md has its form).
#ifndef SNUG_RUNTIME_CUDA_TUNE_FILE_H
#define SNUG_RUNTIME_CUDA_TUNE_FILE_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace snug::cuda {

class TuneFile {
public:
  struct Choice {
    std::vector<uint8_t> algorithm; // the library's own bytes
    double microseconds = 0;
  };
  using Choices = std::map<std::string, Choice>; // by a text that says all that they depend on

  // `device`: name and chip of the one that runs.
  TuneFile(std::string path, std::string device) : path(std::move(path)), device(std::move(device)) {}

  // What the file says; false where there is none. Throws where it cannot be read or is damaged. What was made on another device is left
  // out, with a note.
  bool read();
  // Those of a library. What was made for another version of it is left out, with a note.
  Choices &of(const std::string &library, uint64_t version);
  // Adds to `note`.
  void say(const std::string &what);
  // As a whole or not at all. Throws.
  void write() const;

  const std::string path, device;
  std::string note; // what is not used of the file, and why

private:
  struct Part {
    uint64_t version = 0;
    Choices choices;
  };
  std::map<std::string, Part> libraries;
};

} // namespace snug::cuda

#endif
