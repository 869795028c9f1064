// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Who owns the memory of a function's arguments. An input is the caller's and is only read, unless the caller donated it
// (`snug.donated`): then the program may write over it once nobody looks at it any more. An output (`snug.output`, made
// by the schedule) is written.
#ifndef SNUG_LIB_ANALYSIS_ARGUMENTS_H
#define SNUG_LIB_ANALYSIS_ARGUMENTS_H

#include "mlir/IR/Value.h"
#include "llvm/ADT/StringRef.h"

namespace snug {

constexpr llvm::StringLiteral kOutputArgument = "snug.output";
constexpr llvm::StringLiteral kDonatedArgument = "snug.donated";
/// The elements of an input that its caller has promised.
constexpr llvm::StringLiteral kArgumentValue = "snug.value";

/// Of an output whose shape is computed from data, which is a row of as many elements as it can have: the extents of the
/// largest such shape. Its actual shape is another output, which says the number of this one.
constexpr llvm::StringLiteral kLargestShape = "snug.largest_shape";
constexpr llvm::StringLiteral kShapeOf = "snug.shape_of";

/// Of an input: the names of the dims that its elements are, in order.
constexpr llvm::StringLiteral kValueDims = "snug.value_dims";

/// Of an input or output, `array<i64: 1, -1>`: the dim that devices along each axis of the mesh have equal parts of, or -1 where all
/// have the same. Of two that are one dim axis 1 cuts the parts of axis 0. Absent: each device has all of it.
constexpr llvm::StringLiteral kLayout = "snug.layout";

/// Of the module: the outputs that are sequences of maps. Each is a dictionary of the output's name ("output") and its keys
/// ("keys": a list of strings or int64s); the output itself has a row of values for each map.
constexpr llvm::StringLiteral kMaps = "snug.maps";

/// Whether the value is an argument of a function, and of that kind.
bool isOutputArgument(mlir::Value value);
bool isDonatedArgument(mlir::Value value);
inline bool isWritableArgument(mlir::Value value) { return isOutputArgument(value) || isDonatedArgument(value); }

} // namespace snug

#endif
