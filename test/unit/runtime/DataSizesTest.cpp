// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Dims that are elements of inputs, and outputs whose shape is known after the run.

#include "test/unit/runtime/Fixture.h"
#include "tools/snug-run/AllocationCount.h"

class DataSizes : public RuntimeTest {
protected:
  void SetUp() override {
    load(FIXTURE_DATA);
    counts.dl.dtype = {kDLInt, 32, 1};
    counts.dl.data = numbers;
  }
  snug_error *bind(int64_t *dims) {
    const DLTensor *inputs[] = {&counts.dl, nullptr};
    return snug_model_bind_dims(model, inputs, 2, dims);
  }

  int32_t numbers[2] = {4, 2};
  Tensor<int64_t> counts{{2}};
};

TEST_F(DataSizes, DimsAreReadFromData) {
  EXPECT_EQ(snug_model_value_dim(model, 1)->dim, 1u);
  EXPECT_EQ(snug_model_value_dim(model, 2), nullptr);
  int64_t dims[] = {-1, -1}, shape[2] = {};
  EXPECT_OK(bind(dims));
  EXPECT_EQ(dims[0], 4);
  EXPECT_EQ(dims[1], 2);
  EXPECT_OK(snug_model_output_shape(model, 1, dims, shape)); // the largest
  EXPECT_EQ(shape[0], 4);

  int64_t other[] = {3, -1};
  EXPECT_FAILS(bind(other), SNUG_EXIT_RUN, "input 'counts'[0] is 4, but dim 'counts.0' was set to 3");
  numbers[1] = 5;
  int64_t open[] = {-1, -1};
  EXPECT_FAILS(bind(open), SNUG_EXIT_RUN, "input 'counts'[1] is 5; dim 'counts.1' allows 1..3");
  EXPECT_EQ(open[0], -1);
  numbers[1] = -1;
  EXPECT_FAILS_WITH(bind(open), SNUG_EXIT_RUN, "input 'counts'[1] is -1");
  counts.dl.dtype = {kDLInt, 64, 1};
  EXPECT_FAILS_WITH(bind(open), SNUG_EXIT_RUN, "has dtype int64; expected int32");
  counts.dl.data = nullptr; // not there yet
  EXPECT_FAILS_WITH(bind(open), SNUG_EXIT_RUN, "dim 'counts.0' is not known");
  int64_t set[] = {0, 3};
  EXPECT_OK(bind(set));
}

TEST_F(DataSizes, MapsHaveKeys) {
  const snug_map_keys *keys = snug_model_output_keys(model, 1);
  ASSERT_NE(keys, nullptr);
  EXPECT_EQ(keys->count, 3u);
  EXPECT_EQ(keys->ints[1], 1 << 20);
  EXPECT_EQ(keys->strings, nullptr);
  EXPECT_EQ(snug_model_output_keys(model, 0), nullptr);
  EXPECT_EQ(snug_model_output_keys(model, 2), nullptr);
}

TEST_F(DataSizes, OutputsSayTheirShapeAfterTheRun) {
  create();
  int64_t shape[2] = {-7, -7};
  EXPECT_FAILS_WITH(snug_context_output_shape(context, 1, shape), SNUG_EXIT_USAGE, "after a run");
  Tensor<float> mask({4}), z({2}), y({4, 2});
  mask.values = {0, 1, 0, 1};
  mask.dl.data = mask.values.data();
  const DLTensor *inputs[] = {&counts.dl, &mask.dl}, *outputs[] = {&z.dl, &y.dl};
  uint64_t before = snug::allocationCount();
  snug::countAllocations(true);
  snug_error *error = snug_run(context, inputs, 2, outputs, 2);
  snug::countAllocations(false);
  EXPECT_EQ(snug::allocationCount(), before);
  EXPECT_OK(error);
  EXPECT_OK(snug_context_output_shape(context, 1, shape));
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[1], 2);
  EXPECT_EQ((std::vector<float>(y.values.begin(), y.values.begin() + 4)), (std::vector<float>{1, 1, 3, 3}));
  EXPECT_OK(snug_context_output_shape(context, 0, shape)); // an ordinary one
  EXPECT_EQ(shape[0], 2);
  EXPECT_FAILS_WITH(snug_context_output_shape(context, 2, shape), SNUG_EXIT_USAGE, "there is no output 2");
  // Of a run that failed nothing is known.
  numbers[0] = 9;
  EXPECT_FAILS_WITH(snug_run(context, inputs, 2, outputs, 2), SNUG_EXIT_RUN, "allows 0..4");
  EXPECT_FAILS_WITH(snug_context_output_shape(context, 0, shape), SNUG_EXIT_USAGE, "after a run");
}
