// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The program snug-run as a user calls it: exit codes, messages, files.

#include "snug/ExitCodes.h"
#include "test/unit/runtime/Fixture.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

using namespace snug;

namespace {
class SnugRun : public ::testing::Test {
protected:
  void SetUp() override {
    model = models.library(FIXTURE_FILE);
    HostTensor x({2, 32, 1}, {1, 4, 8}), shift({0, 64, 1}, {5});
    for (int i = 0; i < 32; ++i)
      reinterpret_cast<float *>(x.data())[i] = float(i);
    for (int i = 0; i < 5; ++i)
      reinterpret_cast<int64_t *>(shift.data())[i] = i;
    writeNpyFile(file("x.npy"), x);
    writeNpyFile(file("shift.npy"), shift);
    writeNpzFile(file("in.npz"), {{"x", &x}, {"shift", &shift}});
  }

  std::string file(const char *name) const { return (models.folder / name).string(); }

  // Runs `snug-run MODEL flags` in the model's folder; its output is kept in `text`.
  int run(const std::string &flags) {
    std::string command = "cd '" + models.folder.string() + "' && '" SNUG_RUN "' " + flags + " >log 2>&1";
    int status = system(command.c_str());
    std::ifstream log(file("log"));
    text.assign(std::istreambuf_iterator<char>(log), {});
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int runModel(const std::string &flags) { return run("'" + model + "' " + flags); }
  bool says(const std::string &part) const { return text.find(part) != std::string::npos; }

  void expectResult(const HostTensor &y) {
    ASSERT_EQ(y.shape, (std::vector<int64_t>{1, 4, 8}));
    for (int i = 0; i < 32; ++i)
      ASSERT_EQ(reinterpret_cast<const float *>(y.data())[i], float(i * (i % 8 + 1) + 1 + i / 8 + 1)) << i;
  }

  ModelFolder models;
  std::string model, text;
};
} // namespace

TEST_F(SnugRun, RunsOnFiles) {
  ASSERT_EQ(runModel("--input x=x.npy --input shift=shift.npy --output y=y.npy --outputs out.npz"), 0) << text;
  expectResult(readNpyFile(file("y.npy")));
  std::map<std::string, HostTensor> all = readNpzFile(file("out.npz"));
  ASSERT_EQ(all.size(), 2u);
  expectResult(all.at("y"));
  EXPECT_EQ(all.at("pairs").shape, std::vector<int64_t>{16});
  ASSERT_EQ(runModel("--inputs in.npz --output y=z.npy"), 0) << text;
  expectResult(readNpyFile(file("z.npy")));
}

TEST_F(SnugRun, WritesStats) {
  ASSERT_EQ(runModel("--inputs in.npz --threads 2 --warmup 1 --repeat 3 --stats stats.json"), 0) << text;
  nlohmann::json stats = nlohmann::json::parse(std::ifstream(file("stats.json")));
  EXPECT_EQ(stats["planned"]["weights"], 32);
  EXPECT_EQ(stats["planned"]["arena"], 2304);
  EXPECT_EQ(stats["planned"]["total"], 24336);
  EXPECT_EQ(stats["measured"]["allocations_in_run"], 0);
  EXPECT_GE(stats["measured"]["arena_high_water"], 2048); // scratch lies behind the product's 2048 bytes
  EXPECT_LE(stats["measured"]["arena_high_water"], 2304);
  EXPECT_LE(stats["measured"]["rss_growth"], 1 << 20);
  EXPECT_EQ(stats["threads"], 2);
  ASSERT_EQ(stats["latency_ms"]["all"].size(), 3u);
  EXPECT_GT(stats["latency_ms"]["min"], 0.0);
  EXPECT_LE(stats["latency_ms"]["min"], stats["latency_ms"]["median"]);
}

TEST_F(SnugRun, ProfilesKernels) {
  ASSERT_EQ(runModel("--inputs in.npz"), 0) << text;
  EXPECT_FALSE(says("multiply"));
  ASSERT_EQ(runModel("--inputs in.npz --profile --warmup 1 --repeat 2"), 0) << text;
  for (const char *part : {"ms a run", "multiply", "scale", "add", "shift, add", "(host)"})
    EXPECT_TRUE(says(part)) << part << " is not in\n" << text;
}

TEST_F(SnugRun, MakesRandomInputs) {
  ASSERT_EQ(runModel("--random-inputs 5 --dim n=6 --output y=a.npy"), 0) << text;
  ASSERT_EQ(runModel("--random-inputs 5 --dim n=6 --output y=b.npy --threads 1"), 0) << text;
  ASSERT_EQ(runModel("--random-inputs 5 --dim n=6 --output y=c.npy --random-range shift=100..200"), 0) << text;
  HostTensor a = readNpyFile(file("a.npy")), b = readNpyFile(file("b.npy")), c = readNpyFile(file("c.npy"));
  EXPECT_EQ(a.shape, (std::vector<int64_t>{1, 6, 8}));
  EXPECT_EQ(memcmp(a.data(), b.data(), a.bytes()), 0); // whatever the number of threads
  EXPECT_GE(*reinterpret_cast<float *>(c.data()), 80.0f);
  EXPECT_LE(*reinterpret_cast<float *>(a.data()), 3.0f);
  ASSERT_EQ(runModel("--random-inputs 5 --input x=x.npy --output y=d.npy"), 0) << text; // x determines n
  EXPECT_EQ(readNpyFile(file("d.npy")).shape, (std::vector<int64_t>{1, 4, 8}));
}

TEST_F(SnugRun, TellsWhatAModelIsWithoutItsWeights) {
  std::filesystem::remove(models.weights());
  ASSERT_EQ(runModel("--info"), 0) << text;
  EXPECT_TRUE(says("input   x: float32 [batch, n, 8]")) << text;
  EXPECT_TRUE(says("input   shift: int64 [n + 1]")) << text;
  EXPECT_TRUE(says("dim     n = 2..64 in steps of 2")) << text;
  EXPECT_TRUE(says("arena               2304 B  2.2 KiB")) << text;
}

TEST_F(SnugRun, SetsDimsThatNoInputDetermines) {
  model = models.library(FIXTURE_EMBEDDED);
  EXPECT_EQ(runModel("--inputs in.npz"), SNUG_EXIT_USAGE);
  EXPECT_TRUE(says("no input file determines 'k'; with the largest values, add --dim k=4")) << text;
  ASSERT_EQ(runModel("--inputs in.npz --dim k=2 --output pairs=p.npy"), 0) << text;
  EXPECT_EQ(readNpyFile(file("p.npy")).shape, std::vector<int64_t>{4});
}

TEST_F(SnugRun, RefusesWrongUsage) {
  auto refuses = [&](const char *flags, const char *why) {
    EXPECT_EQ(runModel(flags), SNUG_EXIT_USAGE) << text;
    EXPECT_TRUE(says(why)) << text;
  };
  refuses("--bogus", "--bogus");
  refuses("--input x", "--input x: expected NAME=VALUE");
  refuses("--input x=x.npy --input x=x.npy", "--input names 'x' twice");
  refuses("--input q=x.npy", "the model has no input 'q'; it has x, shift");
  refuses("--inputs in.npz --output q=x.npy", "the model has no output 'q'; it has y, pairs");
  refuses("--input x=x.npy", "input 'shift' is missing: add --input shift=FILE.npy, or --random-inputs SEED");
  refuses("--random-inputs 1", "no input file determines 'n'; with the largest values, add --dim n=64");
  refuses("--random-inputs 1 --dim n=four", "--dim n: 'four' is not a whole number");
  refuses("--random-inputs 1 --dim n=4 --dim q=1", "the model has no dim 'q'");
  refuses("--random-inputs 1 --dim n=4 --random-range shift=5..4", "5..4 is empty");
  refuses("--random-inputs 1 --dim n=4 --random-range x=0..4", "the input is float32, and only integers take a range");
  refuses("--inputs in.npz --threads 5", "planned for 4");
  refuses("--inputs in.npz --repeat 0", "--repeat");
  refuses("--inputs in.npz --device 1", "--device, --cuda-graph and --tune are for models that compute on a GPU, and this one was compiled for cpu");
  refuses("--inputs in.npz --tune", "--device, --cuda-graph and --tune are for models that compute on a GPU, and this one was compiled for cpu");
  refuses("--inputs in.npz --cuda-graph", "--device, --cuda-graph and --tune are for models that compute on a GPU");
  EXPECT_EQ(run(""), SNUG_EXIT_USAGE);
}

TEST_F(SnugRun, RefusesWhatDoesNotFitTheModel) {
  EXPECT_EQ(runModel("--inputs in.npz --dim n=6"), SNUG_EXIT_RUN);
  EXPECT_TRUE(says("input 'x' has shape 1x4x8; expected [batch, n, 8], where dim 'n' is 6")) << text;
  EXPECT_EQ(runModel("--random-inputs 1 --dim n=66"), SNUG_EXIT_RUN);
  EXPECT_TRUE(says("66 is given for 'n'; dim 'n' allows 2..64 in steps of 2")) << text;
  writeNpyFile(file("wide.npy"), HostTensor({2, 64, 1}, {1, 4, 8}));
  EXPECT_EQ(runModel("--input x=wide.npy --input shift=shift.npy"), SNUG_EXIT_RUN);
  EXPECT_TRUE(says("input 'x' has dtype float64; expected float32")) << text;
  EXPECT_EQ(runModel("--input x=x.pb --input shift=shift.npy"), SNUG_EXIT_MACHINE);
  EXPECT_TRUE(says("cannot open 'x.pb'")) << text;
}

TEST_F(SnugRun, ReportsWhatIsMissingOrDamaged) {
  EXPECT_EQ(run("none.so"), SNUG_EXIT_MACHINE);
  EXPECT_EQ(run("x.npy"), SNUG_EXIT_INVALID);
  EXPECT_EQ(runModel("--input x=none.npy"), SNUG_EXIT_MACHINE);
  EXPECT_EQ(runModel("--inputs none.npz"), SNUG_EXIT_MACHINE);
  EXPECT_EQ(runModel("--inputs x.npy"), SNUG_EXIT_RUN);
  writeFile(models.weights(), safetensors("fedcba9876543210"));
  EXPECT_EQ(runModel("--inputs in.npz --output y=y.npy"), SNUG_EXIT_INVALID);
  EXPECT_TRUE(says("belongs to another model")) << text;
  std::filesystem::remove(models.weights());
  EXPECT_EQ(runModel("--inputs in.npz --output y=y.npy"), SNUG_EXIT_MACHINE);
  EXPECT_FALSE(std::filesystem::exists(file("y.npy")));
}

TEST_F(SnugRun, LeavesNothingBehindWhereItCannotWrite) {
  std::filesystem::create_directory(file("taken"));
  auto names = [&] {
    std::vector<std::string> all;
    for (const auto &entry : std::filesystem::directory_iterator(models.folder))
      all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  };
  ASSERT_EQ(runModel("--inputs in.npz"), 0) << text; // makes the log
  std::vector<std::string> before = names();
  for (const char *flags : {"--output y=taken", "--outputs taken", "--stats taken", "--output y=none/y.npy",
                            "--outputs none/y.npz", "--stats none/s.json"}) {
    EXPECT_EQ(runModel(std::string("--inputs in.npz ") + flags), SNUG_EXIT_MACHINE) << flags << ": " << text;
    EXPECT_EQ(names(), before) << flags;
  }
}

TEST_F(SnugRun, PrintsHelpWithExitCodes) {
  EXPECT_EQ(run("--help"), 0);
  EXPECT_TRUE(says("--random-inputs")) << text;
  EXPECT_TRUE(says("70  a fault of Snug's own")) << text;
  EXPECT_EQ(run("--version"), 0);
  EXPECT_EQ(text, "0.1.0\n");
}
