// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contexts of models that are cut for a mesh, one thread a rank.

#include "test/unit/comm/MeshFixture.h"
#include "tools/snug-run/AllocationCount.h"

#include <chrono>
#include <functional>
#include <thread>

namespace {
// What one rank has, and what it meets.
struct Rank {
  explicit Rank(const std::string &library, snug_comm *comm, int64_t n, uint32_t devices)
      : comm(comm), x({n, kMeshWidth}), total({n, kMeshWidth}), rows({kMeshWidth}), columns({kMeshWidth}),
        each({devices, kMeshWidth}), place({2}) {
    take(snug_model_load(library.c_str(), &model));
  }
  ~Rank() {
    snug_context_destroy(context);
    snug_model_release(model);
    snug_comm_destroy(comm);
  }
  // Whether it was a success.
  bool take(snug_error *error) {
    if (error)
      text = std::to_string(snug_error_code(error)) + " " + snug_error_message(error);
    snug_error_destroy(error);
    return !error;
  }
  bool create(bool withComm = true) {
    snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
    options.comm = withComm ? comm : nullptr;
    return take(snug_context_create(model, &options, &context));
  }
  bool run() {
    const DLTensor *inputs[] = {&x.dl}, *outputs[] = {&total.dl, &rows.dl, &columns.dl, &each.dl, &place.dl};
    return take(snug_run(context, inputs, 1, outputs, 5));
  }
  uint32_t rank() const { return snug_comm_rank(comm); }

  snug_comm *comm;
  Tensor<float> x, total, rows, columns, each;
  Tensor<int64_t> place;
  snug_model *model = nullptr;
  snug_context *context = nullptr;
  std::string text; // "6 message" of the last failure
};

class MeshContext : public ::testing::Test {
protected:
  // `libraryOf` and `rowsOf` say what each rank loads and how long its input is; returns what the ranks have met.
  std::vector<std::string> onRanks(uint32_t size, const std::function<std::string(uint32_t)> &libraryOf,
                                   const std::function<void(Rank &)> &body,
                                   const std::function<int64_t(uint32_t)> &rowsOf = [](uint32_t) { return 3; }) {
    std::vector<snug_comm *> comms(size);
    EXPECT_OK(snug_comm_create_loopback(size, nullptr, comms.data()));
    std::vector<std::string> texts(size), libraries;
    for (uint32_t r = 0; r < size; ++r)
      libraries.push_back(libraryOf(r)); // copies files
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < size; ++r)
      threads.emplace_back([&, r] {
        Rank rank(libraries[r], comms[r], rowsOf(r), size);
        body(rank);
        texts[r] = rank.text;
      });
    for (std::thread &thread : threads)
      thread.join();
    return texts;
  }
  std::function<std::string(uint32_t)> same(const char *built) {
    return [this, built](uint32_t) { return models.library(built); };
  }
  static void expectAll(const std::vector<std::string> &texts, const std::string &part) {
    for (const std::string &text : texts) {
      EXPECT_NE(text.find(part), std::string::npos) << text << "\n  lacks: " << part;
      EXPECT_EQ(text, texts[0]);
    }
  }

  MeshFolder models;
};
} // namespace

TEST_F(MeshContext, EachRankComputesItsPart) {
  const std::tuple<const char *, uint32_t, uint32_t> meshes[] = {{MESH_2X2, 2, 2}, {MESH_3X1, 3, 1}, {MESH_1X2, 1, 2}};
  for (auto [library, first, second] : meshes) {
    uint32_t d1 = first, d2 = second;
    auto texts = onRanks(d1 * d2, same(library), [&](Rank &rank) {
      ASSERT_TRUE(rank.create()) << rank.text;
      for (int run = 0; run < 3; ++run) {
        ASSERT_TRUE(rank.run()) << rank.text;
        MeshOutputs want = meshOutputs(d1, d2, rank.rank(), rank.x.values);
        EXPECT_EQ(rank.total.values, want.total);
        EXPECT_EQ(rank.rows.values, want.rows);
        EXPECT_EQ(rank.columns.values, want.columns);
        EXPECT_EQ(rank.each.values, want.each);
        EXPECT_EQ(rank.place.values, (std::vector<int64_t>{rank.rank() / d2, rank.rank() % d2}));
      }
    });
    for (const std::string &text : texts)
      EXPECT_EQ(text, "");
  }
}

