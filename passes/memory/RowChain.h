// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels and collectives of a bufferized program that hand each other rows: all of them can be done in pieces of rows,
// one piece after the other, each of which goes through the whole chain by itself.
#ifndef SNUG_PASSES_MEMORY_ROWCHAIN_H
#define SNUG_PASSES_MEMORY_ROWCHAIN_H

#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/IndexRule.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

#include <vector>

namespace snug {

/// A dim of a buffer.
struct Place {
  mlir::Value root;
  unsigned dim;
  bool operator==(const Place &other) const { return root == other.root && dim == other.dim; }
  bool operator!=(const Place &other) const { return !(*this == other); }
};
/// Where the elements along a dim of a memref are in the buffer that it is a view of, if they are the first ones along
/// a dim of that.
std::optional<Place> placeOf(mlir::Value memref, unsigned dim);

struct RowChain {
  struct Member {
    mlir::Operation *op;
    unsigned dim; ///< of its iterations, whose pieces are rows
  };
  std::vector<Member> members; ///< as they stand in their block
  /// Buffers that nobody else knows: each piece has one of its own, so that what is live is that of a few pieces, and
  /// lies side by side, as a collective has to have it.
  llvm::SmallVector<mlir::memref::AllocOp> apart;
};

/// Most collectives of a chain.
constexpr unsigned kMostCollectives = 3;

/// Where the rows of a member are in an operand: the dim of it; nullopt where it is read as a whole.
std::optional<unsigned> rowsIn(const RowChain::Member &member, unsigned operand);

/// What takes long enough to hide something behind: contractions and attention.
bool isHeavy(mlir::Operation *op);

/// The chains of a block, from its end; no op is in two. Each has a heavy kernel, at one of its ends, and a collective.
std::vector<RowChain> findRowChains(mlir::Block &block);

} // namespace snug

#endif
