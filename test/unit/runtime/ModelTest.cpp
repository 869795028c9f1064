// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loading, introspection, memory, shapes, weights.

#include "test/unit/runtime/Fixture.h"

using Model = RuntimeTest;

TEST_F(Model, TellsWhatItIs) {
  load();
  EXPECT_STREQ(snug_version(), "0.1.0");
  EXPECT_STREQ(snug_model_name(model), "fixture");
  EXPECT_STREQ(snug_model_target(model), "cpu");
  EXPECT_STREQ(snug_model_compiler_version(model), "0.1.0");
  EXPECT_EQ(snug_model_num_threads(model), 4u);
  ASSERT_EQ(snug_model_num_dims(model), 2u);
  EXPECT_STREQ(snug_model_dim(model, 1)->name, "n");
  EXPECT_EQ(snug_model_dim(model, 1)->max, 64);
  EXPECT_EQ(snug_model_dim(model, 2), nullptr);
  ASSERT_EQ(snug_model_num_inputs(model), 2u);
  EXPECT_STREQ(snug_model_input(model, 1)->name, "shift");
  EXPECT_EQ(snug_model_input(model, 2), nullptr);
  ASSERT_EQ(snug_model_num_outputs(model), 2u);
  EXPECT_EQ(snug_model_output(model, 0)->rank, 3);
  EXPECT_EQ(snug_model_output(model, 2), nullptr);
}

TEST_F(Model, KnowsItsNeedWithoutWeights) {
  std::filesystem::remove(models.weights());
  load();
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, nullptr, &need));
  EXPECT_EQ(need.weights, 32u);
  EXPECT_EQ(need.arena, 2304u);
  EXPECT_EQ(need.arena_alignment, 64u);
  EXPECT_EQ(need.inputs, 2568u);
  EXPECT_EQ(need.outputs, 18432u);
  EXPECT_EQ(need.total, 32u + 2304 + 1000 + 2568 + 18432);

  int64_t dims[] = {1, 4};
  EXPECT_OK(snug_model_memory(model, dims, &need));
  EXPECT_EQ(need.inputs, 4u * 8 * 4 + 5 * 8);
  EXPECT_EQ(need.outputs, 4u * 8 * 4 + 16 * 4);
  EXPECT_EQ(need.arena, 2304u);
  dims[1] = 66;
  EXPECT_FAILS(snug_model_memory(model, dims, &need), SNUG_EXIT_RUN,
               "66 is given for 'n'; dim 'n' allows 2..64 in steps of 2");
}

TEST_F(Model, BindsDimsAndGivesShapes) {
  load();
  Tensor<float> x({1, 6, 8});
  Tensor<int64_t> shift({7});
  const DLTensor *inputs[] = {&x.dl, &shift.dl};
  int64_t dims[] = {-1, -1};
  EXPECT_OK(snug_model_bind_dims(model, inputs, 2, dims));
  EXPECT_EQ(dims[0], 1);
  EXPECT_EQ(dims[1], 6);
  int64_t pairs = 0, y[3] = {};
  EXPECT_OK(snug_model_output_shape(model, 1, dims, &pairs));
  EXPECT_EQ(pairs, 36);
  EXPECT_OK(snug_model_output_shape(model, 0, dims, y));
  EXPECT_EQ(y[1], 6);
  EXPECT_OK(snug_model_input_shape(model, 1, dims, &pairs));
  EXPECT_EQ(pairs, 7);
  EXPECT_FAILS(snug_model_output_shape(model, 2, dims, &pairs), SNUG_EXIT_USAGE,
               "there is no output 2: the model has 2");

  // One input is enough, through n + 1; given values are kept and checked.
  const DLTensor *second[] = {nullptr, &shift.dl};
  int64_t again[] = {-1, -1};
  EXPECT_OK(snug_model_bind_dims(model, second, 2, again));
  EXPECT_EQ(again[1], 6);
  again[1] = 8;
  EXPECT_FAILS_WITH(snug_model_bind_dims(model, second, 2, again), SNUG_EXIT_RUN, "where dim 'n' is 8");
  const DLTensor *none[] = {nullptr, nullptr};
  again[1] = -1;
  EXPECT_FAILS_WITH(snug_model_bind_dims(model, none, 2, again), SNUG_EXIT_RUN, "dim 'n' is not known");
}

