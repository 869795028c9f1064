// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CHUNK_PASSES
#define SNUG_PASSES_CHUNK_PASSES

include "mlir/Pass/PassBase.td"

def SelectChunks : Pass<"snug-select-chunks", "::mlir::ModuleOp"> {
  let summary = "Put chunk loops where the memory peaks are, until the program fits a budget";
  let description = [{
    While more bytes are live at one time than the budget allows, finds the dim along which the kernels around the peak
    can run slice by slice, and puts them into one `scf.for`; in the body of that loop it may do so again. Bodies of
    loops and branches that were there before are searched within what is left to them. Works on any
    program of linalg and tensor ops; ops without an index rule are left alone. The results are those of the unchunked
    program, bit for bit, but for sums that are made in parts: by a loop of kind `accumulate`, or where a
    normalization over several dims is said as sums to be cut at all.

    A plan is a model of the program: it is carried out in a copy, which is measured, and where that needs more than was
    planned and than may be used, other plans take its place (`broken_plans` in `snug.chunk_figures` counts these
    functions). A function with control flow between blocks, or with tensors that nothing bounds, is left as it is, with a
    remark.

    Where no loops are enough, an error names the least peak that can be reached and the op in the way; the program is
    then unchanged. The module attribute `snug.chunk_report` describes the loops, each of which has its index there as
    `snug.chunk_loop`, and each loop is a remark.
  }];
  let options = [
    Option<"activationBudget", "activation-budget", "int64_t", "-1",
           "Bytes that intermediate tensors may take at one time; -1: as few as can be reached">,
    Option<"loosen", "loosen", "bool", "true",
           "Where it helps, split contractions that are read in parts and norms over several dims, and recompute cheap "
           "tensors for each reader">,
    Option<"exact", "exact", "bool", "false", "No sum is made in parts: the results keep their bits">,
    Option<"threads", "threads", "int", "1", "Threads that the time model assumes">,
    Option<"machine", "machine", "std::string", "",
           "Machine file (docs/machine-file.md) of the time model; else the module attribute snug.machine holds its text; "
           "else a machine with vectors of 256 bits is assumed">
  ];
}
#endif
