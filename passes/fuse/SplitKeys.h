// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of few rows to many keys as one to parts of the keys side by side, so that there is work for a whole target, and what
// puts them together.
#ifndef SNUG_PASSES_FUSE_SPLITKEYS_H
#define SNUG_PASSES_FUSE_SPLITKEYS_H

#include "dialects/nn/NnDialect.h"

namespace snug {

/// Replaces `op`, which has no statistics, by one to `parts` parts of the keys, with theirs, and a scalar kernel that sums them in the
/// order of the parts, each by its share of the weights (Milakov and Gimelshein, arXiv 1805.02867).
void splitKeys(nn::AttentionOp op, int64_t parts);

} // namespace snug

#endif
