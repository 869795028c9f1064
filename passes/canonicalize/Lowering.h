// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the lowering table's functions work on: values whose shapes are expressions of the named dims, and whose elements
// may be known without a tensor (constants, shape arithmetic, iotas).
//
// Glossary
//   extent     size of one dim, an AffineExpr of symbols (named dims that have a range)
//   closed     a value whose integer elements are affine in their own index and the symbols. Shape lists and position
//              grids are closed, so Shape -> Gather -> Concat -> Reshape and Range -> Unsqueeze -> LessOrEqual never
//              become tensors; d0, d1... in its expressions are the element's index.
//   splat      a value whose elements all equal one constant
#ifndef SNUG_PASSES_CANONICALIZE_LOWERING_H
#define SNUG_PASSES_CANONICALIZE_LOWERING_H

#include "dialects/nn/NnDialect.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/ElementTypes.h"
#include "passes/canonicalize/Extents.h"
#include <unordered_map>
#include <vector>

namespace snug {

using Extents = llvm::SmallVector<mlir::AffineExpr>;

// Whether an expression of the dims is 0, or is not.
struct Relation {
  mlir::AffineExpr expr;
  bool isZero;
};

// A sequence of as many elements as the run tells: equal parts of one value, the last one maybe shorter.
struct Parts {
  int64_t axis = 0, length = 1;
  bool drops = false; // parts of one element lack the axis
};
inline constexpr llvm::StringLiteral kOpenSequence =
    "a sequence of more than 1024 elements, or whose length only the run tells, can be read at a place, counted, or put together "
    "again; fix the extent that was split with --dim, to no more than that";

struct LoweredValue {
  mlir::Type elementType;       // what the elements mean (ui8, f8E4M3FN); `tensor` has them as storedAs() says
  Extents shape;
  mlir::Value tensor;           // null while the value is only known as splat or closed
  mlir::TypedAttr splat;        // IntegerAttr or FloatAttr, as stored
  Extents closed;               // empty: not closed. One expression, or with `closedVector` one a position of the last dim
  bool closedVector = false;
  std::vector<Relation> relations; // of one truth value: it is true where all of these hold
  Extents table;                // elements of a small integer tensor of rank 2 or more, in row-major order; not closed
  // A sequence is a list of values at compile time and has none of the above.
  bool isSequence = false;
  std::vector<LoweredValue> elements;
  std::optional<Parts> parts; // of the only one of `elements`, where the run tells how many there are
  bool isAbsent = false; // an optional without a value

  bool isTensor() const { return !isSequence && !isAbsent; }
  int64_t rank() const { return shape.size(); }
  bool isClosed() const { return !closed.empty() || closedVector; }
};

struct OpSchema;
using LoweredValues = std::vector<LoweredValue>;

enum class Reduction { Sum, Max, Min, Prod };

// State of lowering one function; a `Lowering` is handed to each table function with the node at hand.
class Lowering {
public:
  Lowering(mlir::OpBuilder &builder, DimSymbols dims) : b(builder), dims(std::move(dims)) {}

  // --- the node at hand
  onnx::NodeOp node() { return current; }
  mlir::Location loc();
  unsigned numInputs() { return current->getNumOperands(); }
  bool hasInput(unsigned index);
  // An input that the node must have. Where it lacks it: an error, and a stand-in so that the caller can go on to its end.
  LoweredValue &input(unsigned index);
  // What counts or chooses something: of 32 bits, so that it can be computed with. Where it is beyond: an error, and the
  // fallback so that the caller can go on to its end.
  int64_t intAttr(llvm::StringRef name, int64_t fallback);
  int64_t wideIntAttr(llvm::StringRef name, int64_t fallback); // of any value
  double floatAttr(llvm::StringRef name, double fallback);
  llvm::StringRef stringAttr(llvm::StringRef name, llvm::StringRef fallback);
  std::optional<llvm::SmallVector<int64_t>> intsAttr(llvm::StringRef name);
  mlir::Attribute attr(llvm::StringRef name) { return current.getNodeAttr(name); }
  // An error at the node; says its op type and name. (A model may have no node: then at no place.)
  mlir::InFlightDiagnostic error();
  // Sets result `index`.
  void define(unsigned index, LoweredValue value);
  // Axis attribute or value in [-rank, rank) to [0, rank); emits an error outside.
  std::optional<int64_t> normalizeAxis(int64_t axis, int64_t rank);

