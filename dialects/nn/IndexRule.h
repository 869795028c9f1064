// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// IndexRule: what an op's iterations read and write, as one piece of data. Chunking and sharding are two readings of it:
// chunking asks which operand slices a slice of iterations needs, sharding asks which operand dims may live on different
// devices. Algorithms are written once over it; an op without one is an opaque barrier, never an error.
//
// Example, C[m,n] = sum_k A[m,k] B[k,n]: dims (m: Parallel, n: Parallel, k: Reduction/Sum),
//   operands A -> (m,n,k)->(m,k), B -> (m,n,k)->(k,n), outs C -> (m,n,k)->(m,n), results C -> (m,n,k)->(m,n).
#ifndef SNUG_DIALECTS_NN_INDEXRULE_H
#define SNUG_DIALECTS_NN_INDEXRULE_H

#include "mlir/IR/AffineMap.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

namespace snug {

enum class IterKind {
  Parallel,  // iterations are independent; results are indexed by it
  Reduction, // iterations are combined by `combiner`; results are not indexed by it
  Whole,     // iterations may not be split (a softmax's row, a norm's row, a gathered dim)
};

enum class Combiner { None, Sum, Max, Min, Prod, OnlineSoftmax, Welford };

struct IterDim {
  IterKind kind = IterKind::Parallel;
  Combiner combiner = Combiner::None;
};

struct IndexRule {
  llvm::SmallVector<IterDim> dims;
  // One map a (shaped or scalar) operand, destinations included, from iteration dims to the operand's dims. A null map:
  // the operand is read as a whole, whatever the iterations (an invariant).
  llvm::SmallVector<mlir::AffineMap> operands;
  // One map a result. In both, a Parallel dim d stands bare, or as d * k + rest with 0 <= rest < k where dims are merged
  // (reshapes): a slice of d is then k times as long. In operands it also stands as d * stride + taps, in a window:
  // slices side by side then share a halo; and as d + constant, where indices outside of the operand read nothing. A
  // body that reads linalg.index needs the slice's offset added.
  llvm::SmallVector<mlir::AffineMap> results;
  // Whether what the destinations hold counts: reductions are added to it, and what no iteration writes stays. Else the
  // op starts anew.
  bool keepsDestinations = false;
};

/// Elements along one dim of an operand or result; null where it is taken as a whole.
struct SliceRange {
  mlir::OpFoldResult offset, size;
  bool operator==(const SliceRange &other) const { return offset == other.offset && size == other.size; }
};

/// A part of an op's iterations: those of one dim in a range, and what they take of operands and results.
struct OpSlice {
  unsigned dim = 0;
  SliceRange iterations;
  llvm::SmallVector<SliceRange> operands, results;
};

/// The op on parts of its operands, where it is an op on destinations or one that says so itself (see cloneSlice).
llvm::SmallVector<mlir::Value> cloneOnDestinations(mlir::OpBuilder &builder, mlir::Operation *op, const OpSlice &slice,
                                                   mlir::ValueRange operands);

/// Whether the op looks at what this destination of it holds.
bool readsDestination(mlir::OpOperand &init);

/// In a copy of a linalg op that computes a slice, linalg.index counts from the slice's start: adds `offset` to each of `dim`.
void placeLinalgIndices(mlir::Operation *op, mlir::OpBuilder &builder, unsigned dim, mlir::Value offset);

/// Of the dims of a window, such as stride * row + dilation * tap, the taps are not cut; nor is any dim that is read in
/// another way than a rule can say.
void keepWindows(IndexRule &rule);

} // namespace snug

#include "dialects/nn/IndexRuleInterface.h.inc"

#endif
