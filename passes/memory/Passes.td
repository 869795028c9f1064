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

def OverlapCollectives : Pass<"snug-overlap-collectives", "::mlir::ModuleOp"> {
  let summary = "Let collectives run while the kernels around them compute";
  let description = [{
    A contraction or attention whose rows go to collectives, through whatever brings them into order in between, or come from
    them, is done in pieces of rows with these: what one piece sends is started, and waited for when the next one is computed.
    In 2, 4 or 8 pieces, or not, by the time model and that of the links: all pieces take
    T(c) = t_k + t_l + (c - 1) max(t_k, t_l), where t_k is the time of a kernel's piece, which reads all of its weights, and
    t_l that of the piece's collectives. Rows may be open: pieces are of ceil(rows / c), the last ones of less or nothing. It runs
    on buffers, behind all that decides on them, so that what is in flight is live until its wait for whoever counts uses. Chains
    that would take more memory than is live at some time anyway, and than is allowed, are done in other pieces, or left. The
    module attribute `snug.overlap` lists what was done.
  }];
  let options = [
    Option<"pieces", "pieces", "int64_t", "0", "So many wherever that can be: 2, 4, 8, or 1 for none; 0: by the model">,
    Option<"limit", "limit", "int64_t", "-1",
           "Bytes of buffers that may be live at one time, unless there are more without this pass; -1: any number">,
    ListOption<"links", "links", "double",
               "Bytes per second and seconds of latency of the links along axis 0, then along axis 1; else 10 GB/s and 10 us">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect", "::snug::mesh::MeshDialect"];
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

def ReserveWorkspace : Pass<"snug-reserve-workspace", "::mlir::ModuleOp"> {
  let summary = "Make room at the end of the arena for libraries to work in";
  let description = [{
    As much as is asked for, but no more than the limit leaves behind the plan of the largest dims; nothing is as good as
    any, as libraries have ways that need none. All buckets get as much. One run's calls come one after the other, so all use the same bytes,
    which no buffer of the plan shares with them. The module attribute `snug.workspace_bytes` has how many they are, and
    `snug.arena_bytes` counts them.
  }];
  let options = [
    Option<"bytes", "bytes", "int64_t", "0", "Bytes that libraries would like">,
    Option<"limit", "limit", "int64_t", "-1", "Bytes that the whole arena may have; -1: any number">
  ];
  let dependentDialects = ["::snug::plan::PlanDialect"];
}

def VerifyPlan : Pass<"snug-verify-plan", "::mlir::ModuleOp"> {
  let summary = "Check the memory plan (contract C5), independently of what made it";
  let description = [{
    Recomputes from the reads and writes of kernels when each view of the arena holds a value, and reports views that
    overlap in bytes and time, that leave the arena or are not aligned, arenas that do not match `snug.arena_bytes`,
    writes to inputs that are not donated, and any allocation, copy or tensor that is left; and of collectives in flight, who
    touches their buffers before the wait, which one has none, and more than 8 at once.
  }];
}
#endif
