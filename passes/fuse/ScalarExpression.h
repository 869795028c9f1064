// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What one element of a tensor is, as a function of elements of other tensors, to be evaluated at sample points. Two
// formulas are held to be the same when they agree at sample points: the order of operands, constants on either side
// and the way a square root is written do not matter then.
#ifndef SNUG_PASSES_FUSE_SCALAREXPRESSION_H
#define SNUG_PASSES_FUSE_SCALAREXPRESSION_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace snug {

// An element of `value`, at `map` of the dims of the op that the expression belongs to.
struct Leaf {
  mlir::Value value;
  mlir::AffineMap map;
  bool operator==(const Leaf &other) const { return value == other.value && map == other.map; }
};

class ScalarExpression {
public:
  // The element that `op` yields, with `at` from the dims of the whole expression to those of op. Elementwise producers
  // are looked through up to `cut`. Where `accumulator` is a block argument, it counts as 0.
  ScalarExpression(mlir::linalg::GenericOp op, mlir::Value yielded, mlir::AffineMap at, mlir::Value cut,
                   mlir::Value accumulator = {});

  bool valid() const { return isValid; } // it has no op that cannot be evaluated, and is of moderate size
  mlir::ArrayRef<Leaf> leaves() const { return allLeaves; }
  double evaluate(mlir::ArrayRef<double> leafValues) const;

private:
  enum class Kind { Constant, Leaf, Add, Sub, Mul, Div, Neg, Sqrt, Rsqrt, Exp, Pow };
  struct Node {
    Kind kind;
    double constant = 0;
    unsigned a = 0, b = 0;
  };
  unsigned add(Node node);
  unsigned build(mlir::linalg::GenericOp op, mlir::Value value, mlir::AffineMap at);
  unsigned buildElement(mlir::Value tensor, mlir::AffineMap map);

  mlir::Value cut, accumulator;
  bool isValid = true;
  llvm::SmallVector<Node> nodes; // operands before users; the last one is the result
  llvm::SmallVector<Leaf> allLeaves;
};

// The element as one of the tensor that `leaf.value` is a view of with other extents of 1; unchanged where it is none.
Leaf throughUnitReshapes(Leaf leaf);

} // namespace snug
#endif
