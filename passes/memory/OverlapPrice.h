// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What it takes to do a chain of kernels and collectives in pieces, by the time model and that of links.
#ifndef SNUG_PASSES_MEMORY_OVERLAPPRICE_H
#define SNUG_PASSES_MEMORY_OVERLAPPRICE_H

#include "lib/analysis/IndexBounds.h"
#include "lib/solver/TimeModel.h"
#include "passes/memory/RowChain.h"

namespace snug {

constexpr int kMostPieces = 8;

/// Seconds for the largest dims.
struct OverlapTimes {
  int pieces = 1;
  double alone_s = 0;  ///< as a whole, one after the other
  double time_s = 0;   ///< in these pieces
  double hidden_s = 0; ///< of computing and sending in pieces: what runs while something else does
};

class OverlapPrices {
public:
  /// `links`: bytes per second and latency along axis 0, and along axis 1; or none. `forced` > 0: that many pieces.
  OverlapPrices(mlir::ModuleOp module, Machine machine, int threads, llvm::ArrayRef<double> links, int forced);

  /// The pieces, of whole tiles, in which the chain takes less time than as a whole, fastest first, of equally fast
  /// ones the least; or those that are forced. Empty where there are none.
  llvm::SmallVector<OverlapTimes> of(const RowChain &chain);
  /// Rows that are best computed at once; where pieces are forced, 1.
  int64_t tileOf(const RowChain &chain);

private:
  int64_t rowsOf(const RowChain &chain);
  int64_t extentOf(mlir::Value memref, unsigned dim);
  double bytesOf(mlir::Value memref);
  // The time of its bytes, and that of each start.
  std::pair<double, double> linksTime(mesh::CollectiveOpInterface op);
  // Upper bounds of the iteration dims.
  llvm::SmallVector<int64_t> extentsOf(mlir::Operation *op, const IndexRule &rule);
  KernelCost costOf(mlir::Operation *op);

  IndexBounds bounds;
  Mesh mesh;
  Machine machine;
  int threads, forced;
  std::array<double, 2> bytesPerSecond, latency;
};

} // namespace snug

#endif
