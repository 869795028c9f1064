// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is known of the addresses that kernels get, before there are any.
#ifndef SNUG_CODEGEN_KERNEL_ALIGNMENT_H
#define SNUG_CODEGEN_KERNEL_ALIGNMENT_H

#include "mlir/IR/Value.h"

namespace snug::codegen {

// Bytes that the address of a memref's first element is a multiple of, at most `limit`: what is in the arena or among the
// weights lies at multiples of 64 from there, more than any vector needs, and an argument of @main is aligned to `limit`. A slice is as aligned as its
// offset is known to be.
int64_t alignmentOf(mlir::Value memref, int64_t limit);

} // namespace snug::codegen
#endif