TEST_F(MeshContext, RunsAllocateNothing) {
  onRanks(4, same(MESH_2X2), [&](Rank &rank) {
    ASSERT_TRUE(rank.create()) << rank.text;
    ASSERT_TRUE(rank.run()) << rank.text; // a thread's first wait may
    uint64_t before = snug::allocationCount();
    EXPECT_TRUE(rank.take(snug_comm_agree(rank.comm, SNUG_EXIT_DONE, nullptr)));
    snug::countAllocations(true);
    bool all = true;
    for (int run = 0; run < 10; ++run)
      all = rank.run() && all;
    snug::countAllocations(false);
    EXPECT_TRUE(rank.take(snug_comm_agree(rank.comm, SNUG_EXIT_DONE, nullptr)));
    EXPECT_TRUE(all);
    EXPECT_EQ(snug::allocationCount(), before);
    rank.take(snug_comm_agree(rank.comm, SNUG_EXIT_DONE, nullptr));
  });
}

TEST_F(MeshContext, NeedsACommunicatorOfItsSize) {
  expectAll(onRanks(3, same(MESH_2X2), [](Rank &rank) { rank.create(); }),
            "1 the model 'mesh' is cut for a mesh of 2 x 2, 4 devices, but 3 ranks came: start 4, or compile for a mesh of 3");
  expectAll(onRanks(2, same(FIXTURE_EMBEDDED), [](Rank &rank) { rank.create(); }),
            "1 the model 'fixture' is for one device, but 2 ranks came: start one without a communicator, or compile for a mesh");
  expectAll(onRanks(4, same(MESH_2X2), [](Rank &rank) { rank.create(false); }),
            "1 the model 'mesh' is cut for a mesh of 2 x 2 devices, and the context has no communicator");
}

TEST_F(MeshContext, TellsItsMesh) {
  onRanks(1, same(MESH_3X1), [](Rank &rank) {
    uint32_t mesh[2];
    snug_model_mesh(rank.model, mesh);
    EXPECT_EQ(mesh[0], 3u);
    EXPECT_EQ(mesh[1], 1u);
  });
  onRanks(1, same(FIXTURE_EMBEDDED), [](Rank &rank) {
    uint32_t mesh[2] = {7, 7};
    snug_model_mesh(rank.model, mesh);
    EXPECT_EQ(mesh[0], 0u);
    EXPECT_EQ(mesh[1], 0u);
  });
}

// Of x there are two parts, one for each place along the first axis; of total four.
TEST_F(MeshContext, TellsItsParts) {
  snug_model *model = nullptr;
  EXPECT_OK(snug_model_load(models.library(MESH_PARTS).c_str(), &model));
  ASSERT_NE(model, nullptr);
  const snug_value_cut *cut = snug_model_input_cut(model, 0);
  ASSERT_NE(cut, nullptr);
  EXPECT_EQ(cut->dim[0], 1);
  EXPECT_EQ(cut->dim[1], -1);
  EXPECT_EQ(cut->extent[0], 8);
  EXPECT_EQ(snug_model_output_cut(model, 1), nullptr);
  EXPECT_EQ(snug_model_output_cut(model, 5), nullptr);
  const int64_t dims[] = {3};
  for (int64_t rank = 0; rank < 4; ++rank) {
    int64_t shape[2], whole[2], start[2];
    EXPECT_OK(snug_model_input_shape(model, 0, dims, shape));
    EXPECT_EQ(shape[1], 4);
    EXPECT_OK(snug_model_input_part(model, 0, uint32_t(rank), dims, whole, start));
    EXPECT_EQ((std::vector<int64_t>{whole[0], whole[1], start[0], start[1]}), (std::vector<int64_t>{3, 8, 0, rank / 2 * 4}));
    EXPECT_OK(snug_model_output_part(model, 0, uint32_t(rank), dims, whole, start));
    EXPECT_EQ((std::vector<int64_t>{whole[0], whole[1], start[0], start[1]}), (std::vector<int64_t>{3, 16, 0, rank * 4}));
    EXPECT_OK(snug_model_output_part(model, 1, uint32_t(rank), dims, whole, start));
    EXPECT_EQ((std::vector<int64_t>{whole[0], start[0]}), (std::vector<int64_t>{4, 0}));
  }
  auto refused = [&](snug_error *error, snug_exit_code code, const std::string &part) {
    EXPECT_EQ(snug_error_code(error), code);
    EXPECT_NE(std::string(snug_error_message(error)).find(part), std::string::npos) << snug_error_message(error);
    snug_error_destroy(error);
  };
  int64_t whole[2], start[2], tooLarge[] = {65};
  refused(snug_model_input_part(model, 0, 4, dims, whole, start), SNUG_EXIT_USAGE, "there is no device 4: the model is for 4");
  refused(snug_model_input_part(model, 1, 0, dims, whole, start), SNUG_EXIT_USAGE, "there is no input 1");
  refused(snug_model_output_part(model, 0, 0, tooLarge, whole, start), SNUG_EXIT_RUN, "allows 1..64");
  Tensor<float> given({3, 8});
  const DLTensor *inputs[] = {&given.dl};
  int64_t solved[] = {-1};
  refused(snug_model_bind_dims(model, inputs, 1, solved), SNUG_EXIT_RUN,
          "input 'x' has shape 3x8; expected [n, 4] (one device's part of 8 along dim 1)");
  snug_model_release(model);
  refused(snug_model_load(models.library(MESH_WRONG_PARTS).c_str(), &model), SNUG_EXIT_INVALID, "damaged");
}

