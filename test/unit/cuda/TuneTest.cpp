// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Algorithms of libraries that are timed and kept in a file. Of the fixture's product the stand-in offers two: first one that takes two
// seconds, then one that takes one.

#include "test/unit/cuda/CudaTest.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

using namespace snug::cuda;
using nlohmann::json;

namespace {
class CudaTune : public CudaTest {
protected:
  void SetUp() override {
    CudaTest::SetUp();
    folder = std::filesystem::temp_directory_path() / ("snug-tune-test-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    path = (folder / "m.tune").string();
    load(FIXTURE_BLAS);
  }
  void TearDown() override {
    CudaTest::TearDown();
    std::filesystem::remove_all(folder);
  }

  snug_error *tryCreate(uint32_t flags = 0, const char *file = nullptr, int64_t n = 64) {
    snug_context_destroy(context);
    context = nullptr;
    snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
    options.flags = flags;
    options.tune_file = file ? file : path.c_str();
    options.launch_ns = &nanoseconds;
    options.max_dims = &n;
    return snug_context_create(model, &options, &context);
  }
  // How long the product of one run takes on the device, in seconds.
  double seconds(int64_t n = 64) {
    Rows x(n, -5), y(n, 0);
    nanoseconds = 0;
    EXPECT_OK(run(x.onHost(), y.onHost()));
    return std::round(double(nanoseconds) / 1e9);
  }
  snug_tuning tuning() const {
    snug_tuning state;
    snug_context_tuning(context, &state);
    return state;
  }
  json read() const { return json::parse(std::ifstream(path)); }
  void write(const std::string &text) const { std::ofstream(path) << text; }
  void makeFile() {
    EXPECT_OK(tryCreate(SNUG_CONTEXT_TUNE));
    ASSERT_TRUE(std::filesystem::exists(path));
  }

  std::filesystem::path folder;
  std::string path;
  uint64_t nanoseconds = 0;
};
} // namespace

TEST_F(CudaTune, KeepsTheFastest) {
  makeFile();
  EXPECT_EQ(tuning().choices, 1u);
  EXPECT_EQ(tuning().tuned, 1u);
  EXPECT_EQ(tuning().file, path);
  EXPECT_STREQ(tuning().note, "");
  EXPECT_EQ(seconds(), 1);
  json file = read();
  EXPECT_EQ(file["version"], 1);
  EXPECT_EQ(file["device"], "Fake GPU, sm_90");
  EXPECT_EQ(file["libraries"]["cublaslt"]["version"], 130000);
  json choices = file["libraries"]["cublaslt"]["choices"];
  ASSERT_EQ(choices.size(), 1u);
  EXPECT_EQ(choices.begin().key(), "f32 f32 flags 12 c 0 m n k batch 8 64 8 1 ld 8 8 0 8 stride 0 0 0 0 aligned 16 16 16 16 16 workspace 8192");
  EXPECT_EQ(choices.begin().value()["algorithm"].get<std::string>().size(), 128u);
  EXPECT_NEAR(choices.begin().value()["microseconds"].get<double>(), 1e6, 1e5);
  // Another context reads it; nothing is measured then.
  uint64_t launches = stats().launches;
  EXPECT_OK(tryCreate());
  EXPECT_EQ(stats().launches, launches + 1);
  EXPECT_EQ(tuning().tuned, 1u);
  EXPECT_EQ(tuning().file, path);
  EXPECT_EQ(seconds(), 1);
  EXPECT_EQ(read(), file);
}

TEST_F(CudaTune, AddsToWhatThereIs) {
  makeFile();
  EXPECT_OK(tryCreate(SNUG_CONTEXT_TUNE, nullptr, 9));
  EXPECT_EQ(read()["libraries"]["cublaslt"]["choices"].size(), 2u);
  EXPECT_OK(tryCreate());
  EXPECT_EQ(seconds(9), 1);  // of dims that are not the largest, too
  EXPECT_EQ(seconds(10), 2); // which nobody has measured
  EXPECT_EQ(tuning().choices, 3u);
  EXPECT_EQ(tuning().tuned, 2u);
}

TEST_F(CudaTune, WithoutAFileTheLibrarySaysWhatIsFastest) {
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.launch_ns = &nanoseconds;
  EXPECT_OK(snug_context_create(model, &options, &context));
  EXPECT_STREQ(tuning().file, "");
  EXPECT_EQ(tuning().tuned, 0u);
  EXPECT_EQ(seconds(), 2);
}

TEST_F(CudaTune, SaysWhatItDoesNotUse) {
  makeFile();
  {
    Setting version("SNUG_FAKE_CUBLASLT_VERSION", "130100");
    EXPECT_OK(tryCreate());
    EXPECT_EQ(tuning().note, "'" + path + "' was made with version 130000 of cublaslt, and this is 130100: nothing of that is used");
    EXPECT_EQ(tuning().tuned, 0u);
    EXPECT_EQ(seconds(), 2);
  }
  {
    Setting refuses("SNUG_FAKE_CUBLASLT", "refuses");
    EXPECT_OK(tryCreate());
    EXPECT_EQ(tuning().note, "cuBLASLt does not take 1 of the algorithms that '" + path + "' has for the model");
    EXPECT_EQ(seconds(), 2);
  }
  json file = read();
  file["device"] = "Other GPU, sm_90";
  write(file.dump());
  EXPECT_OK(tryCreate());
  EXPECT_EQ(tuning().note, "'" + path + "' was made on Other GPU, sm_90, and this is Fake GPU, sm_90: nothing of it is used");
  EXPECT_EQ(seconds(), 2);
  // What is measured takes its place.
  EXPECT_OK(tryCreate(SNUG_CONTEXT_TUNE));
  EXPECT_EQ(read()["device"], "Fake GPU, sm_90");
  EXPECT_OK(tryCreate());
  EXPECT_STREQ(tuning().note, "");
  EXPECT_EQ(seconds(), 1);
}

TEST_F(CudaTune, RefusesDamagedFiles) {
  makeFile();
  const std::string good = read().dump();
  auto without = [&](const char *pointer) {
    json file = json::parse(good);
    file[json::json_pointer(pointer)] = nullptr;
    return file.dump();
  };
  json odd = json::parse(good), newer = odd;
  odd["libraries"]["cublaslt"]["choices"].begin().value()["algorithm"] = "12x4";
  newer["version"] = 2;
  const std::string remedy = ": remove it, or write it anew with snug-run --tune";
  const std::pair<std::string, std::string> cases[] = {
      {"", "is damaged (it is no object of JSON)"},
      {good.substr(0, good.size() / 2), "is damaged (it is no object of JSON)"},
      {"[1]", "is damaged (it is no object of JSON)"},
      {without("/device"), "is damaged ('device' is not there, or is of another kind)"},
      {without("/libraries/cublaslt"), "is damaged ('version' is not there, or is of another kind)"},
      {without("/libraries/cublaslt/choices"), "is damaged ('choices' is not there, or is of another kind)"},
      {odd.dump(), "is damaged (an 'algorithm' is not written in hexadecimal digits)"},
      {newer.dump(), "has version 2 of its form, and this runtime reads 1"}};
  for (const auto &[text, why] : cases) {
    write(text);
    EXPECT_FAILS(tryCreate(), SNUG_EXIT_INVALID, "the tuning file '" + path + "' " + why + remedy);
  }
}

TEST_F(CudaTune, RefusesWhatCannotBe) {
  std::string none = (folder / "none").string(), nowhere = (folder / "no" / "m.tune").string();
  EXPECT_FAILS(tryCreate(0, none.c_str()), SNUG_EXIT_MACHINE, "there is no tuning file '" + none + "'; snug-run --tune writes one");
  EXPECT_FAILS(tryCreate(SNUG_CONTEXT_TUNE, nowhere.c_str()), SNUG_EXIT_MACHINE,
               "cannot write the tuning file '" + nowhere + "': No such file or directory");
  EXPECT_FAILS_WITH(tryCreate(0, folder.c_str()), SNUG_EXIT_MACHINE, "cannot read the tuning file '" + folder.string() + "'");
  snug_model_release(model);
  model = nullptr;
  load();
  EXPECT_FAILS(tryCreate(SNUG_CONTEXT_TUNE), SNUG_EXIT_USAGE,
               "there is nothing to tune: the model has no products of cuBLASLt's; compile it with --gpu-libraries cublaslt");
}

TEST_F(CudaTune, ADeviceThatFailsIsReported) {
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cuEventSynchronize:1:719");
  EXPECT_FAILS_WITH(tryCreate(SNUG_CONTEXT_TUNE), SNUG_EXIT_MACHINE, "CUDA could not time an algorithm: CUDA_ERROR_LAUNCH_FAILED (719)");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(CudaTune, NotWhileAStreamIsCaptured) {
  Stream stream = makeStream();
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureRelaxed));
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.flags = SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_TUNE;
  options.stream = stream;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
               "nothing can be timed on a stream that is captured: tune the model before that");
  EXPECT_EQ(cuStreamEndCapture(stream, &graph), kCaptureInvalidated); // what fails waits for the stream
}
