// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the slices of a chunk loop begin and how long they are, as values in its body. Where members need a halo, the
// slices of iterations side by side overlap, and end where the tensor does.
#ifndef SNUG_PASSES_CHUNK_SLICERANGES_H
#define SNUG_PASSES_CHUNK_SLICERANGES_H

#include "dialects/nn/IndexRule.h"
#include "passes/chunk/ChunkProgram.h"

#include <map>

namespace snug {

class SliceRanges {
public:
  SliceRanges(const ChunkProgram &program, const ChunkLoop &loop, mlir::OpBuilder &builder)
      : program(program), loop(loop), builder(builder) {}

  /// Iterations of the loop in all; before begin().
  mlir::OpFoldResult iterations();
  /// From here on the builder stands in the loop's body, of which this iteration makes `size` steps from `induction`
  /// on.
  void begin(mlir::Value induction, mlir::OpFoldResult size, mlir::OpFoldResult extent);

  /// Of the member's own iterations.
  SliceRange of(const ChunkMember &m);
  /// Of what a member that carries has when an iteration is through: how many of its first rows are from the iteration
  /// before, and which rows, counted from the first one there is, are for the next one.
  struct Kept {
    mlir::OpFoldResult old;
    SliceRange next;
  };
  Kept kept(const ChunkMember &m);
  /// What the member's iterations take of an operand or result; null where all of it.
  SliceRange of(const ChunkUse &use, const ChunkMember &m);
  /// An extent in the program before it was chunked, as a value that is there outside of the loop.
  mlir::OpFoldResult extentOf(mlir::Value value, int position);
  mlir::OpFoldResult difference(mlir::OpFoldResult a, mlir::OpFoldResult b);

private:
  mlir::OpFoldResult times(mlir::OpFoldResult value, int64_t factor);
  mlir::OpFoldResult evaluate(mlir::AffineExpr expr, llvm::ArrayRef<mlir::OpFoldResult> symbols);
  mlir::OpFoldResult iterationsOf(const ChunkMember &m);
  SliceRange of(const LoopSlice &slice, llvm::function_ref<mlir::OpFoldResult()> length);
  SliceRange taken(const ChunkUse &use, const SliceRange &iterations, const DimAccess &access);
  mlir::OpFoldResult least(llvm::ArrayRef<mlir::AffineExpr> exprs, llvm::ArrayRef<mlir::OpFoldResult> symbols);
  mlir::OpFoldResult most(llvm::ArrayRef<mlir::AffineExpr> exprs, llvm::ArrayRef<mlir::OpFoldResult> symbols);

  const ChunkProgram &program;
  const ChunkLoop &loop;
  mlir::OpBuilder &builder;
  mlir::Value induction;
  mlir::OpFoldResult size, extent;
  // One range a kind of slice, so that equal slices are one value.
  std::map<std::tuple<int64_t, int64_t, int64_t, bool, void *>, SliceRange> ranges;
  std::map<std::tuple<void *, void *, int64_t, int64_t, int64_t>, SliceRange> derived;
};

} // namespace snug

#endif