  // Calls the node's table function; refuses what every function would have to check.
  mlir::LogicalResult lowerNode(onnx::NodeOp node);
  // A node, or what an initializer is read by.
  mlir::LogicalResult lowerOp(mlir::Operation *op);
  // What another op of the standard gives of these inputs (null: left out): for ops that are made of others. Errors are
  // about the node at hand.
  mlir::FailureOr<LoweredValues> call(llvm::StringRef opType, llvm::ArrayRef<LoweredValue *> inputs, unsigned numResults,
                                      llvm::ArrayRef<mlir::NamedAttribute> attributes = {});
  // The same, of an op with one output.
  mlir::FailureOr<LoweredValue> call(llvm::StringRef opType, llvm::ArrayRef<LoweredValue *> inputs,
                                     llvm::ArrayRef<mlir::NamedAttribute> attributes = {});
  // All nodes of a subgraph, where the builder stands, whatever region that is in; gives what it yields.
  mlir::FailureOr<LoweredValues> lowerBody(mlir::Region &body, llvm::ArrayRef<LoweredValue> arguments);

  // The element type that the file names by a number (TensorProto.DataType); null where Snug does not compute with it.
  mlir::Type dataType(int64_t code) { return elementTypeOf(b.getContext(), code); }

  // --- values
  void map(mlir::Value onnxValue, LoweredValue value) { values[onnxValue] = std::move(value); }
  LoweredValue &lookup(mlir::Value onnxValue) { return values[onnxValue]; }
  // Of elements that are what they are stored as, where no type is given.
  LoweredValue tensorValue(mlir::Value tensor, Extents shape, mlir::Type elementType = {});
  LoweredValue splatValue(mlir::TypedAttr constant, Extents shape, mlir::Type elementType = {});
  LoweredValue intsValue(mlir::Type elementType, Extents elements, bool scalar = false);
  // Small integer tensors, such as the pairs of pads that exporters turn around; a list where the rank is 1.
  LoweredValue tableValue(mlir::Type elementType, Extents elements, llvm::ArrayRef<int64_t> shape);
  // Elements and shape of a list or table.
  std::optional<std::pair<Extents, llvm::SmallVector<int64_t>>> table(const LoweredValue &value);
  // A constant of the file: a splat, a shape list, or else a small weight of its own (snug_nn.data with a value).
  LoweredValue denseValue(mlir::DenseElementsAttr value, mlir::Value onnxValue);
  // A constant as a weight, whatever its elements.
  LoweredValue dataValue(mlir::DenseElementsAttr value);
  // Elements of a small constant, in row-major order, where they are stored as what they are.
  std::optional<llvm::SmallVector<mlir::Attribute>> constantElements(const LoweredValue &value);
  LoweredValue constantValue(llvm::ArrayRef<mlir::Attribute> elements, llvm::ArrayRef<mlir::AffineExpr> shape, mlir::Type type);
  // Elements of a small constant of floats.
  std::optional<llvm::SmallVector<double>> constantFloats(const LoweredValue &value);
  // A constant that is a reference into a file.
  LoweredValue weightValue(mlir::FlatSymbolRefAttr data, mlir::RankedTensorType type); // `type` as in the file
  // An initializer of the graph, whichever of the two it is; `onnxValue` is what it stands for.
  LoweredValue initializerValue(onnx::InitializerOp initializer, mlir::Value onnxValue);
  // Extents of a tensor made by tensorValue().
  std::optional<Extents> shapeOf(mlir::Value tensor);
  // The value as a tensor; makes one from splat or closed form.
  mlir::Value tensor(LoweredValue &value);
  // Elements of a rank 0 or 1 integer value known at compile time up to named dims.
  std::optional<Extents> ints(const LoweredValue &value);
  // The same without grids of positions (arange), which are better off as the one expression that they are.
  std::optional<Extents> list(const LoweredValue &value);
  // As ints(), where all are numbers.
  std::optional<llvm::SmallVector<int64_t>> constantInts(const LoweredValue &value);

