// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which lane holds which element of a matrix, from the PTX ISA: "Matrix Fragments for mma.m16n8k16" and its neighbours, and
// "ldmatrix".
#ifndef SNUG_TEST_GPU_SIM_FRAGMENTS_H
#define SNUG_TEST_GPU_SIM_FRAGMENTS_H

#include "test/gpu/sim/Abi.h"

namespace snug::sim {

// Each lane's elements, in the order of its registers, low bits first.
struct Fragments {
  const void *a[32], *b[32], *c[32];
  void *d[32];
};

// d = a * b + c, of a warp. a has 16 rows (8 for f64) and `k` columns, b `k` rows and 8 columns. Narrow floats are multiplied
// exactly and added up in f32, in the order of k: a GPU's last bits may differ.
void multiplyMatrices(int k, Element a, Element b, Element sum, bool saturate, const Fragments &fragments);

// `count` matrices of 8 x 8 elements of 16 bits; rows[8 * i + r] is row r of matrix i, results[l] has room for lane l's part:
// 4 bytes a matrix.
void loadMatrices(int count, bool transposed, const void *const rows[32], void *const results[32]);

} // namespace snug::sim
#endif