TEST_F(Model, ReferencesKeepItLoaded) {
  load();
  create();
  snug_model_retain(model);
  snug_model_release(model);
  snug_model_release(model); // the context's own reference is left
  model = nullptr;
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
}

TEST_F(Model, RefusesWhatIsNoModel) {
  EXPECT_FAILS_WITH(snug_model_load((models.folder / "none.so").c_str(), &model), SNUG_EXIT_MACHINE,
                    "none.so': No such file or directory");
  EXPECT_FAILS_WITH(snug_model_load(nullptr, &model), SNUG_EXIT_MACHINE, "cannot open the model");
  writeFile(models.folder / "text.so", "not a library");
  EXPECT_FAILS_WITH(snug_model_load((models.folder / "text.so").c_str(), &model), SNUG_EXIT_INVALID, "text.so");
  EXPECT_FAILS_WITH(snug_model_load(models.library(FIXTURE_NO_QUERY).c_str(), &model), SNUG_EXIT_INVALID,
                    "not a model compiled by snugc");
  EXPECT_FAILS_WITH(snug_model_load(models.library(FIXTURE_NEWER).c_str(), &model), SNUG_EXIT_UNSUPPORTED,
                    "compiled for a newer runtime than this 0.1.0");
  EXPECT_EQ(model, nullptr);
}

TEST_F(Model, RefusesADeviceThatItDoesNotKnow) {
  EXPECT_FAILS_WITH(snug_model_load(models.library(FIXTURE_DEVICE).c_str(), &model), SNUG_EXIT_UNSUPPORTED,
                    "was compiled for cpu, a device that this runtime does not know: update the runtime");
}

TEST_F(Model, RunsWhatACompilerOfBeforeDevicesMade) {
  load(FIXTURE_ABI_4);
  create();
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
}

TEST_F(Model, ReportsMissingWeights) {
  std::filesystem::remove(models.weights());
  load();
  EXPECT_FAILS_WITH(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
                    "fixture.safetensors': No such file or directory; it has to lie beside the model's library");
  EXPECT_EQ(context, nullptr);
  // Once the file is there, the same model works.
  writeFile(models.weights(), safetensors("0123456789abcdef"));
  create();
}

TEST_F(Model, RefusesDamagedWeights) {
  load();
  auto refuses = [&](const std::string &bytes, const char *why) {
    writeFile(models.weights(), bytes);
    EXPECT_FAILS_WITH(snug_context_create(model, nullptr, &context), SNUG_EXIT_INVALID, why);
    EXPECT_EQ(context, nullptr);
  };
  std::string good = safetensors("0123456789abcdef");
  refuses(safetensors("fedcba9876543210"),
          "belongs to another model (its weights id is 'fedcba9876543210', the model's is '0123456789abcdef')");
  refuses(good.substr(0, good.size() - 1), "has 287 bytes, the model needs 288");
  refuses("", "has 0 bytes");
  refuses(std::string(300, '\xff'), "its header's length is past its end");
  std::string shifted = good;
  shifted[0] = char(240);
  refuses(shifted, "has its data at byte 248, the model expects it at 256");
  std::string broken = good;
  broken[8] = '[';
  refuses(broken, "its header is not JSON");
  // The id counts only where it belongs: not as a tensor of that name.
  std::string elsewhere = good;
  elsewhere.replace(elsewhere.find("__metadata__"), 12, "__metadatb__");
  refuses(elsewhere, "its weights id is ''");
}
