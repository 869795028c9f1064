// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds snug_nn.scalar_kernel: ops whose indices are data, or whose steps follow each other.
#ifndef SNUG_PASSES_CANONICALIZE_SCALARKERNEL_H
#define SNUG_PASSES_CANONICALIZE_SCALARKERNEL_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// Scalar code at one point. Arithmetic is of the operands' type: floats, signed integers or indices.
struct ScalarCode {
  mlir::OpBuilder &b;
  mlir::Location loc;
  llvm::ArrayRef<mlir::Type> elementTypes = {}; // of the kernel's operands

  // Elements of operands, by the numbers that ScalarKernel gave them. Narrow floats are f32 here, and unsigned integers
  // have twice their bits, so that arithmetic of signed ones is right for them; of codes (float8, int4) it is the code.
  mlir::Value load(unsigned operand, mlir::ValueRange indices);
  void store(mlir::Value value, unsigned operand, mlir::ValueRange indices);
  mlir::Value extent(unsigned operand, unsigned dim);
  mlir::Value place(unsigned parallelDim); // as a number; not to index with

  mlir::Value index(int64_t value);
  mlir::Value number(mlir::Type type, double value);
  mlir::Value constant(mlir::TypedAttr value);
  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, mlir::Value y);
  mlir::Value div(mlir::Value x, mlir::Value y); // integers: towards 0
  mlir::Value rem(mlir::Value x, mlir::Value y); // of integers; the sign of x
  mlir::Value min(mlir::Value x, mlir::Value y);
  mlir::Value max(mlir::Value x, mlir::Value y);
  mlir::Value less(mlir::Value x, mlir::Value y);
  mlir::Value lessEqual(mlir::Value x, mlir::Value y);
  mlir::Value equal(mlir::Value x, mlir::Value y);
  mlir::Value both(mlir::Value x, mlir::Value y);
  mlir::Value either(mlir::Value x, mlir::Value y);
  mlir::Value negate(mlir::Value x); // of i1
  mlir::Value select(mlir::Value condition, mlir::Value x, mlir::Value y);
  mlir::Value convert(mlir::Value value, mlir::Type type);
  mlir::Value toIndex(mlir::Value value) { return convert(value, b.getIndexType()); }
  mlir::Value floor(mlir::Value x);
  // A negative index counts from the end.
  mlir::Value fromEnd(mlir::Value index, mlir::Value extent);
  // The nearest index inside, or whether it is inside.
  mlir::Value clamp(mlir::Value index, mlir::Value extent);
  mlir::Value isInside(mlir::Value index, mlir::Value extent);

  void loop(mlir::Value from, mlir::Value to, llvm::function_ref<void(mlir::Value)> body);
  void loop(mlir::Value to, llvm::function_ref<void(mlir::Value)> body) { loop(index(0), to, body); }
  // Loops over a box, the last extent innermost.
  void loops(llvm::ArrayRef<mlir::Value> extents, llvm::function_ref<void(mlir::ValueRange)> body);
  using Values = llvm::SmallVector<mlir::Value>;
  Values loop(mlir::Value from, mlir::Value to, mlir::ValueRange init,
              llvm::function_ref<Values(mlir::Value, mlir::ValueRange)> body);
  mlir::Value sum(mlir::Value from, mlir::Value to, mlir::Value init,
                  llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> body);
  Values whileLoop(mlir::ValueRange init, llvm::function_ref<mlir::Value(mlir::ValueRange)> condition,
                   llvm::function_ref<Values(mlir::ValueRange)> body);
  // The place in a row of running counts whose count is the first one above a number (index); its extent where none is.
  mlir::Value placeIn(unsigned counts, mlir::Value number);
  // A loop whose steps may be done in any order, and at once: none reads what another one stores, nor stores where another
  // one does. Not within another such loop.
  void parallel(mlir::Value to, llvm::function_ref<void(mlir::Value)> body);
  // The same, and what its steps' results (f32, i32 or i64) and `init` are together; no sum of floats.
  enum class Kind { Max, Min, Sum };
  mlir::Value reduce(mlir::Value to, Kind kind, mlir::Value init, llvm::function_ref<mlir::Value(mlir::Value)> body);
  void ifThen(mlir::Value condition, llvm::function_ref<void()> body);
  Values ifElse(mlir::Value condition, llvm::function_ref<Values()> then, llvm::function_ref<Values()> otherwise);
};

class ScalarKernel {
public:
  // Of a dim of an operand: not indexed by a parallel dim alone.
  static constexpr int Any = -1;

  ScalarKernel(Lowering &l, unsigned parallelDims) : l(l), parallelDims(parallelDims) {}
  // Both return the operand's number. `dims`: for each of its dims the parallel dim that indexes it, or Any. All inputs
  // come before the first destination.
  unsigned read(LoweredValue &value, llvm::ArrayRef<int> dims);
  unsigned write(llvm::ArrayRef<mlir::AffineExpr> shape, mlir::Type elementType, llvm::ArrayRef<int> dims);
  // The first destination may take over the input's buffer.
  void mayOverwrite(unsigned input) { overwrites.push_back(input); }
  // Makes the kernel; `body` takes the indices of the parallel dims. Returns what the destinations become.
  std::vector<LoweredValue> build(llvm::function_ref<void(ScalarCode &, mlir::ValueRange)> body);
  // The type that elements of the operand are computed in.
  mlir::Type computedType(unsigned operand);

private:
  void addMap(llvm::ArrayRef<int> dims);

  Lowering &l;
  unsigned parallelDims, otherDims = 0;
  llvm::SmallVector<mlir::Value> ins, inits;
  llvm::SmallVector<llvm::SmallVector<int>> maps; // iteration dims by operand dim; others count from -1 downwards
  llvm::SmallVector<mlir::Type> elementTypes;
  llvm::SmallVector<int64_t> overwrites;
  std::vector<Extents> shapes;
};

// Whether extents that a node states are some, for all values of the dims; else emits an error.
bool areExtents(Lowering &l, llvm::ArrayRef<mlir::AffineExpr> shape);

// 0, 1, .. with `Any` at some places: dims of an operand that are the parallel dims, in order.
llvm::SmallVector<int> dimsInOrder(unsigned count, llvm::ArrayRef<int64_t> others = {});

} // namespace snug

#endif
