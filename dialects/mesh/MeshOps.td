// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_MESH_MESHOPS
#define SNUG_DIALECTS_MESH_MESHOPS

include "mlir/IR/OpBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/mesh/CollectiveInterface.td"
include "dialects/nn/IndexRuleInterface.td"

def Mesh_Dialect : Dialect {
  let name = "snug_mesh";
  let cppNamespace = "::snug::mesh";
  let summary = "What the devices of a mesh do together";
  let description = [{
    A program that is cut for a mesh is one device's, and the same for all: the module attribute
    `snug.mesh = array<i64: d1, d2>` says how many devices there are along the mesh's axes 0 and 1. Rank r is at
    (r / d2, r % d2). Without the attribute a program is one for one device, and has no op of this dialect.

    Collectives name the mesh `axes` along which the devices of a group differ: [0], [1] or [0, 1]; a group is in order of
    rank and has as many devices as the product of these extents. They are in destination-passing style, the same ops on
    tensors and on memrefs, and move memory that is contiguous. So the dim of the group, where there is one, is the first
    of its tensor, and has one element a device; whoever wants another dim writes transposes and reshapes around it.

    All devices must do the same collectives in the same order: what decides whether one is done, and how often, has to
    have the same value on all of them.

    A collective on memrefs that `starts` returns at once, and `snug_mesh.wait` with the same operands, in the same block, returns
    when it is done. In between, which is up to whoever writes such a program, nobody writes to its operand or looks at its
    result (contract C5 checks it).
  }];
}

def Mesh_Shaped : AnyTypeOf<[AnyRankedTensor, AnyStridedMemRef]>;

def Mesh_CollectiveKind : I32EnumAttr<"CollectiveKind", "kind of collective", [
    I32EnumAttrCase<"AllReduce", 0, "all_reduce">, I32EnumAttrCase<"ReduceScatter", 1, "reduce_scatter">,
    I32EnumAttrCase<"AllGather", 2, "all_gather">, I32EnumAttrCase<"AllToAll", 3, "all_to_all">,
    I32EnumAttrCase<"Shift", 4, "shift">]> {
  let cppNamespace = "::snug::mesh";
}

def Mesh_Reduction : I32EnumAttr<"Reduction", "how elements are combined", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">, I32EnumAttrCase<"Min", 2, "min">,
    I32EnumAttrCase<"Prod", 3, "prod">]> {
  let cppNamespace = "::snug::mesh";
}

class Mesh_CollectiveOp<string mnemonic, string kind, dag extra, string prefix, string combination>
    : Op<Mesh_Dialect, mnemonic, [
        DestinationStyleOpInterface,
        CollectiveOpInterface,
        DeclareOpInterfaceMethods<IndexRuleOpInterface, ["cloneSlice", "mayOverwrite", "wantsContiguous"]>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let arguments = !con(extra, (ins DenseI64ArrayAttr:$axes, Mesh_Shaped:$input, Mesh_Shaped:$init, UnitAttr:$starts));
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); }
    ::snug::mesh::CollectiveKind getCollectiveKind() { return ::snug::mesh::CollectiveKind::}] # kind # [{; }
    ::std::optional<::snug::mesh::Reduction> getCombination() { return }] # combination # [{; }
  }];
  let assemblyFormat = prefix # [{
    (`start` $starts^)? `axes` $axes `ins` `(` $input `:` type($input) `)` `outs` `(` $init `:` type($init) `)` attr-dict (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}
class Mesh_CombiningOp<string mnemonic, string kind>
    : Mesh_CollectiveOp<mnemonic, kind, (ins Mesh_Reduction:$reduction), "$reduction", "getReduction()">;
class Mesh_MovingOp<string mnemonic, string kind> : Mesh_CollectiveOp<mnemonic, kind, (ins), "", "::std::nullopt">;

def Mesh_AllReduceOp : Mesh_CombiningOp<"all_reduce", "AllReduce"> {
  let summary = "Each element combined over the group, on all of its devices";
  let description = [{
    The result may take over the operand's buffer.

    ```mlir
    %r = snug_mesh.all_reduce sum axes [1] ins(%x : tensor<4x?xf32>) outs(%e : tensor<4x?xf32>) -> tensor<4x?xf32>
    ```
  }];
}

def Mesh_ReduceScatterOp : Mesh_CombiningOp<"reduce_scatter", "ReduceScatter"> {
  let summary = "g parts, combined over the group; the device at place r of it gets part r";
  let description = [{
    ```mlir
    %r = snug_mesh.reduce_scatter sum axes [0] ins(%x : tensor<2x4x?xf32>) outs(%e : tensor<4x?xf32>) -> tensor<4x?xf32>
    ```
  }];
}

def Mesh_AllGatherOp : Mesh_MovingOp<"all_gather", "AllGather"> {
  let summary = "g parts, on all devices of the group: part r is what the device at place r of it has";
  let description = [{
    ```mlir
    %r = snug_mesh.all_gather axes [0, 1] ins(%x : tensor<8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
    ```
  }];
}

def Mesh_AllToAllOp : Mesh_MovingOp<"all_to_all", "AllToAll"> {
  let summary = "Part r goes to the device at place r of the group; part r of the result came from it";
  let description = [{
    ```mlir
    %r = snug_mesh.all_to_all axes [0] ins(%x : tensor<2x8xf32>) outs(%e : tensor<2x8xf32>) -> tensor<2x8xf32>
    ```
  }];
}

def Mesh_ShiftOp : Mesh_MovingOp<"shift", "Shift"> {
  let summary = "What the device before this one in the group has; the first gets the last one's";
  let description = [{
    ```mlir
    %r = snug_mesh.shift axes [0] ins(%x : tensor<4x?xf32>) outs(%e : tensor<4x?xf32>) -> tensor<4x?xf32>
    ```
  }];
}

def Mesh_WaitOp : Op<Mesh_Dialect, "wait", [DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Returns when the collective that was started with these operands is done";
  let description = [{
    It names both buffers, so that they are live up to here for whoever counts uses.

    ```mlir
    snug_mesh.all_reduce sum start axes [1] ins(%x : memref<4x8xf32>) outs(%r : memref<4x8xf32>)
    snug_mesh.wait ins(%x : memref<4x8xf32>) outs(%r : memref<4x8xf32>)
    ```
  }];
  let arguments = (ins AnyStridedMemRef:$input, AnyStridedMemRef:$init);
  let assemblyFormat = "`ins` `(` $input `:` type($input) `)` `outs` `(` $init `:` type($init) `)` attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The collective that it ends; null where there is none.
    ::snug::mesh::CollectiveOpInterface getStart();
  }];
}

def Mesh_PinOp : Op<Mesh_Dialect, "pin", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "The operand, in parts";
  let description = [{
    Stands in a program before it is cut: whoever reads the result finds it cut along the dim that `dims` gives for each axis
    of the mesh, or as the search likes it where that is -1. Of two that are one dim axis 1 cuts the parts of axis 0.

    ```mlir
    %p = snug_mesh.pin %x along [1, -1] : tensor<4x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input `along` $dims attr-dict `:` type($input)";
}

def Mesh_IndexOp : Op<Mesh_Dialect, "index", [Pure]> {
  let summary = "This device's place along an axis of the mesh";
  let arguments = (ins I64Attr:$axis);
  let results = (outs Index:$result);
  let assemblyFormat = "$axis attr-dict";
  let hasVerifier = 1;
}
#endif
