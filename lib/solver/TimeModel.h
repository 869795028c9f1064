// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What one kernel takes on a machine: a roofline (Williams, Waterman, Patterson, CACM 2009) over kinds of work, with
// the cost of starting it, of tiles that are not full, and of threads that get nothing. Pure functions, for any thread;
// times in seconds, memory in bytes.
#ifndef SNUG_LIB_SOLVER_TIMEMODEL_H
#define SNUG_LIB_SOLVER_TIMEMODEL_H

#include "lib/solver/Machine.h"

namespace snug {

/// Operations by kind, as Machine has rates of them.
struct KernelWork {
  double contraction = 0, attention = 0, transcendental = 0, elementwise = 0, reduction = 0, strided = 0;

  bool any() const { return contraction + attention + transcendental + elementwise + reduction + strided > 0; }
  KernelWork times(double share) const {
    return {contraction * share, attention * share, transcendental * share,
            elementwise * share, reduction * share, strided * share};
  }
  bool operator==(const KernelWork &o) const {
    return contraction == o.contraction && attention == o.attention && transcendental == o.transcendental &&
           elementwise == o.elementwise && reduction == o.reduction && strided == o.strided;
  }
  bool operator!=(const KernelWork &o) const { return !(*this == o); }
};

/// One launch of a kernel.
struct KernelCost {
  KernelWork work;
  int64_t rows = 0;       ///< that a contraction or attention holds in registers tile by tile; 0: it has no tiles
  int64_t columns = 0;    ///< of its tiles; 0: they are full
  bool isNarrow = false;  ///< contractions and attention are of floats of 16 bits
  double pieces = 1;      ///< that different threads can take
  double near_s = 0;      ///< time of one thread to move what lies in caches
  double far_bytes = 0;   ///< moved from and to memory while it computes
  double panel_bytes = 0; ///< from memory, for which it waits
};

/// The share of a thread's rate that rows of a contraction get: below 1 where tiles, a CPU's those of registers, are not full.
double rowEfficiency(const Machine &machine, int64_t rows);

/// The same for columns: a row of a CPU's tile is two registers.
double columnEfficiency(const Machine &machine, int64_t columns);

/// How often faster than one thread the pieces are done; no more than `threads`.
double speedup(double pieces, int threads);

/// Tiles of `outer` results of so many rows and columns, that different threads can take. A GPU's are smaller where it has no work for
/// all of it otherwise.
double piecesOf(const Machine &machine, double outer, int64_t rows, int64_t columns);

/// Elements that tiles of `rows` bring into order for themselves, `packed` each. A GPU does that on the way to shared memory.
double packing(const Machine &machine, double packed, int64_t rows);

/// Seconds of one launch. `threads` are those of a CPU, of which there is at least 1.
double kernelTime(const Machine &machine, const KernelCost &cost, int threads);

/// The share that a cache of `capacity` still holds of what is touched again after `distance` bytes were moved through
/// it. A cache does not drop its oldest lines in strict order, so the share falls steadily beyond the capacity.
double residentShare(double distance, double capacity);

/// A part of a tensor that a kernel reads or writes.
struct Transfer {
  double bytes = 0;
  double distance = 0; ///< bytes moved, these included, since each of its lines was last touched
  bool isWrite = false;
  bool isPanel = false; ///< read for each tile of rows: panels of a contraction, keys and values of attention
};

/// Adds the transfer to `cost`, each share by the cache that holds it. What is written and not in a CPU's cache is moved
/// twice: its lines are read first.
void addTransfer(const Machine &machine, const Transfer &transfer, int threads, KernelCost &cost);

} // namespace snug

#endif
