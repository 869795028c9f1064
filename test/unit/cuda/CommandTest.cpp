// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-run on a model for a GPU: with the fake driver, with others, and with none.

#include "test/unit/cuda/CudaTest.h"
#include "tools/snug-run/NpyFile.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

using namespace snug;

namespace {
class CudaCommand : public ::testing::Test {
protected:
  void SetUp() override {
    setenv("SNUG_SIM_KERNELS", SIM_KERNELS, 1);
    static int next = 0;
    folder = std::filesystem::temp_directory_path() / ("snug-cuda-test-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    std::filesystem::create_directories(folder);
    HostTensor x({2, 32, 1}, {9, kWidth});
    for (size_t i = 0; i < 9 * kWidth; ++i)
      values.push_back(reinterpret_cast<float *>(x.data())[i] = float(i));
    writeNpyFile((folder / "x.npy").string(), x);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  // Its output is kept in `text`, the calls of the driver in `calls`.
  int run(const std::string &flags, const std::string &environment = "", const std::string &driver = FAKE_FOLDER) {
    std::string command = "cd '" + folder.string() + "' && rm -f calls && " + environment + " LD_LIBRARY_PATH='" + driver +
                          "' SNUG_FAKE_CUDA_LOG=calls '" SNUG_RUN "' '" FIXTURE_PLAIN "' --input x=x.npy --output y=y.npy " + flags + " >log 2>&1";
    int status = system(command.c_str());
    std::ifstream log(folder / "log"), lines(folder / "calls");
    text.assign(std::istreambuf_iterator<char>(log), {});
    calls.clear();
    for (std::string line; std::getline(lines, line);)
      calls.push_back(nlohmann::json::parse(line));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int count(const std::string &function) const {
    int found = 0;
    for (const nlohmann::json &call : calls)
      found += call.value("call", "") == function;
    return found;
  }
  void expectResult() {
    HostTensor y = readNpyFile((folder / "y.npy").string());
    ASSERT_EQ(y.elements(), 9 * kWidth);
    auto *data = reinterpret_cast<const float *>(y.data());
    EXPECT_EQ(std::vector<float>(data, data + 9 * kWidth), resultOf(values));
  }
  void expectNoDriver(const std::string &why) {
    EXPECT_EQ(text, "snug-run: error: the model computes on a GPU, and " + why + ", or compile the model with --target cpu\n");
  }

  std::filesystem::path folder;
  std::vector<float> values;
  std::string text;
  std::vector<nlohmann::json> calls;
};
} // namespace

TEST_F(CudaCommand, RunsAModel) {
  ASSERT_EQ(run("--repeat 3 --stats stats.json"), 0) << text;
  expectResult();
  EXPECT_NE(text.find("3 run(s) on CUDA device 0 with 2.6 KiB of memory: median "), std::string::npos) << text;
  nlohmann::json stats = nlohmann::json::parse(std::ifstream(folder / "stats.json"));
  // For nine rows: the arena does not follow the dims of this model.
  EXPECT_EQ(stats["measured"]["device"]["allocated"], 32 + 2048 + 2 * 9 * kWidth * 4);
  EXPECT_EQ(stats["measured"]["device"]["free"], stats["measured"]["device"]["total"].get<uint64_t>() - (32 + 2048 + 2 * 9 * kWidth * 4));
  EXPECT_TRUE(stats["measured"]["arena_high_water"].is_null());
  EXPECT_EQ(count("cuMemAlloc_v2"), 4);
  EXPECT_EQ(count("cuMemFree_v2"), 4);
  EXPECT_EQ(count("cuLaunchKernel"), 6);
  bool runs = false; // from the first launch to the last copy nothing is allocated, loaded or made
  const std::vector<std::string> ofRuns = {"cuLaunchKernel",      "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize",
                                           "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2",   "cuMemGetInfo_v2"};
  for (const nlohmann::json &call : calls) {
    std::string function = call["call"];
    if (function == "cuStreamDestroy_v2")
      runs = false;
    runs |= function == "cuLaunchKernel";
    EXPECT_TRUE(!runs || std::count(ofRuns.begin(), ofRuns.end(), function)) << function;
  }
  EXPECT_EQ(calls.back()["call"], "cuDevicePrimaryCtxRelease_v2"); // all is given back
}

TEST_F(CudaCommand, ReplaysAGraph) {
  ASSERT_EQ(run("--repeat 5 --cuda-graph"), 0) << text;
  expectResult();
  EXPECT_EQ(count("cuLaunchKernel"), 2);
  EXPECT_EQ(count("cuGraphLaunch"), 5);
}

TEST_F(CudaCommand, ProfilesAModel) {
  ASSERT_EQ(run("--profile"), 0) << text;
  expectResult();
  EXPECT_NE(text.find("shift_1"), std::string::npos) << text;
}

TEST_F(CudaCommand, TakesTheNumberOfTheDevice) {
  ASSERT_EQ(run("--device 1", "SNUG_FAKE_CUDA_DEVICES=2"), 0) << text;
  expectResult();
  EXPECT_NE(text.find(" on CUDA device 1 with "), std::string::npos) << text;
  EXPECT_EQ(run("--device 1"), SNUG_EXIT_MACHINE);
  EXPECT_EQ(text, "snug-run: error: there is no CUDA device 1: this machine has 1, counted from 0\n");
}

TEST_F(CudaCommand, SaysWhatIsMissing) {
  EXPECT_EQ(run("", "SNUG_FAKE_CUDA_DEVICES=0"), SNUG_EXIT_MACHINE);
  expectNoDriver("the CUDA driver finds no GPU: run it where there is one (CUDA_VISIBLE_DEVICES may hide them)");
  EXPECT_EQ(run("", "SNUG_FAKE_CUDA_DRIVER=11080"), SNUG_EXIT_MACHINE);
  expectNoDriver("the CUDA driver is one for CUDA 11.8: update it to one for CUDA 12.0 or later");
  EXPECT_EQ(run("", "SNUG_FAKE_CUDA_FAIL=cuInit:1:719"), SNUG_EXIT_MACHINE);
  expectNoDriver("the CUDA driver cannot be started (unspecified launch failure, 719): repair its installation");
  EXPECT_EQ(run("", "SNUG_FAKE_CUDA_CHIP=75"), SNUG_EXIT_MACHINE);
  EXPECT_NE(text.find("does not run on CUDA device 0 (Fake GPU, sm_75)"), std::string::npos) << text;
  // Found before a driver that this machine may have.
  std::ofstream(folder / "libcuda.so.1") << "no library";
  EXPECT_EQ(run("", "", folder.string()), SNUG_EXIT_MACHINE);
  EXPECT_EQ(text.find("snug-run: error: the model computes on a GPU, and there is no CUDA driver here ("), 0u) << text;
  EXPECT_NE(text.find("libcuda.so.1"), std::string::npos) << text;
}
