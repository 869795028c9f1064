// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The element types of ONNX, how canonical IR stores them, and arithmetic on scalars that depends on them.
//
// Integers are signless in canonical IR, and floats of 8 bits or less and integers of less than 8 are codes: an i8 each,
// whose upper bits say nothing. What a value's elements mean is LoweredValue::elementType (ui16, f8E4M3FN, i4); bodies ask
// the functions here, which take that type beside the scalar that is stored.
#ifndef SNUG_PASSES_CANONICALIZE_ELEMENTTYPES_H
#define SNUG_PASSES_CANONICALIZE_ELEMENTTYPES_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include <string>

namespace snug {

// Sets of element types: bit N is the type that TensorProto.DataType numbers N.
using TypeSet = uint32_t;

namespace types {
template <class... Code> constexpr TypeSet of(Code... codes) { return ((TypeSet(1) << codes) | ...); }
constexpr TypeSet Floats = of(1, 10, 11, 16), Signed = of(3, 5, 6, 7), Unsigned = of(2, 4, 12, 13), Bool = of(9);
constexpr TypeSet Integers = Signed | Unsigned, Numbers = Floats | Integers;
constexpr TypeSet Codes = of(17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28); // float8, float6, float4, int4, int2
constexpr TypeSet Ordinary = Numbers | Bool;
constexpr TypeSet All = Ordinary | Codes;
} // namespace types

// The type of that number; null where Snug has none (strings, complex numbers).
mlir::Type elementTypeOf(mlir::MLIRContext *context, int64_t code);
// The number of a type; 0 where it has none.
int64_t codeOf(mlir::Type elementType); // 0 where there is none
// "float32", "uint8": as NumPy says it.
llvm::StringRef nameOf(int64_t code);
std::string nameOf(mlir::Type elementType);
// "float32, int8 and uint8"
std::string namesOf(TypeSet set);

// How canonical IR stores elements of a type.
mlir::Type storedAs(mlir::Type elementType);
// Whether an element is a code: what is stored is no number.
bool isCode(mlir::Type elementType);
bool isUnsigned(mlir::Type elementType); // of an integer; booleans are
// Integers in which shapes are computed: expressions of dims do not wrap around.
bool isShapeInteger(mlir::Type elementType);
// The least and largest of an integer type, where they are int64s.
std::optional<std::pair<int64_t, int64_t>> rangeOf(mlir::Type integerType);
// A constant as it is stored: the number converted to the type; the elements of a constant of the file.
mlir::TypedAttr numberAttr(mlir::Type elementType, double number);
mlir::TypedAttr storedAttr(mlir::TypedAttr constant);
mlir::DenseElementsAttr storedAttr(mlir::DenseElementsAttr constant);
// The largest or, with `least`, the smallest number; infinite for floats.
mlir::TypedAttr extremeAttr(mlir::Type elementType, bool least);

// Of scalars x and y as stored, whose elements have type `type`.
mlir::Value lessThan(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, mlir::Value x, mlir::Value y);
mlir::Value larger(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, mlir::Value x, mlir::Value y);
mlir::Value smaller(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, mlir::Value x, mlir::Value y);
mlir::Value quotient(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, mlir::Value x, mlir::Value y);
// With the sign of the dividend, as C has it.
mlir::Value remainder(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, mlir::Value x, mlir::Value y);
mlir::Value number(mlir::OpBuilder &b, mlir::Location loc, mlir::Type type, double number);

// How a number that a code cannot hold becomes one.
struct CastMode {
  bool saturate = true;
  enum Rounding { Nearest, Up, Down } scales = Up; // of float8e8m0, which has no mantissa
};
// The scalar as an element of type `to`.
mlir::Value convert(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Type from, mlir::Type to,
                    CastMode mode = {});

} // namespace snug

#endif
