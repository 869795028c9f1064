// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-run on models that are cut for a mesh: its ranks as threads, and as processes of mpirun.

#include "lib/solver/Topology.h"
#include "test/unit/comm/MeshFixture.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"

#include <chrono>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/wait.h>

using namespace snug;

namespace {
class MeshRun : public ::testing::Test {
protected:
  void SetUp() override {
    HostTensor x({2, 32, 1}, {3, kMeshWidth});
    for (int i = 0; i < 12; ++i) {
      values.push_back(float(i) - 4);
      reinterpret_cast<float *>(x.data())[i] = values.back();
    }
    writeNpyFile((models.folder / "x.npy").string(), x);
    writeNpyFile((models.folder / "long.npy").string(), HostTensor({2, 32, 1}, {5, kMeshWidth}));
  }

  std::string file(const std::string &name) const { return (models.folder / name).string(); }

  // Runs `command` in the models' folder; its output is kept in `text`.
  int shell(const std::string &command) {
    std::string all = "cd '" + models.folder.string() + "' && { " + command + " ; } >log 2>&1";
    int status = system(all.c_str());
    std::ifstream log(file("log"));
    text.assign(std::istreambuf_iterator<char>(log), {});
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int loopback(const std::string &flags) { return shell("'" SNUG_RUN "' --comm loopback " + flags); }
  // What mpirun asks its users about: more ranks than cores, and root. Leaks of MPI's own are not looked for.
  static std::string mpirun(int ranks) {
    return "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
           "ASAN_OPTIONS=detect_leaks=0 '" MPIRUN "' -n " + std::to_string(ranks) + " ";
  }
  int mpi(int ranks, const std::string &flags) { return shell(mpirun(ranks) + "'" SNUG_RUN "' " + flags); }

  size_t count(const std::string &part) const {
    size_t found = 0;
    for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
      ++found;
    return found;
  }
  // One message, which has these words.
  void expectOneMessage(const std::string &part) {
    EXPECT_EQ(count("snug-run: error:"), 1u) << text;
    EXPECT_EQ(count(part), 1u) << text << "\n  lacks: " << part;
  }
  static void expectFloats(const HostTensor &tensor, const std::vector<float> &want) {
    ASSERT_EQ(size_t(tensor.elements()), want.size());
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(reinterpret_cast<const float *>(tensor.data())[i], want[i]) << i;
  }
  void expectOutputs(const std::string &archive, uint32_t d1, uint32_t d2, uint32_t rank) {
    std::map<std::string, HostTensor> all = readNpzFile(file(archive));
    MeshOutputs want = meshOutputs(d1, d2, rank, values);
    ASSERT_EQ(all.size(), 5u);
    expectFloats(all.at("total"), want.total);
    expectFloats(all.at("rows"), want.rows);
    expectFloats(all.at("columns"), want.columns);
    expectFloats(all.at("each"), want.each);
    auto *place = reinterpret_cast<const int64_t *>(all.at("place").data());
    EXPECT_EQ(place[0], int64_t(rank / d2));
    EXPECT_EQ(place[1], int64_t(rank % d2));
  }
  void expectStats(size_t ranks) {
    nlohmann::json stats = nlohmann::json::parse(std::ifstream(file("stats.json")));
    ASSERT_EQ(stats["ranks"].size(), ranks);
    EXPECT_EQ(stats["mesh"][0].get<size_t>() * stats["mesh"][1].get<size_t>(), ranks);
    for (const nlohmann::json &rank : stats["ranks"]) {
      EXPECT_EQ(rank["planned"]["weights"], 16);
      EXPECT_EQ(rank["planned"]["arena"], 1024);
      EXPECT_GE(rank["measured"]["arena_high_water"], 40); // 3 rows of x * w
      EXPECT_LE(rank["measured"]["arena_high_water"], 48);
      EXPECT_GT(rank["latency_ms"]["median"], 0.0);
    }
  }

  MeshFolder models;
  std::vector<float> values;
  std::string text;
};
} // namespace

TEST_F(MeshRun, LoopbackRunsAllRanksInOneProcess) {
  std::string model = models.library(MESH_2X2);
  ASSERT_EQ(loopback(model + " --input x=x.npy --outputs out.npz --repeat 3 --stats stats.json"), 0) << text;
  expectOutputs("out.npz", 2, 2, 0);
  expectStats(4);
  nlohmann::json stats = nlohmann::json::parse(std::ifstream(file("stats.json")));
  EXPECT_EQ(stats["measured"]["allocations_in_run"], 0);
  EXPECT_EQ(count("3 run(s) on 4 device(s)"), 1u) << text;
  ASSERT_EQ(loopback(model + " --input x=x.npy --outputs out.{rank}.npz"), 0) << text;
  for (uint32_t rank = 0; rank < 4; ++rank)
    expectOutputs("out." + std::to_string(rank) + ".npz", 2, 2, rank);
}

TEST_F(MeshRun, CollectivesRunWhileTheModelComputes) {
  std::string model = models.library(MESH_STARTS);
  ASSERT_EQ(loopback(model + " --input x=x.npy --outputs out.npz --repeat 3 --stats stats.json"), 0) << text;
  expectOutputs("out.npz", 2, 2, 0);
  EXPECT_EQ(nlohmann::json::parse(std::ifstream(file("stats.json")))["measured"]["allocations_in_run"], 0);
#ifdef MPIRUN
  ASSERT_EQ(mpi(4, model + " --input x=x.npy --outputs mpi.npz --repeat 3"), 0) << text;
  expectOutputs("mpi.npz", 2, 2, 0);
#endif
}

TEST_F(MeshRun, LoopbackTellsFailuresOnce) {
  std::string model = models.library(MESH_2X2);
  EXPECT_EQ(loopback(model + " --input x=none.npy"), SNUG_EXIT_MACHINE);
  expectOneMessage("none.npy");
  EXPECT_EQ(shell("'" SNUG_RUN "' --comm loopback:3 " + model + " --input x=x.npy"), SNUG_EXIT_USAGE);
  expectOneMessage("4 devices, but 3 ranks came");
  std::filesystem::remove(models.weightsOf(1));
  EXPECT_EQ(loopback(model + " --input x=x.npy"), SNUG_EXIT_MACHINE);
  expectOneMessage("rank 1: cannot open the weights file");
}

TEST_F(MeshRun, SaysHowToStart) {
  std::string model = models.library(MESH_2X2);
  EXPECT_EQ(shell("'" SNUG_RUN "' " + model + " --input x=x.npy"), SNUG_EXIT_USAGE);
  expectOneMessage("start a process for each with mpirun -n 4 snug-run");
  for (const char *bad : {"loop", "loopback:", "loopback:x", "loopback:0", "mpi:2"}) {
    EXPECT_EQ(shell("'" SNUG_RUN "' " + model + " --comm " + bad), SNUG_EXIT_USAGE) << bad;
    expectOneMessage("--comm");
  }
  for (const char *bad : {"--measure-links", "-o x.json", "--measure-links -o x.json --comm loopback", "--measure-links -o x.json m.so"}) {
    EXPECT_EQ(shell(std::string("'" SNUG_RUN "' ") + bad), SNUG_EXIT_USAGE) << bad;
    expectOneMessage("mpirun -n N");
  }
  EXPECT_EQ(shell("'" SNUG_RUN "' --info " + model), 0);
  EXPECT_EQ(count("mesh    2 x 2 devices"), 1u) << text;
}

#ifdef MPIRUN
TEST_F(MeshRun, MpiRunsOneRankAProcess) {
  const std::tuple<const char *, uint32_t, uint32_t> meshes[] = {{MESH_2X2, 2, 2}, {MESH_3X1, 3, 1}, {MESH_1X2, 1, 2}};
  for (auto [library, d1, d2] : meshes) {
    uint32_t ranks = d1 * d2;
    ASSERT_EQ(mpi(int(ranks), models.library(library) + " --input x=x.npy --outputs out.npz --output each=each.{rank}.npy "
                              "--repeat 2 --stats stats.json"), 0) << text;
    expectOutputs("out.npz", d1, d2, 0);
    expectStats(ranks);
    EXPECT_EQ(count("2 run(s) on " + std::to_string(ranks) + " device(s)"), 1u) << text;
    EXPECT_EQ(count("total: float32 3x4"), 1u) << text;
    for (uint32_t rank = 0; rank < ranks; ++rank)
      expectFloats(readNpyFile(file("each." + std::to_string(rank) + ".npy")), meshOutputs(d1, d2, rank, values).each);
  }
}

// mpirun gives the exit code of the first rank that failed.
TEST_F(MeshRun, MpiTellsFailuresOnce) {
  std::string model = models.library(MESH_2X2), other = models.library(MESH_OTHER_FILE);
  EXPECT_EQ(mpi(3, model + " --input x=x.npy"), SNUG_EXIT_USAGE);
  expectOneMessage("4 devices, but 3 ranks came: start 4");
  EXPECT_EQ(mpi(4, model + " --bogus"), SNUG_EXIT_USAGE);
  expectOneMessage("--bogus");
  EXPECT_EQ(mpi(2, models.library(FIXTURE_EMBEDDED) + " --random-inputs 1 --dim n=4 --dim k=2"), SNUG_EXIT_USAGE);
  expectOneMessage("'fixture' is for one device, but 2 ranks came");
  // What differs between the ranks.
  auto split = [&](const std::string &first, const std::string &second) {
    return shell(mpirun(3) + "'" SNUG_RUN "' " + first + " : -n 1 '" SNUG_RUN "' " + second);
  };
  EXPECT_EQ(split(model + " --input x=x.npy", other + " --input x=x.npy"), SNUG_EXIT_RUN);
  expectOneMessage("rank 0 and rank 3 have not loaded the same library; they differ in the contents of their files");
  EXPECT_EQ(split(model + " --input x=x.npy", model + " --input x=long.npy"), SNUG_EXIT_RUN);
  expectOneMessage("dim 'n' is 3 on rank 0 and 5 on rank 3");
  EXPECT_EQ(split(model + " --input x=x.npy", model + " --input x=none.npy"), SNUG_EXIT_MACHINE);
  expectOneMessage("rank 3: ");
}

// mpirun itself ends with a code of its own then: that of a killed process.
TEST_F(MeshRun, AKilledRankEndsAllWithOneMessage) {
  const std::pair<const char *, const char *> cases[] = {{MESH_2X2, "0"}, {MESH_2X2, "2"}, {MESH_STARTS, "0"}, {MESH_STARTS, "3"}};
  for (auto [library, lost] : cases) {
    std::string model = models.library(library);
    auto start = std::chrono::steady_clock::now();
    EXPECT_NE(shell(std::string("SNUG_TEST_DIE=") + lost + " " + mpirun(4) + "'" SNUG_RUN "' " + model + " --input x=x.npy"), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    expectOneMessage(std::string("rank ") + lost + " was lost: its process has ended; start all of them again");
    // Where the launcher notices nothing.
    start = std::chrono::steady_clock::now();
    shell(std::string("SNUG_TEST_DIE=") + lost + " " + mpirun(4) + "sh -c '\"$@\"; echo ended $?; sleep 5' sh '" SNUG_RUN "' " + model +
          " --input x=x.npy");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    expectOneMessage(std::string("rank ") + lost + " was lost: its process has ended; start all of them again");
    EXPECT_EQ(count("ended 6"), 3u) << text;
    EXPECT_EQ(count("ended 137"), 1u) << text;
  }
}

TEST_F(MeshRun, MeasuresLinks) {
  ASSERT_EQ(mpi(3, "--measure-links -o links.json"), 0) << text;
  EXPECT_EQ(count("6 links measured: links.json"), 1u) << text;
  std::ifstream file(this->file("links.json"));
  std::string json(std::istreambuf_iterator<char>(file), {}), error;
  std::optional<Topology> topology = parseTopology(json, error);
  ASSERT_TRUE(topology) << error << json;
  nlohmann::json read = nlohmann::json::parse(json);
  for (const char *key : {"p2p_gbps", "latency_us", "contended_gbps"})
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b)
        EXPECT_TRUE(a == b || read[key][a][b] > 0.0) << key << json;
  EXPECT_EQ(mpi(1, "--measure-links -o links.json"), SNUG_EXIT_USAGE);
  expectOneMessage("one rank has no links");
  EXPECT_EQ(mpi(2, "--measure-links -o none/links.json"), SNUG_EXIT_MACHINE);
  expectOneMessage("rank 0: ");
}

TEST_F(MeshRun, ARankThatStandsStillIsNotWaitedForForever) {
  for (const char *library : {MESH_2X2, MESH_STARTS}) {
    std::string model = models.library(library);
    auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(shell("SNUG_TEST_STUCK=1 " + mpirun(4) + "'" SNUG_RUN "' " + model + " --input x=x.npy"), SNUG_EXIT_RUN) << text;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(25)); // it sleeps for 30
    expectOneMessage("8000 ms passed without an answer of all ranks");
  }
}
#endif
