// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A machine as the time model sees it: rates, caches and fixed costs, each of which a small kernel can measure.
#ifndef SNUG_LIB_SOLVER_MACHINE_H
#define SNUG_LIB_SOLVER_MACHINE_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace snug {

/// One level between a core and memory.
struct CacheLevel {
  int64_t bytes = 0;      ///< of one of them
  bool shared = false;    ///< one for all threads; else each thread has its own
  double bytes_per_s = 0; ///< that one thread moves from and to it; threads add up
};

/// Rates are those of one thread, of a GPU of one multiprocessor, and add up over these, but for memory. An operation is one on
/// one f32 element; a multiply-add of a contraction counts two.
struct Machine {
  std::string name;
  int processors = 0;                     ///< multiprocessors of a GPU; 0: a CPU, of which a plan has some threads
  int vector_bits = 0;                    ///< of a CPU's register: how many rows of a contraction are held in registers
  double contraction_per_s = 0;           ///< operations of contractions, operands in cache
  double attention_per_s = 0;             ///< operations of the two products of streamed attention
  double narrow_contraction_per_s = 0;    ///< the same of floats of 16 bits
  double narrow_attention_per_s = 0;
  double transcendental_per_s = 0;        ///< elements through exp, tanh, erf and the like
  double elementwise_per_s = 0;           ///< plain operations, operands in cache
  double reduction_per_s = 0;             ///< elements of rows that are normalized or summed
  double strided_per_s = 0;               ///< elements moved across the order in which they lie in memory
  std::vector<CacheLevel> caches;         ///< beyond the first level, innermost first
  std::vector<double> memory_bytes_per_s; ///< [t-1]: of t threads together; more threads get the last entry
  double panel_bytes_per_s = 0;           ///< panels of a contraction, from memory: it computes or it waits for them
  double launch_s = 0;                    ///< starting one kernel on one thread
  double fork_s = 0;                      ///< waking the other threads for a kernel, and waiting for them
  double iteration_s = 0;                 ///< one turn of a chunk loop, without its kernels

  bool isGpu() const { return processors > 0; }
  /// Of a contraction's or attention's result: what a thread or a multiprocessor makes at a time.
  int64_t tileRows() const { return isGpu() ? 128 : 96; }
  int64_t tileColumns() const { return 128; }
};

/// What machines with registers of this width commonly do: 512 (x86-64-v4), 256 (v3), else 128 (v2, generic arm).
Machine builtinMachine(int vectorBits);

/// A GPU of NVIDIA with this compute capability (90 of sm_90), by the figures of the largest one's data sheet. `inTf32`: its
/// tensor cores make products of f32, in tf32.
Machine builtinGpu(int capability, bool inTf32 = false);

/// The text of a machine file (docs/machine-file.md), the same for the same machine.
std::string machineText(const Machine &machine);

/// Reads a machine file. Nullopt and one message in `error` if it is no JSON, lacks a key, has one that is not known,
/// or a value that no machine has.
std::optional<Machine> parseMachine(const std::string &text, std::string &error);

} // namespace snug

#endif
