// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_SCATTEROP
#define SNUG_DIALECTS_NN_SCATTEROP

include "dialects/nn/NnOps.td"

def Nn_ScatterOp : Nn_KernelOp<"scatter", [SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "Elements combined into a tensor at places that are data";
  let description = [{
    The op reads and writes its destination: what no update goes to stays. Iteration dims are those of the updates. `place` says where
    one goes: each dim of the destination is an iteration dim, bare, or one of the indices that belong to it, which are the
    symbols. Component s of the last dim of `indices` is symbol s; `index_map` says which iteration dims the other dims of
    `indices` are. So dims in place need no index, and dims that `index_map` lacks are slices that one tuple of indices moves.

    An index below 0 counts from the end. An update whose index is outside of the destination then has no effect, and neither have those
    beyond it along the dims in `uneven`, which need not be as long in the updates as in the destination; others are.

    The region makes what is stored of what is there and the update, floats as they are computed with; narrow ones are rounded at
    each store. Of several updates of one element, each takes effect, one at a time, in an order that is a target's to say. If the region does not
    look at what is there, this decides which one wins.

    ```mlir
    // ONNX's ScatterND with sums: rows of 64, at pairs of indices.
    %r = snug_nn.scatter ins(%i, %u : tensor<?x2xi64>, tensor<?x64xf32>) outs(%x : tensor<8x?x64xf32>)
        attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i, j] -> (i, j, n)>} {
    ^bb0(%old: f32, %update: f32):
      %new = arith.addf %old, %update : f32
      snug_nn.yield %new : f32
    } -> tensor<8x?x64xf32>
    ```
  }];
  let arguments = (ins Nn_Shaped:$indices, Nn_Shaped:$updates, Nn_Shaped:$init, AffineMapAttr:$index_map, AffineMapAttr:$place,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$uneven);
  let regions = (region SizedRegion<1>:$combiner);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); }
    // Whether iterations along the dim write different elements, and all of what there is along it.
    bool isInPlace(unsigned dim);
    // Whether the region looks at what is there.
    bool combines();
    // Whether the order in which updates of one element take effect decides its bits, where the region looks at what is there.
    bool dependsOnOrder();
  }];
  let assemblyFormat = [{
    `ins` `(` $indices `,` $updates `:` type($indices) `,` type($updates) `)` `outs` `(` $init `:` type($init) `)`
    attr-dict-with-keyword $combiner (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

#endif
