// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Between IR and the chunk search: a function as a ChunkProblem, and a plan carried out in the function.
#ifndef SNUG_PASSES_CHUNK_CHUNKPROGRAM_H
#define SNUG_PASSES_CHUNK_CHUNKPROGRAM_H

#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/chunk/ChunkSearch.h"

namespace snug {

class Liveness;

/// Attribute of a function that makes some sums in another order than it did without chunk loops, besides the loops that
/// make them in parts: the last bits of its results may differ.
constexpr llvm::StringLiteral kReassociates = "snug.reassociates";

struct ChunkProgram {
  ChunkProblem problem;
  std::vector<mlir::Operation *> ops; ///< of the nodes
  std::vector<mlir::Value> values;    ///< of the values
};

/// Of a block of the function: its body, or that of a loop, whose own buffers alone then have bytes. Emits an error
/// where a buffer has no bound. If `exact`, no sum may be made in parts.
mlir::FailureOr<ChunkProgram> buildChunkProgram(mlir::func::FuncOp function, mlir::Block &block, IndexBounds &bounds,
                                                bool exact = false);

/// Gives each kernel a tensor.empty, or a linalg.fill of one, of its own where it shares one as its destination: CSE
/// merges them, but two kernels that are needed at one time have two buffers anyway.
void separateInits(mlir::func::FuncOp function);

/// Makes the copies that bufferization would make: of a destination that is needed after it is written over, unless that
/// is an argument that may be, and of a result that is a slice of a tensor made in the function, so that the whole need
/// not live as long as the caller has the slice.
void sayCopies(mlir::func::FuncOp function);

/// Puts each tensor.empty in front of its first user: bufferization makes its buffer where it stands, plans count it from
/// the first kernel on that writes it.
void sinkEmpties(mlir::func::FuncOp function);

/// How far parts of a program are to share less, so that they can be chunked apart.
enum class Sharing {
  AsItIs,
  Split,    ///< contractions that are read in parts, and norms over several dims, are made in parts
  EachItsOwn, ///< and each reader of a cheap value has its own
  OneSum      ///< and reductions in parts are one each, for loops over their terms: only where nothing else fits
};

/// Brings the function there. True if that changed it. Costs time where no chunk loop makes use of it. If `exact`, the
/// results keep their bits.
bool loosenSharing(mlir::func::FuncOp function, Sharing sharing, bool exact = false);

/// Says normalizations of rows that are several dims of a tensor as sums over these dims and what is computed of each
/// element with them, so that loops over the dims make the one and the other. True if it changed the function. Sums are
/// in the same order while no loop cuts them, but not in that of the kernel for rows: the function is marked by
/// kReassociates.
bool splitNorms(mlir::func::FuncOp function);

/// Says reductions in parts (snug_nn.partial_reduce) as the ones that the parts are of. True, and marked by kReassociates, if there
/// were some.
bool mergeParts(mlir::func::FuncOp function);
/// What splitNorms() does, of one normalization, wherever it stands. Its views and its destination may be left without a use.
bool splitNorm(nn::NormOp op);

/// Puts the loop into the IR. Loops of one plan may be applied in any order. Returns the scf.for.
mlir::Operation *applyChunkLoop(const ChunkProgram &program, const ChunkLoop &loop);

} // namespace snug

#endif
