// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The driver's functions as declarations: the fake defines them, tests call them. A definition of other types does not compile.
#ifndef SNUG_TEST_GPU_FAKE_API_H
#define SNUG_TEST_GPU_FAKE_API_H

#include "runtime/cuda/Driver.h"

namespace snug::cuda {
#define SNUG_CUDA_DECLARE(name, suffix, parameters) extern "C" Result name##suffix parameters;
SNUG_CUDA_FUNCTIONS(SNUG_CUDA_DECLARE)
#undef SNUG_CUDA_DECLARE
} // namespace snug::cuda

#endif
