// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The two products of attention as a block of threads makes them, in forms for different types. A block makes a tile of
// query rows and goes through the keys in tiles; each thread has some elements of the tile of scores, which are in some rows,
// and in the same rows some elements of the weighted values. What happens between the products is the same in all forms.
#ifndef SNUG_CODEGEN_CUDA_ATTENTIONFORM_H
#define SNUG_CODEGEN_CUDA_ATTENTIONFORM_H

#include "codegen/cuda/SharedTile.h"
#include "dialects/nn/NnDialect.h"

namespace snug::codegen {

// What an attention op says to all forms.
struct AttentionSizes {
  int64_t head, value; // elements of a query or key, and of a value
  mlir::Type product;  // type of what tensor cores multiply (f32: in tf32); none: f32, without them
  // Of a block: rows of each head, and neighbouring heads, which lie along a batch dim and look at the same keys and values.
  int64_t rowsOfHead, heads = 1;
  unsigned headDim = 0;

  static AttentionSizes of(nn::AttentionOp op);
  int64_t rows() const { return rowsOfHead * heads; } // of a block
};

// A query row of the block's, or the last one of all where there are no more.
struct AttentionRow {
  llvm::SmallVector<mlir::Value> batch; // iteration dims before the rows
  mlir::Value row, exists;
};

// One block's place.
struct AttentionPlace {
  nn::AttentionOp op;
  AttentionSizes sizes;
  llvm::SmallVector<mlir::Value> batch; // iteration dims before the rows, of the first one
  mlir::Value firstRow, numRows, numHeads, numKeys; // all but the first of the whole op
  mlir::Value firstKey, endKey;                     // of those that the block's rows look at

  llvm::SmallVector<mlir::Value> at(CudaKernelBuilder &b, unsigned operand, mlir::Value s, mlir::Value t, mlir::Value d,
                                    mlir::Value e) const {
    return at(b, operand, batch, s, t, d, e);
  }
  llvm::SmallVector<mlir::Value> at(CudaKernelBuilder &b, unsigned operand, llvm::ArrayRef<mlir::Value> batch, mlir::Value s,
                                    mlir::Value t, mlir::Value d, mlir::Value e) const;
  // What row number `row` of the block's is: rows of a head are neighbours.
  AttentionRow row(CudaKernelBuilder &b, mlir::Value row) const;
  // A row of the block's, or the last one of all behind it.
  mlir::Value rowAt(CudaKernelBuilder &b, mlir::Value row) const {
    return b.min(b.add(firstRow, row), b.sub(numRows, b.constant(1)));
  }
  // isInVectors of an operand along an iteration dim.
  mlir::Value inVectors(CudaKernelBuilder &b, unsigned operand, unsigned dim, int64_t columns) const;
};

class AttentionForm {
public:
  static std::unique_ptr<AttentionForm> create(CudaKernelBuilder &b, const AttentionPlace &place);
  virtual ~AttentionForm() = default;

  int64_t keys = 64;                     // of a tile
  int64_t rows, columns, values;         // a thread's rows; in each its scores and weighted values
  int64_t lanes;                         // neighbours that share a row, and each of its tiles of keys
  virtual mlir::Value row(int64_t i) = 0; // in the block's tile
  virtual mlir::Value column(int64_t j) = 0;
  virtual mlir::Value value(int64_t j) = 0; // in [0, size of values), or beyond
  virtual mlir::Value exp(mlir::Value x) = 0;

  // Before the tiles of keys in [0, end).
  virtual void begin(mlir::Value end) {}
  // A thread's products of queries and keys of the tile at `key`, row by row. Of keys from `end` on nothing is known.
  virtual llvm::SmallVector<mlir::Value> scores(mlir::Value key, mlir::Value end) = 0;
  // Adds values times weights, which are 0 for keys that are not there, to a thread's sums. After scores() of that tile.
  virtual void accumulate(mlir::Value key, mlir::Value end, llvm::ArrayRef<mlir::Value> weights,
                          llvm::MutableArrayRef<mlir::Value> sums) = 0;

  // Of the scores that a thread saw of a row, `max` is the largest. That of all threads, where others saw others. All threads.
  virtual mlir::Value maxOfAll(mlir::Value max) { return max; }
  // Calls `write` with what the thread has of the results: weighted values at some places of a row, not divided by its total
  // yet, and whether it is the one thread to speak of the row.
  struct Result {
    mlir::Value row, max, total, speaks;
    llvm::SmallVector<mlir::Value> places, sums;
  };
  virtual void finish(llvm::ArrayRef<mlir::Value> max, llvm::ArrayRef<mlir::Value> total, llvm::ArrayRef<mlir::Value> sums,
                      llvm::function_ref<void(const Result &)> write);

protected:
  AttentionForm(CudaKernelBuilder &b, const AttentionPlace &place) : b(b), place(place), op(place.op) {}
  CudaKernelBuilder &b;
  const AttentionPlace &place;
  nn::AttentionOp op;
};

std::unique_ptr<AttentionForm> createTensorCoreForm(CudaKernelBuilder &b, const AttentionPlace &place);
std::unique_ptr<AttentionForm> createFewRowsForm(CudaKernelBuilder &b, const AttentionPlace &place);
std::unique_ptr<AttentionForm> createF32Form(CudaKernelBuilder &b, const AttentionPlace &place);

} // namespace snug::codegen
#endif
