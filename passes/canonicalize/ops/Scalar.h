// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Arithmetic on the floats of a linalg body, and what more than one family of ops computes with it.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_SCALAR_H
#define SNUG_PASSES_CANONICALIZE_OPS_SCALAR_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"

namespace snug {

// For bodies that read like their formulas.
struct Scalar {
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Value value;

  Scalar with(mlir::Value v) const { return {b, loc, v}; }
  Scalar number(double v) const {
    return with(mlir::arith::ConstantOp::create(b, loc, b.getFloatAttr(value.getType(), v)));
  }
  template <class Op> Scalar unary() const { return with(b.createOrFold<Op>(loc, value)); }
  template <class Op> Scalar binary(Scalar o) const { return with(b.createOrFold<Op>(loc, value, o.value)); }
  Scalar operator+(Scalar o) const { return binary<mlir::arith::AddFOp>(o); }
  Scalar operator-(Scalar o) const { return binary<mlir::arith::SubFOp>(o); }
  Scalar operator*(Scalar o) const { return binary<mlir::arith::MulFOp>(o); }
  Scalar operator/(Scalar o) const { return binary<mlir::arith::DivFOp>(o); }
  Scalar operator+(double o) const { return *this + number(o); }
  Scalar operator-(double o) const { return *this - number(o); }
  Scalar operator*(double o) const { return *this * number(o); }
  Scalar max(Scalar o) const { return binary<mlir::arith::MaximumFOp>(o); }
  Scalar min(Scalar o) const { return binary<mlir::arith::MinimumFOp>(o); }
  Scalar exp() const { return unary<mlir::math::ExpOp>(); }
  Scalar log() const { return unary<mlir::math::LogOp>(); }
  Scalar above(double limit, Scalar yes, Scalar no) const {
    mlir::Value condition = b.createOrFold<mlir::arith::CmpFOp>(loc, mlir::arith::CmpFPredicate::OGT, value, number(limit).value);
    return with(b.createOrFold<mlir::arith::SelectOp>(loc, condition, yes.value, no.value));
  }
};

// log(1 + exp(x)) without overflow.
inline Scalar softplus(Scalar x) {
  Scalar magnitude = x.unary<mlir::math::AbsFOp>();
  return x.max(x.number(0)) + ((x.number(0) - magnitude).exp() + 1).log();
}
inline Scalar hardSigmoid(Scalar x, double alpha, double beta) { return (x * alpha + beta).max(x.number(0)).min(x.number(1)); }

} // namespace snug

#endif
