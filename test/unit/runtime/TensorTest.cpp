// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What snug_run says about tensors that do not match the model.

#include "test/unit/runtime/Fixture.h"

class Tensors : public RuntimeTest {
protected:
  void SetUp() override {
    load();
    create();
  }
  snug_error *run() { return RuntimeTest::run(x.dl, shift.dl, y.dl, pairs.dl); }
  void TearDown() override {
    // Each test breaks one tensor and leaves a context that still runs.
    Tensor<float> goodX({1, 4, 8}), goodY({1, 4, 8}), goodPairs({16});
    Tensor<int64_t> goodShift({5});
    EXPECT_OK(RuntimeTest::run(goodX.dl, goodShift.dl, goodY.dl, goodPairs.dl));
    expectResult(goodX, goodShift, goodY, 1);
    RuntimeTest::TearDown();
  }

  Tensor<float> x{{1, 4, 8}}, y{{1, 4, 8}}, pairs{{16}};
  Tensor<int64_t> shift{{5}};
};

TEST_F(Tensors, DimOutOfBounds) {
  x.shape[1] = 66;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape 1x66x8; dim 'n' allows 2..64 in steps of 2");
  x.shape[1] = 7;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape 1x7x8; dim 'n' allows 2..64 in steps of 2");
  x.shape[1] = 0;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape 1x0x8; dim 'n' allows 2..64 in steps of 2");
  x.shape[1] = INT64_MIN;
  EXPECT_FAILS_WITH(run(), SNUG_EXIT_RUN, "an extent cannot be negative");
}

TEST_F(Tensors, FixedDim) {
  x.shape[0] = 2;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN,
               "input 'x' has shape 2x4x8; dim 'batch' was fixed at 1 when the model was compiled");
}

TEST_F(Tensors, WrongConstantExtent) {
  x.shape[2] = 9;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape 1x4x9; expected [batch, n, 8]");
}

TEST_F(Tensors, DimsContradict) {
  shift.shape[0] = 7;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN,
               "input 'shift' has shape 7; expected [n + 1], where dim 'n' is 4 (from input 'x')");
  shift.shape[0] = 0;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'shift' has shape 0; so 'n' is -1, but dim 'n' allows 2..64 in steps of 2");
}

TEST_F(Tensors, WrongRank) {
  x.dl.ndim = 2;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape 1x4; expected [batch, n, 8]");
  x.dl.ndim = 0;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape () (a scalar); expected [batch, n, 8]");
  x.dl.ndim = 3;
  x.dl.shape = nullptr;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has shape NULL; expected [batch, n, 8]");
}

TEST_F(Tensors, WrongOutputShape) {
  pairs.shape[0] = 15;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "output 'pairs' has shape 15; expected 16");
  pairs.shape[0] = 16;
  y.shape[1] = 6;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "output 'y' has shape 1x6x8; expected 1x4x8 (batch=1, n=4)");
}

TEST_F(Tensors, WrongDtype) {
  Tensor<double> wide({1, 4, 8});
  EXPECT_FAILS(RuntimeTest::run(wide.dl, shift.dl, y.dl, pairs.dl), SNUG_EXIT_RUN,
               "input 'x' has dtype float64; expected float32");
  EXPECT_FAILS(RuntimeTest::run(x.dl, shift.dl, wide.dl, pairs.dl), SNUG_EXIT_RUN,
               "output 'y' has dtype float64; expected float32");
  shift.dl.dtype.lanes = 2;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'shift' has dtype int64x2; expected int64");
}

TEST_F(Tensors, WrongCount) {
  const DLTensor *inputs[] = {&x.dl}, *outputs[] = {&y.dl};
  EXPECT_FAILS(snug_run(context, inputs, 1, outputs, 1), SNUG_EXIT_RUN, "the model takes 2 inputs, got 1");
  const DLTensor *both[] = {&x.dl, &shift.dl};
  EXPECT_FAILS(snug_run(context, both, 2, outputs, 1), SNUG_EXIT_RUN, "the model gives 2 outputs, got 1");
  const DLTensor *hole[] = {&x.dl, nullptr};
  EXPECT_FAILS(snug_run(context, both, 2, hole, 2), SNUG_EXIT_RUN, "output 'pairs' is NULL; expected shape 16");
  EXPECT_FAILS(snug_run(context, hole, 2, both, 2), SNUG_EXIT_RUN, "input 'shift' is NULL; expected shape 5 (n=4)");
}

TEST_F(Tensors, NotDense) {
  int64_t strides[] = {32, 1, 4};
  x.dl.strides = strides;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' is not dense row-major; make it contiguous first");
}

TEST_F(Tensors, OnAnotherDevice) {
  x.dl.device.device_type = kDLCUDA;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' is on CUDA device 0; expected the CPU (1): copy it there first");
}

TEST_F(Tensors, NoDataOrMisaligned) {
  x.dl.data = nullptr;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'x' has no data (data is NULL)");
  x.dl.data = x.values.data();
  shift.dl.byte_offset = 4;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "input 'shift' is not aligned to its elements' 8 bytes");
}

TEST_F(Tensors, Overlap) {
  y.dl.data = x.values.data();
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "output 'y' overlaps input 'x'; give it memory of its own");
  y.dl.data = y.values.data();
  pairs.dl.data = y.values.data() + 31;
  EXPECT_FAILS(run(), SNUG_EXIT_RUN, "output 'pairs' overlaps output 'y'; give it memory of its own");
}