  // --- shapes
  mlir::AffineExpr constant(int64_t value) { return mlir::getAffineConstantExpr(value, b.getContext()); }
  // What an op requires of extents. Each of these says whether it holds for all values of the dims. What an open dim has
  // to be so that it does is remembered (see `solution`); an inequality is taken to hold where a dim is open.
  //
  // Whether two extents are the same.
  bool same(mlir::AffineExpr left, mlir::AffineExpr right);
  bool same(mlir::AffineExpr left, int64_t right) { return same(left, constant(right)); }
  // left / right, where right divides left.
  std::optional<mlir::AffineExpr> quotient(mlir::AffineExpr left, mlir::AffineExpr right);
  // Whether left >= right.
  bool isAtLeast(mlir::AffineExpr left, mlir::AffineExpr right);
  bool isAtLeast(mlir::AffineExpr left, int64_t right) { return isAtLeast(left, constant(right)); }
  // The same, but where it holds for some values of several dims only, so that no range of one of them says for which,
  // runs with others are refused.
  bool requireAtLeast(mlir::AffineExpr left, mlir::AffineExpr right);
  // What to add to an error where an extent cannot be cut into so many parts.
  std::string stepHint(mlir::AffineExpr extent, int64_t parts);
  // Makes runs be refused where the two are not the same, if they can be for some values of several dims.
  bool requireSame(mlir::AffineExpr left, mlir::AffineExpr right);
  // Makes runs be refused where `right`, a dim, does not divide `left`, another one. From then on quotient() knows it.
  bool requireMultiple(mlir::AffineExpr left, mlir::AffineExpr right);
  // An extent in the terms of what is known of its dims: steps, and which ones are multiples of others.
  mlir::AffineExpr inUnits(mlir::AffineExpr extent);
  // Remembers that of an extent all is read from the first element to before `end`.
  void endsAt(mlir::AffineExpr extent, mlir::AffineExpr end) {
    if (!ending)
      ending = dims.solve(extent, end);
  }
  std::optional<Extents> broadcast(llvm::ArrayRef<mlir::AffineExpr> left, llvm::ArrayRef<mlir::AffineExpr> right);
  // The larger (or smaller) of two expressions of dims. Where neither is so for all values, it is found when a run begins, or
  // where sizes that are computed from data are known; nothing where that is too early (iterations).
  std::optional<mlir::AffineExpr> extremum(mlir::AffineExpr left, mlir::AffineExpr right, bool larger);
  // As stored.
  mlir::RankedTensorType tensorType(llvm::ArrayRef<mlir::AffineExpr> shape, mlir::Type elementType);
  mlir::Value materialize(mlir::AffineExpr extent); // an index value at the function's entry
  mlir::OpFoldResult fold(mlir::AffineExpr extent);
  mlir::Value empty(llvm::ArrayRef<mlir::AffineExpr> shape, mlir::Type elementType);
  std::string print(llvm::ArrayRef<mlir::AffineExpr> shape);

  // --- building blocks
  using Body = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;
  // result[i] = body(inputs[broadcast i]...); folds where all inputs are splats. Inputs known as splat or closed are
  // computed in the body and read no memory.
  mlir::FailureOr<LoweredValue> elementwise(llvm::ArrayRef<LoweredValue *> inputs, mlir::Type resultType, Body body);
  // The same of small constants, where `computed` gives an element of theirs.
  std::optional<LoweredValue> elementwiseConstants(llvm::ArrayRef<LoweredValue *> inputs, llvm::ArrayRef<mlir::AffineExpr> shape,
                                                   mlir::Type resultType,
                                                   llvm::function_ref<mlir::TypedAttr(llvm::ArrayRef<mlir::TypedAttr>)> computed);
  // result[i] = body(input operands read through maps...) over `shape`.
  mlir::Value generic(llvm::ArrayRef<mlir::Value> inputs, llvm::ArrayRef<mlir::AffineMap> maps,
                      llvm::ArrayRef<mlir::AffineExpr> shape, mlir::Type resultType, Body body);
  // Same elements in row-major order; a view. Emits an error where the element counts cannot be shown equal.
  mlir::FailureOr<LoweredValue> reshape(LoweredValue &value, llvm::ArrayRef<mlir::AffineExpr> shape);
  // Parts side by side along `axis`.
  mlir::FailureOr<LoweredValue> concat(llvm::MutableArrayRef<LoweredValue> parts, int64_t axis);
  mlir::FailureOr<LoweredValue> transpose(LoweredValue &value, llvm::ArrayRef<int64_t> permutation);
  LoweredValue slice(LoweredValue &value, llvm::ArrayRef<mlir::AffineExpr> offsets, llvm::ArrayRef<mlir::AffineExpr> sizes,
                     llvm::ArrayRef<int64_t> steps);
  // result[c(i)] = sum over the dims that c lacks of left[a(i)] * right[b(i)]; maps are a, b, c. Products with a weight
  // of (k, n) read it in panels.
  mlir::FailureOr<LoweredValue> contract(LoweredValue &left, LoweredValue &right, llvm::ArrayRef<mlir::AffineMap> maps,
                                         llvm::ArrayRef<mlir::AffineExpr> shape);
  // a[batch.., m, k] * b[batch.., k, n] with broadcast batch dims (numpy.matmul of rank >= 2).
  mlir::FailureOr<LoweredValue> matmul(LoweredValue &left, LoweredValue &right);
  // Adds elements equal to `filling` before and after each dim.
  mlir::FailureOr<LoweredValue> pad(LoweredValue &value, llvm::ArrayRef<mlir::AffineExpr> before,
                                    llvm::ArrayRef<mlir::AffineExpr> after, mlir::TypedAttr filling);
  // Drops the dims marked in `reduced`.
  LoweredValue reduce(Reduction kind, LoweredValue &value, llvm::ArrayRef<bool> reduced);
  // An affine expression of an element's index as a scalar inside a linalg body.
  mlir::Value scalarOf(mlir::OpBuilder &builder, mlir::Location loc, mlir::AffineExpr expr, mlir::Type elementType);
  // The elementwise-operand form of a weight, if the tensor is one: appends a recipe step to it.
  mlir::Value withRecipeStep(nn::WeightOp weight, mlir::Attribute step, llvm::ArrayRef<int64_t> shape);

