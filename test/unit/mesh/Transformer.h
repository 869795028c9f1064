// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A stack of transformer layers as one model that the mesh planner can be asked about. Only tests know it: a compiled
// model states its terms by what its own graph does.
#ifndef SNUG_TEST_UNIT_MESH_TRANSFORMER_H
#define SNUG_TEST_UNIT_MESH_TRANSFORMER_H

#include "lib/solver/MeshPlanner.h"

namespace snug::test {

struct Transformer {
  int64_t layers = 1, hidden = 0, heads = 0, kvHeads = 0, headDim = 0, ffn = 0;
  int64_t ups = 1;         ///< linear layers from hidden to ffn: 2 where one gates the other
  double elementBytes = 2; ///< of activations and weights
  double moments = 0;      ///< float32 numbers a token that a norm reduces over the hidden dim
  bool reduceUps = false;  ///< an all-reduce after the first linear of the FFN, instead of scatter, activation, gather
  bool overlaps = false;   ///< collectives may run under the kernel before them
};

struct TransformerPhase {
  int64_t tokens = 0; ///< rows of all linear layers
  int64_t keys = 0;   ///< that each row attends to
};

inline const char *const kReplicated = "replicated residual";
inline const char *const kSequence = "sequence-sharded residual";

/// What one device of outputs x inputs computes and sends.
MeshTerms transformerTerms(const Transformer &model, const std::vector<TransformerPhase> &phases, int64_t outputs,
                           int64_t inputs);

} // namespace snug::test

#endif // SNUG_TEST_UNIT_MESH_TRANSFORMER_H
