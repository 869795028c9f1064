// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the runtime's tests share: the fixture models with their weights file, and tensors over std::vector.
#ifndef SNUG_TEST_UNIT_RUNTIME_FIXTURE_H
#define SNUG_TEST_UNIT_RUNTIME_FIXTURE_H

#include "snug/Runtime.h"
#include "test/unit/Errors.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

constexpr int64_t kWidth = 8;

template <typename T> constexpr DLDataType dtypeOf();
template <> constexpr DLDataType dtypeOf<float>() { return {kDLFloat, 32, 1}; }
template <> constexpr DLDataType dtypeOf<double>() { return {kDLFloat, 64, 1}; }
template <> constexpr DLDataType dtypeOf<int64_t>() { return {kDLInt, 64, 1}; }

template <typename T> struct Tensor {
  explicit Tensor(std::vector<int64_t> extents, T start = 0) : shape(std::move(extents)) {
    int64_t count = 1;
    for (int64_t extent : shape)
      count *= extent;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(start + T(i));
    dl = {values.data(), {kDLCPU, 0}, int(shape.size()), dtypeOf<T>(), shape.data(), nullptr, 0};
  }
  Tensor(const Tensor &) = delete;

  std::vector<int64_t> shape;
  std::vector<T> values;
  DLTensor dl;
};

inline std::string safetensors(const std::string &id) {
  std::string json = R"({"__metadata__":{"format":"pt","snug_weights_id":")" + id +
                     R"("},"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}})";
  json.resize(248, ' '); // 8 bytes of length + 248: the data starts at byte 256
  std::string file{char(248), 0, 0, 0, 0, 0, 0, 0};
  file += json;
  for (float i = 1; i <= 8; ++i)
    file.append(reinterpret_cast<const char *>(&i), 4);
  return file;
}

inline void writeFile(const std::filesystem::path &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// A folder of its own with a copy of a fixture library and a good weights file (w = 1..8), removed at the end.
class ModelFolder {
public:
  ModelFolder() {
    static int next = 0;
    folder = std::filesystem::temp_directory_path() /
             ("snug-runtime-test-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    std::filesystem::create_directories(folder);
    writeFile(weights(), safetensors("0123456789abcdef"));
  }
  ~ModelFolder() { std::filesystem::remove_all(folder); }

  std::filesystem::path weights() const { return folder / "fixture.safetensors"; }
  std::string library(const char *built) {
    auto copy = folder / std::filesystem::path(built).filename();
    std::filesystem::copy_file(built, copy, std::filesystem::copy_options::overwrite_existing);
    return copy.string();
  }

  std::filesystem::path folder;
};

class RuntimeTest : public ::testing::Test {
protected:
  void TearDown() override {
    snug_context_destroy(context);
    snug_model_release(model);
  }
  void load(const char *built = FIXTURE_FILE) { EXPECT_OK(snug_model_load(models.library(built).c_str(), &model)); }
  void create(const snug_context_options *options = nullptr) {
    ASSERT_NE(model, nullptr);
    EXPECT_OK(snug_context_create(model, options, &context));
    ASSERT_NE(context, nullptr);
  }
  snug_error *run(const DLTensor &x, const DLTensor &shift, const DLTensor &y, const DLTensor &pairs) {
    const DLTensor *inputs[] = {&x, &shift}, *outputs[] = {&y, &pairs};
    return snug_run(context, inputs, 2, outputs, 2);
  }

  ModelFolder models;
  snug_model *model = nullptr;
  snug_context *context = nullptr;
};

// What the fixture computes, for weights scale, 2 * scale, ...
inline void expectResult(const Tensor<float> &x, const Tensor<int64_t> &shift, const Tensor<float> &y, float scale) {
  for (size_t i = 0; i < y.values.size(); ++i)
    ASSERT_EQ(y.values[i], x.values[i] * (scale * float(i % kWidth + 1)) + 1 + float(shift.values[i / kWidth + 1]))
        << "at " << i;
}

#endif
