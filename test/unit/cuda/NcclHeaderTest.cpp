// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What runtime/cuda/Nccl.h declares, against NCCL's own header: built where that is installed.

#include <nccl.h>

#include "runtime/cuda/Nccl.h"

#include <gtest/gtest.h>
#include <type_traits>

namespace ours = snug::cuda;

// Parameters of the same kind and size: pointers, integers, and structs.
template <class A, class B> constexpr bool isAlike() {
  return sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> && std::is_class_v<A> == std::is_class_v<B>;
}
template <class R, class... A, class S, class... B> constexpr bool areAlike(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B))
    return isAlike<R, S>() && (isAlike<A, B>() && ...);
  return false;
}

TEST(NcclHeader, DeclaresTheSameFunctions) {
#define CHECK(name, result, parameters)                                                                                \
  EXPECT_TRUE(areAlike(decltype(ours::Nccl::name)(nullptr), static_cast<decltype(&::name)>(nullptr))) << #name;
  SNUG_NCCL_FUNCTIONS(CHECK)
}

TEST(NcclHeader, HasTheSameNumbers) {
  EXPECT_EQ(sizeof(ours::NcclId), sizeof(ncclUniqueId));
  EXPECT_EQ(int(ours::kNcclSuccess), ncclSuccess);
  EXPECT_EQ(int(ours::kNcclInternalError), ncclInternalError);
  EXPECT_EQ(int(ours::kNcclInvalidArgument), ncclInvalidArgument);
  EXPECT_EQ(int(ours::kNcclInvalidUsage), ncclInvalidUsage);
  EXPECT_EQ(int(ours::kNcclRemoteError), ncclRemoteError);
  EXPECT_EQ(int(ours::kNcclInProgress), ncclInProgress);
  EXPECT_EQ(int(ours::kNcclInt8), ncclInt8);
  EXPECT_EQ(int(ours::kNcclUint8), ncclUint8);
  EXPECT_EQ(int(ours::kNcclInt32), ncclInt32);
  EXPECT_EQ(int(ours::kNcclUint32), ncclUint32);
  EXPECT_EQ(int(ours::kNcclInt64), ncclInt64);
  EXPECT_EQ(int(ours::kNcclUint64), ncclUint64);
  EXPECT_EQ(int(ours::kNcclFloat16), ncclFloat16);
  EXPECT_EQ(int(ours::kNcclFloat32), ncclFloat32);
  EXPECT_EQ(int(ours::kNcclFloat64), ncclFloat64);
  EXPECT_EQ(int(ours::kNcclBfloat16), ncclBfloat16);
  EXPECT_EQ(int(ours::kNcclSum), ncclSum);
  EXPECT_EQ(int(ours::kNcclProd), ncclProd);
  EXPECT_EQ(int(ours::kNcclMax), ncclMax);
  EXPECT_EQ(int(ours::kNcclMin), ncclMin);
}
