// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which keys a query row of attention cannot see: read from the score region, so that a causal mask, however an
// exporter wrote it, halves the work.
#ifndef SNUG_LIB_ANALYSIS_KEYBOUND_H
#define SNUG_LIB_ANALYSIS_KEYBOUND_H

#include "dialects/nn/NnDialect.h"
#include <optional>

namespace snug {

/// A score at or below this is masked: where a row has any score above kSeenScore, exp of the distance is exactly 0.
constexpr double kMaskedScore = -1e30, kSeenScore = -1e29;

/// Sum of iteration dims and of values from outside of the region, each times its factor, plus a constant.
struct LinearIndex {
  llvm::SmallVector<std::pair<unsigned, int64_t>> dims;
  llvm::SmallVector<std::pair<mlir::Value, int64_t>> values;
  int64_t constant = 0;
};

/// Keys t > last are masked for every row: their scores are at most kMaskedScore, whatever q and k hold (but not NaN).
/// A row that sees nothing up to `last` may still give them weight, unless they are `infinite`: then all are -inf.
struct KeyBound {
  LinearIndex last;
  bool infinite = false;
};

std::optional<KeyBound> keyBound(nn::AttentionOp op);

} // namespace snug

#endif
