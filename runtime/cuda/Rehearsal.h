// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A host program can be run when a context is made, to learn what it will ask for, without anything being computed.
#ifndef SNUG_RUNTIME_CUDA_REHEARSAL_H
#define SNUG_RUNTIME_CUDA_REHEARSAL_H

#include "snug/ModelABI.h"

namespace snug::cuda {

// Calls that do nothing, for whoever wants to know of some of them to replace these.
inline snug_runtime_table silentTable() {
  snug_runtime_table table{};
  table.abi_version = SNUG_MODEL_ABI_VERSION;
  table.struct_size = sizeof table;
  table.launch = [](void *, int64_t, int64_t, int64_t, const int64_t *) {};
  table.contract = [](void *, int64_t, int64_t, const void *, int64_t, int64_t, const int64_t *) {};
  table.read = [](void *, const void *, int64_t) -> int64_t { return 1; }; // which may be divided by
  table.collective = [](void *, int64_t, const void *, void *, int64_t) {};
  table.start = table.collective;
  table.wait = [](void *, int64_t) {};
  return table;
}

} // namespace snug::cuda

#endif
