// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TEST_UNIT_CUDA_ALIKETYPES_H
#define SNUG_TEST_UNIT_CUDA_ALIKETYPES_H

#include <type_traits>

// Parameters of the same kind and size: pointers, and numbers.
template <class A, class B> constexpr bool isAlike() {
  return sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
}
// Functions of such parameters, whose statuses are integers and enumerations.
template <class Ours, class... A, class Theirs, class... B> constexpr bool areAlike(Ours (*)(A...), Theirs (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B))
    return sizeof(Ours) == sizeof(Theirs) && (isAlike<A, B>() && ...);
  return false;
}

#endif
