// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels of a block as a graph over buffers, its orders, and what an order costs. A storage class is a set of
// tensors that live in one buffer: views of each other, and destinations with what is written into them.
#ifndef SNUG_LIB_ANALYSIS_ORDER_H
#define SNUG_LIB_ANALYSIS_ORDER_H

#include "mlir/IR/Operation.h"
#include "lib/analysis/IndexBounds.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"

#include <vector>

namespace snug {

/// Ops that compute nothing at run time or only index values: they follow the kernels that use them.
bool isFree(mlir::Operation *op);
/// For views that keep all elements (expand_shape, collapse_shape, cast) the viewed tensor, for others null.
mlir::Value wholeViewSource(mlir::Value value);

/// A destination that may share the buffer of an operand: operand numbers of the same op.
struct InPlace {
  unsigned init, operand;
};

struct Kernel {
  mlir::Operation *op;
  llvm::SmallVector<unsigned> before, after; // kernels, deduplicated
  llvm::SmallVector<unsigned> touched;       // storage classes, deduplicated
  llvm::SmallVector<InPlace> inPlace;        // safe if the operand dies here
  int64_t within = 0;                        // bytes that only its own bodies need
};

struct StorageClass {
  int64_t bytes = 0;
  bool owned = false;   // a buffer of the arena: no argument, weight, constant or result
  bool donated = false; // an input's, to be taken over by what stays inside: results have buffers of their own
  unsigned users = 0; // kernels that touch it
};

using Order = llvm::SmallVector<unsigned>;

/// What the order of a block's ops has to keep besides their operands, and what is known of its loops and branches.
struct OrderFacts {
  llvm::SmallVector<std::pair<mlir::Operation *, mlir::Operation *>> before; ///< the first before the second
  llvm::DenseMap<mlir::Operation *, int64_t> within;                        ///< bytes that an op's bodies need
};

/// Where the tensor that an op hands on stands: what a kernel, loop or branch writes into, or null for others.
mlir::Value writtenInto(mlir::Value result);

class KernelGraph {
public:
  /// Emits an error and sets `failed` where a buffer has no bound.
  KernelGraph(mlir::Block &block, IndexBounds &bounds, bool inPlace, const OrderFacts &facts = OrderFacts());
  bool failed = false;

  Order given() const;
  Order depthFirst(mlir::Block &block) const;
  /// Among the kernels that are ready, the one with the least memory live after it.
  Order leastMemoryFirst() const;
  /// The most bytes live at a time; with `ties`, also the in-place updates that this counts on, kernel by kernel.
  int64_t peak(const Order &order, llvm::SmallVectorImpl<std::pair<unsigned, InPlace>> *ties = nullptr) const;

  std::vector<Kernel> kernels;

private:
  struct Memory; // what is live during a walk along an order
  unsigned classOf(mlir::Value value);
  unsigned newClass(int64_t bytes, bool owned);
  void findProducers(mlir::Value value, llvm::SmallVectorImpl<unsigned> &producers) const;

  mlir::Block &block;
  IndexBounds &bounds;
  llvm::SmallVector<StorageClass> classes;
  llvm::DenseMap<mlir::Value, unsigned> classIds;
  llvm::DenseMap<mlir::Operation *, unsigned> kernelIds;
};

} // namespace snug

#endif
