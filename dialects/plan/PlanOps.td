// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_PLAN_PLANOPS
#define SNUG_DIALECTS_PLAN_PLANOPS

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "snug_plan";
  let cppNamespace = "::snug::plan";
  let summary = "The host program after memory planning";
  let description = [{
    One arena, views of it (memref.view) at offsets that are fixed for a bucket of dims, and kernel launches. What `--emit=plan` prints is what runs.
  }];
}

def Plan_ArenaOp : Op<Plan_Dialect, "arena", [Pure]> {
  let summary = "The one block of memory that all intermediates of a run live in";
  let description = [{ At most one a function; its size in bytes is the static extent of the result. }];
  let arguments = (ins I64Attr:$alignment);
  let results = (outs MemRefRankOf<[I8], [1]>:$result);
  let assemblyFormat = "`align` $alignment attr-dict `:` type($result)";
}

def Plan_OffsetOp : Op<Plan_Dialect, "offset", [Pure]> {
  let summary = "Where a buffer starts in the arena, by the bucket of the run's dims";
  let description = [{
    One offset in bytes for each entry of the module's `snug.buckets`, in its order: the last one is that for the largest
    dims.
  }];
  let arguments = (ins DenseI64ArrayAttr:$offsets);
  let results = (outs Index:$result);
  let assemblyFormat = "$offsets attr-dict";
}

def Plan_TextRuntimeOp : Op<Plan_Dialect, "text_runtime"> {
  let summary = "What a kernel needs to call the runtime's functions on strings";
  let description = [{
    The address of snug_runtime_table.text, its state, and the number of the launch that follows.
  }];
  let results = (outs I64:$function, I64:$state, I64:$launch);
  let assemblyFormat = "attr-dict";
}

def Plan_LaunchOp : Op<Plan_Dialect, "launch"> {
  let summary = "Runs a kernel function over [0, extent) of its outermost parallel dim";
  let description = [{
    `kernel` names a function (args..., lo: index, hi: index, thread: index). Memrefs travel as bare pointers; sizes,
    strides and offsets that are not static are index arguments of their own. Ranges start at multiples of `grain`.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$args, Index:$extent, I64Attr:$grain);
  let assemblyFormat = "$kernel `(` $args `)` `range` $extent `grain` $grain attr-dict `:` type($args)";
}
#endif
