// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Strings as elements. Canonical IR stores one as an i128, the words of a snug_string (include/snug/ModelABI.h); the empty
// one is 0. Nothing is computed with that number: kernels ask the runtime (snug_nn.text).
#ifndef SNUG_PASSES_CANONICALIZE_STRINGTYPE_H
#define SNUG_PASSES_CANONICALIZE_STRINGTYPE_H

#include "passes/canonicalize/ElementTypes.h"

namespace snug {

namespace types {
constexpr TypeSet String = of(8);
constexpr TypeSet Any = All | String; // of an op that only moves elements
} // namespace types

bool isString(mlir::Type elementType);

} // namespace snug

#endif
