// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a model for a GPU needs of the machine, and what is said where that is missing.

#include "test/unit/cuda/CudaTest.h"

using CudaLoad = CudaTest;

TEST_F(CudaLoad, RefusesAChipThatItWasNotCompiledFor) {
  load();
  Setting chip("SNUG_FAKE_CUDA_CHIP", "80");
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               "the model was compiled for cuda:sm_90, which does not run on CUDA device 0 (Fake GPU, sm_80): compile it with a --target that "
               "has this chip");
}

TEST_F(CudaLoad, RefusesADriverThatCannotReadTheImage) {
  load();
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cuModuleLoadData:1:222");
  EXPECT_FAILS_WITH(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
                    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222): the provided PTX was compiled with an unsupported toolchain.): update the driver");
}

TEST_F(CudaLoad, RefusesADeviceThatIsNotThere) {
  Setting two("SNUG_FAKE_CUDA_DEVICES", "2");
  load();
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.device = 2;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_MACHINE,
               "there is no CUDA device 2: this machine has 2, counted from 0");
  options.device = 1;
  EXPECT_OK(snug_context_create(model, &options, &context));
  Rows x(3, 2), y(3, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
}

TEST_F(CudaLoad, RefusesOptionsThatItDoesNotKnow) {
  load();
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.flags = 8;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE, "flags that this runtime does not know");
}

TEST_F(CudaLoad, GetsTheSharedMemoryOfKernels) {
  load(FIXTURE_SHARED);
  create();
  Rows x(3, 2), y(3, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  snug_context_destroy(context);
  context = nullptr;
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cuFuncSetAttribute:1:1");
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               "CUDA could not get 100000 bytes of shared memory for kernel 'shift_1' on CUDA device 0 (Fake GPU, sm_90): "
               "CUDA_ERROR_INVALID_VALUE (1): invalid argument");
}

TEST_F(CudaLoad, RefusesDamagedModels) {
  load(FIXTURE_NO_KERNEL);
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_INVALID,
               "the image of the model's kernels has no 'none': compile it again");
  snug_model_release(model);
  EXPECT_FAILS_WITH(snug_model_load(FIXTURE_NO_IMAGE, &model), SNUG_EXIT_INVALID, "is damaged: compile it again");
}

TEST_F(CudaLoad, RefusesWhatNoGpuDoes) {
  EXPECT_FAILS_WITH(snug_model_load(FIXTURE_TEXT, &model), SNUG_EXIT_UNSUPPORTED,
                    "was compiled for cuda:sm_90, and has strings, which no GPU computes with: compile it with --target cpu");
  EXPECT_FAILS_WITH(snug_model_load(FIXTURE_MESH_TYPE, &model), SNUG_EXIT_UNSUPPORTED,
                    "and combines elements of a type that NCCL does not (collective 0, for ONNX node(s) Sum_0): compile it again");
}