TEST_F(MeshContext, WhatOneRankLacksAllAreTold) {
  std::filesystem::remove(models.weightsOf(2));
  auto create = [](Rank &rank) { rank.create(); };
  expectAll(onRanks(4, same(MESH_2X2), create), "5 rank 2: cannot open the weights file '");
  writeFile(models.weightsOf(2), rankWeightsFile(2, "0000000000000001"));
  expectAll(onRanks(4, same(MESH_2X2), create), "belongs to another model (its weights id is '0000000000000001', the model's is "
                                                "'0000000000000002')");
  // Fewer ranks do not need it.
  for (const std::string &text : onRanks(2, same(MESH_1X2), create))
    EXPECT_EQ(text, "");
}

TEST_F(MeshContext, PartsOfOneFileAreFoundByOffset) {
  std::string file = rankWeightsFile(0, "0000000000000001");
  file.resize(256 + 64);
  auto second = rankWeights(1);
  file.append(reinterpret_cast<const char *>(second.data()), 16);
  writeFile(models.folder / "all.safetensors", file);
  auto texts = onRanks(2, same(MESH_ONE_FILE), [](Rank &rank) {
    ASSERT_TRUE(rank.create()) << rank.text;
    ASSERT_TRUE(rank.run()) << rank.text;
    EXPECT_EQ(rank.each.values, meshOutputs(1, 2, rank.rank(), rank.x.values).each);
  });
  for (const std::string &text : texts)
    EXPECT_EQ(text, "");
}

TEST_F(MeshContext, RanksNeedTheSameLibrary) {
  auto lastHas = [this](const char *other) {
    return [this, other](uint32_t rank) { return models.library(rank == 3 ? other : MESH_2X2); };
  };
  auto create = [](Rank &rank) { rank.create(); };
  std::string start = "6 rank 0 and rank 3 have not loaded the same library; they differ in ";
  expectAll(onRanks(4, lastHas(MESH_OTHER_FILE), create), start + "the contents of their files: give all");
  expectAll(onRanks(4, lastHas(MESH_OTHER_DIMS), create), start + "their dims or the ranges of these: give all");
  expectAll(onRanks(4, lastHas(MESH_OTHER_COLLECTIVES), create), start + "their collectives: give all");
  expectAll(onRanks(4, lastHas(MESH_3X1), create), start + "what they are cut for: a mesh of 2 x 2 and a mesh of 3 x 1: give all");
  expectAll(onRanks(4, lastHas(FIXTURE_EMBEDDED), create), start + "their model: 'mesh' and 'fixture': give all");
}

TEST_F(MeshContext, RanksRunTheSameDims) {
  auto texts = onRanks(
      4, same(MESH_2X2),
      [](Rank &rank) {
        ASSERT_TRUE(rank.create()) << rank.text;
        EXPECT_FALSE(rank.run());
      },
      [](uint32_t rank) { return rank == 2 ? 5 : 3; });
  expectAll(texts, "6 the ranks run different sizes: dim 'n' is 3 on rank 0 and 5 on rank 2; give all of them inputs of the same shapes");
}

TEST_F(MeshContext, WhatOneRankRefusesAllRefuseAndGoOn) {
  auto texts = onRanks(4, same(MESH_2X2), [](Rank &rank) {
    ASSERT_TRUE(rank.create()) << rank.text;
    if (rank.rank() == 1)
      rank.x.dl.ndim = 1;
    EXPECT_FALSE(rank.run());
    rank.x.dl.ndim = 2;
    std::string text = rank.text;
    EXPECT_TRUE(rank.run()) << rank.text;
    EXPECT_EQ(rank.total.values, meshOutputs(2, 2, rank.rank(), rank.x.values).total);
    rank.text = text;
  });
  expectAll(texts, "6 rank 1: input 'x' has ");
}

TEST_F(MeshContext, ALostRankEndsTheRunOfTheOthers) {
  auto start = std::chrono::steady_clock::now();
  auto texts = onRanks(4, same(MESH_2X2), [](Rank &rank) {
    ASSERT_TRUE(rank.create()) << rank.text;
    ASSERT_TRUE(rank.run()) << rank.text;
    if (rank.rank() == 3)
      return; // destroys its communicator
    EXPECT_FALSE(rank.run());
    std::string first = rank.text;
    EXPECT_FALSE(rank.run());
    EXPECT_EQ(rank.text, first);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(texts[3], "");
  texts.pop_back();
  expectAll(texts, "6 the ranks cannot go on over loopback: rank 3 was lost: it destroyed its communicator; start all of them again");
}
