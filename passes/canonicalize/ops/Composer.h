// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes an op as others of the standard: one that fails has said why, and what is made of its result fails silently.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_COMPOSER_H
#define SNUG_PASSES_CANONICALIZE_OPS_COMPOSER_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

class Composer {
public:
  using Part = std::optional<LoweredValue>; // nothing: an input that is left out
  explicit Composer(Lowering &l) : l(l) {}

  // Whether all went well so far. A result has a shape only then.
  bool ok() const { return isOk; }
  mlir::LogicalResult fail() {
    isOk = false;
    return mlir::failure();
  }

  Part input(unsigned index) { return l.hasInput(index) ? Part(l.input(index)) : Part(); }
  bool wants(unsigned output) {
    return output < l.node()->getNumResults() && !l.node()->getResult(output).use_empty();
  }
  mlir::NamedAttribute attr(llvm::StringRef name, int64_t value) {
    return l.b.getNamedAttr(name, l.b.getI64IntegerAttr(value));
  }
  mlir::NamedAttribute attr(llvm::StringRef name, int value) { return attr(name, static_cast<int64_t>(value)); }
  mlir::NamedAttribute attr(llvm::StringRef name, double value) {
    return l.b.getNamedAttr(name, l.b.getF32FloatAttr(static_cast<float>(value)));
  }
  mlir::NamedAttribute attr(llvm::StringRef name, llvm::StringRef value) {
    return l.b.getNamedAttr(name, l.b.getStringAttr(value));
  }
  // Attributes of the node at hand, where it has them.
  llvm::SmallVector<mlir::NamedAttribute> same(llvm::ArrayRef<llvm::StringRef> names) {
    llvm::SmallVector<mlir::NamedAttribute> found;
    for (llvm::StringRef name : names)
      if (mlir::Attribute value = l.attr(name))
        found.push_back(l.b.getNamedAttr(name, value));
    return found;
  }

  LoweredValues callAll(llvm::StringRef op, llvm::ArrayRef<Part> inputs, unsigned numResults,
                        llvm::ArrayRef<mlir::NamedAttribute> attributes = {}) {
    LoweredValues none(numResults);
    if (!isOk)
      return none;
    LoweredValues copies;
    for (const Part &part : inputs)
      copies.push_back(part.value_or(LoweredValue()));
    llvm::SmallVector<LoweredValue *> given;
    for (auto [part, copy] : llvm::zip_equal(inputs, copies))
      given.push_back(part ? &copy : nullptr);
    auto results = l.call(op, given, numResults, attributes);
    isOk = mlir::succeeded(results);
    return isOk ? *results : none;
  }
  LoweredValue call(llvm::StringRef op, llvm::ArrayRef<Part> inputs, llvm::ArrayRef<mlir::NamedAttribute> attributes = {}) {
    return callAll(op, inputs, 1, attributes).front();
  }
  // What a building block made.
  LoweredValue keep(mlir::FailureOr<LoweredValue> value) {
    isOk &= mlir::succeeded(value);
    return isOk ? *value : LoweredValue();
  }
  LoweredValue reshape(LoweredValue value, llvm::ArrayRef<mlir::AffineExpr> shape) {
    return isOk ? keep(l.reshape(value, shape)) : LoweredValue();
  }
  LoweredValue transpose(LoweredValue value, llvm::ArrayRef<int64_t> permutation) {
    return isOk ? keep(l.transpose(value, permutation)) : LoweredValue();
  }
  // `size` elements of a dim, from `offset` on.
  LoweredValue part(LoweredValue value, int64_t dim, mlir::AffineExpr offset, mlir::AffineExpr size) {
    if (!isOk)
      return LoweredValue();
    Extents offsets(value.rank(), l.constant(0)), sizes = value.shape;
    offsets[dim] = offset;
    sizes[dim] = size;
    return l.slice(value, offsets, sizes, llvm::SmallVector<int64_t>(value.rank(), 1));
  }
  LoweredValue elementwise(LoweredValues inputs, mlir::Type type, Lowering::Body body) {
    if (!isOk)
      return LoweredValue();
    llvm::SmallVector<LoweredValue *> given;
    for (LoweredValue &input : inputs)
      given.push_back(&input);
    return keep(l.elementwise(given, type, body));
  }
  // The values and the second, where it is there.
  LoweredValue sum(LoweredValue value, const Part &other) { return other ? call("Add", {value, *other}) : value; }
  LoweredValue number(mlir::Type type, double value) { return l.splatValue(numberAttr(type, value), {}, type); }
  // 0, 1.. along a dim, as int64s.
  LoweredValue positions(llvm::ArrayRef<mlir::AffineExpr> shape, unsigned dim) {
    LoweredValue value;
    value.elementType = l.b.getI64Type();
    value.shape = Extents(shape);
    value.closed = {mlir::getAffineDimExpr(dim, l.b.getContext())};
    return value;
  }
  void also(unsigned index, LoweredValue value) {
    if (isOk)
      l.define(index, std::move(value));
  }
  // The last output, and whether all of them are there.
  mlir::LogicalResult define(unsigned index, LoweredValue value) {
    also(index, std::move(value));
    return mlir::success(isOk);
  }

  Lowering &l;

private:
  bool isOk = true;
};

} // namespace snug

#endif
