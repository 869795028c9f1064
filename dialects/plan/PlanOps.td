// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_PLAN_PLANOPS
#define SNUG_DIALECTS_PLAN_PLANOPS

include "mlir/IR/AttrTypeBase.td"
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
  let useDefaultAttributePrinterParser = 1;
}

def Plan_ContractionAttr : AttrDef<Plan_Dialect, "Contraction"> {
  let mnemonic = "contraction";
  let summary = "A product of matrices as a BLAS library does it, or a convolution";
  let description = [{
    Of each instance of a batch, d = activation(alpha a b + beta c + bias): a and b of elements `operands`, c, d and bias of
    elements `result`. `tf32`: operands of f32 may be rounded to that. As snug_contraction of include/snug/ModelABI.h: without
    `spatial` dims a product of matrices.
  }];
  let parameters = (ins "::mlir::Type":$operands, "::mlir::Type":$result, "unsigned":$spatial, "bool":$transposeA, "bool":$transposeB,
                        "::mlir::FloatAttr":$alpha, "::mlir::FloatAttr":$beta, "bool":$bias, "::mlir::StringAttr":$activation,
                        "bool":$tf32);
  let assemblyFormat = "`<` struct(params) `>`";
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

def Plan_LaunchOp : Op<Plan_Dialect, "launch", [AttrSizedOperandSegments]> {
  let summary = "Runs a kernel function over [0, extent) of its outermost parallel dim";
  let description = [{
    `kernel` names a function (args..., lo: index, hi: index, thread: index). Memrefs travel as bare pointers; sizes,
    strides and offsets that are not static are index arguments of their own. Ranges start at multiples of `grain`.

    With `library`, a library that does such a contraction may do it in the kernel's place. It is told what
    snug_contraction_shape of include/snug/ModelABI.h holds, or of a convolution snug_convolution_shape, in that order; what a
    contraction lacks is 0.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$args, Index:$extent, I64Attr:$grain,
                       OptionalAttr<Plan_ContractionAttr>:$library, Variadic<AnyType>:$shape);
  let assemblyFormat = [{
    $kernel `(` $args `)` `range` $extent `grain` $grain (`library` $library^)? attr-dict `:` type($args)
    (`shape` `(` $shape^ `:` type($shape) `)`)?
  }];
}
#endif
