// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_MEMORY_PASSES
#define SNUG_PASSES_MEMORY_PASSES

include "mlir/Pass/PassBase.td"

def PlaceParts : Pass<"snug-place-parts", "::mlir::ModuleOp"> {
  let summary = "Let kernels write parts of larger tensors where they belong";
  let description = [{
    What a tensor.insert_slice takes in, as of a concatenation or a padding, is made in a slice of the whole, not in a
    buffer of its own and copied: the whole is there from then on. That is done where no more bytes are live at any time
    than the most that are anyway; so it takes no more memory than was planned, and in most programs less. A program with chunk loops is left as it is.
  }];
  let dependentDialects = ["::mlir::tensor::TensorDialect"];
}

def Bufferize : Pass<"snug-bufferize", "::mlir::ModuleOp"> {
  let summary = "Carry the schedule out: tensors become memrefs, destinations become buffers";
  let description = [{
    One-Shot Bufferize over a scheduled program. Each tensor.empty becomes one memref.alloc; results, which the schedule
    put into destination arguments, are dropped. It decides nothing: an allocation or a copy that is not in the schedule
    is a fault of Snug's own, reported at the op that needs it.
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::affine::AffineDialect"];
}

def PlanArena : Pass<"snug-plan-arena", "::mlir::ModuleOp"> {
  let summary = "Put all buffers at fixed offsets of one arena";
  let description = [{
    Live ranges of the memref.allocs of each function in flattened time (the steps of one iteration of a loop are times
    of their own) and their sizes at the upper bound of dynamic dims make one packing problem (lib/solver/ArenaPacker.h);
    its solution is one snug_plan.arena at the entry and one memref.view for each allocation. With `buckets`, the problem
    is solved again for short ranges of the bounded dims; where that takes less, snug_plan.offset selects the offsets and
    `snug.buckets` says what each bucket needs, which never is more than for larger dims. Module attributes:
    `snug.arena_bytes`, and `snug.sched_bound`, the least that any packing of this order can take.
  }];
  let options = [
    Option<"alignment", "alignment", "int64_t", "64", "Bytes that offsets and sizes are multiples of, a power of two">,
    Option<"buckets", "buckets", "int64_t", "1", "Plan for up to this many ranges of the bounded dims">,
    Option<"problem", "problem", "std::string", "\"\"", "Write the packing problem to this file (- is stderr), as CSV">
  ];
  let dependentDialects = ["::snug::plan::PlanDialect", "::mlir::memref::MemRefDialect", "::mlir::arith::ArithDialect"];
}

def VerifyPlan : Pass<"snug-verify-plan", "::mlir::ModuleOp"> {
  let summary = "Check the memory plan (contract C5), independently of what made it";
  let description = [{
    Recomputes from the reads and writes of kernels when each view of the arena holds a value, and reports views that
    overlap in bytes and time, that leave the arena or are not aligned, arenas that do not match `snug.arena_bytes`,
    writes to inputs that are not donated, and any allocation, copy or tensor that is left.
  }];
}
#endif