  mlir::OpBuilder &b;
  // --- loops and branches (Bodies.cpp)
  struct LoopStep {
    LoweredValues carried;   // to the next iteration
    LoweredValues collected; // of all iterations
  };
  // Of a collected value: the axis that its iterations are side by side on, and whether the last one comes first.
  struct Collecting {
    int64_t axis = 0;
    bool reversed = false;
  };
  using LoopBody = llvm::function_ref<mlir::FailureOr<LoopStep>(mlir::AffineExpr iteration,
                                                                llvm::ArrayRef<LoweredValue> carried)>;
  // Runs the body for iteration = 0, 1... below `count`; gives the carried values after it and then the collected ones.
  // Fails where a value changes its shape from one iteration to the next; the error is about the node at hand.
  mlir::FailureOr<LoweredValues> loop(mlir::AffineExpr count, llvm::ArrayRef<LoweredValue> carried,
                                                        llvm::ArrayRef<Collecting> collecting, LoopBody body);
  using BranchBody = llvm::function_ref<mlir::FailureOr<LoweredValues>()>;
  // What one of the two gives, by the only element of `condition`.
  mlir::FailureOr<LoweredValues> branch(LoweredValue &condition, BranchBody whenTrue, BranchBody whenFalse);
  // The part at one place of an axis, without that axis; a view.
  LoweredValue elementAt(LoweredValue &value, int64_t axis, mlir::AffineExpr place);

  // --- sizes that are computed from data (DataExtents.cpp)
  // The first element of a tensor of integers as an extent, from 0 to `atMost`: what has it in its shape gets a buffer for
  // the most. It is known where the builder stands and after it, but not outside of a loop or branch that it is computed in.
  mlir::AffineExpr dataExtent(LoweredValue &count, mlir::AffineExpr atMost);
  // Of an output whose shape has such sizes: its elements in a row of as many as there can be, and its extents.
  mlir::FailureOr<std::pair<LoweredValue, LoweredValue>> handOut(LoweredValue &value);
  // Whether an extent is of the kind that is not known outside of a body whose symbols are those from `first` on.
  bool isMadeInside(mlir::AffineExpr extent, unsigned first);

  DimSymbols dims;
  // Index values of the symbols: of dims at the function's entry, of iterations where they begin.
  llvm::SmallVector<mlir::Value> symbolValues;
  mlir::Block *entry = nullptr;
  // What an open dim has to be ("s81=past + 1"), or a multiple of, once the model has shown it; lowering fails then.
  std::optional<std::string> solution;
  std::optional<std::pair<std::string, int64_t>> step;
  // What an open dim has to be at least, and is never read beyond; lowering goes on.
  std::optional<std::string> ending;
  // What is required of the dims of a run: "a >= b", "a % b == 0", each with "; " and the node that needs it.
  llvm::SmallVector<std::string> requirements;
  mlir::ModuleOp module;

private:
  mlir::LogicalResult checkTypes(TypeSet types);
  void setInsertionPointBehind(mlir::AffineExpr extent);
  onnx::NodeOp current, caller; // `caller`: the node that is made of others, of which `current` is one
  const OpSchema *schema = nullptr; // of the node at hand; null where the standard has none
  bool relate(llvm::ArrayRef<mlir::AffineExpr> source, llvm::ArrayRef<mlir::AffineExpr> target);
  void require(const std::string &text);
  bool canRequire(mlir::AffineExpr difference);
  llvm::SmallVector<std::pair<mlir::AffineExpr, mlir::AffineExpr>> multiples; // a symbol, and one that divides it
  bool isRefused = false;
  LoweredValue missingValue;
  // References to values stay valid while others are added.
  struct HashOfValue {
    size_t operator()(mlir::Value value) const { return mlir::hash_value(value); }
  };
  std::unordered_map<mlir::Value, LoweredValue, HashOfValue> values;
  llvm::DenseMap<mlir::AffineExpr, mlir::Value> materialized;
  llvm::DenseMap<mlir::Value, Extents> tensorShapes;
  unsigned numDenseData = 0, numBodies = 0;
};

// The end of most table functions: the value is the node's result, unless making it failed.
mlir::LogicalResult finish(Lowering &l, mlir::FailureOr<LoweredValue> value, unsigned result = 0);

} // namespace snug

#endif
