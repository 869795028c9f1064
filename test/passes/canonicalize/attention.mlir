// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=batch=2,seq=2..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// Heads in the last dim, grouped keys, a soft cap, a bool mask for all heads: one op on views.
// CHECK-DAG: #[[$Q:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d2, d1, d4)>
// CHECK-DAG: #[[$K:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3, d1 floordiv 2, d4)>
// CHECK-DAG: #[[$MASK:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d2, d3)>
// CHECK-LABEL: func.func @main
// CHECK-NOT: linalg
// CHECK: snug_nn.attention {{.*}} score(%{{.*}} : tensor<?x?xi1>) outs(%{{.*}} : tensor<2x?x4x8xf32>)
// CHECK-SAME: indexing_maps = [#[[$Q]], #[[$K]], {{.*}}, #[[$MASK]], {{.*}}], zero_if_masked}
// CHECK: ^bb0(%[[X:.*]]: f32, %[[SEEN:.*]]: i1):
// CHECK: arith.mulf %[[X]]
// CHECK: arith.divf
// CHECK: math.tanh
// CHECK: %[[CAPPED:.*]] = arith.mulf
// CHECK: arith.select %[[SEEN]], %[[CAPPED]]
// CHECK: tensor.collapse_shape {{.*}} : tensor<2x?x4x8xf32> into tensor<2x?x32xf32>
module {
  func.func @main(%q: tensor<?x?x32xf32> {snug.name = "q", snug.dims = ["batch", "seq", "32"]}, %k: tensor<?x?x16xf32> {snug.name = "k", snug.dims = ["batch", "seq", "16"]},
                  %m: tensor<?x?xi1> {snug.name = "m", snug.dims = ["seq", "seq"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Attention"(%q, %k, %k, %m) {q_num_heads = 4 : i64, kv_num_heads = 2 : i64, softcap = 5.0 : f32} opset 23 : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x?xi1>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A cache: keys of the past come first, and causal rows stand behind them.
// CHECK-LABEL: func.func @main
// CHECK: %[[PAST:.*]] = tensor.dim %{{.*}}, %c2
// CHECK-COUNT-4: tensor.insert_slice
// CHECK: snug_nn.attention
// CHECK: %[[ROW:.*]] = snug_nn.index 2
// CHECK: %[[OWN:.*]] = arith.addi %[[ROW]], %[[PAST]]
// CHECK: %[[LAST:.*]] = arith.addi %[[OWN]]
// CHECK: %[[KEY:.*]] = snug_nn.index 3
// CHECK: arith.cmpi sle, %[[KEY]], %[[LAST]]
module {
  func.func @main(%q: tensor<?x4x3x8xf32> {snug.name = "q", snug.dims = ["batch", "4", "3", "8"]}, %c: tensor<?x4x?x8xf32> {snug.name = "c", snug.dims = ["batch", "4", "seq", "8"]})
      -> (tensor<*xf32> {snug.name = "y"}, tensor<*xf32> {snug.name = "pk"}, tensor<*xf32> {snug.name = "pv"}) {
    %none = snug_onnx.none
    %y:3 = snug_onnx.node "Attention"(%q, %q, %q, %none, %c, %c) {is_causal = 1 : i64} opset 23 : (tensor<?x4x3x8xf32>, tensor<?x4x3x8xf32>, tensor<?x4x3x8xf32>, none, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
    return %y#0, %y#1, %y#2 : tensor<*xf32>, tensor<*xf32>, tensor<*xf32>
  }
}

// -----

// Counted keys: the last row stands at the last of them, in each batch.
// CHECK-LABEL: func.func @main
// CHECK: %[[ROWS:.*]] = tensor.dim %arg0, %c2
// CHECK: snug_nn.attention {{.*}} score(%arg2 : tensor<2xi64>)
// CHECK: ^bb0(%{{.*}}: f32, %[[N:.*]]: i64):
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[N]]
// CHECK: arith.cmpi slt, %{{.*}}, %[[COUNT]]
// CHECK: %[[BEFORE:.*]] = arith.subi %[[COUNT]], %[[ROWS]]
// CHECK: %[[ROW:.*]] = snug_nn.index 2
// CHECK: arith.addi %[[ROW]], %[[BEFORE]]
// CHECK: arith.cmpi sle
module {
  func.func @main(%q: tensor<?x4x?x8xf32> {snug.name = "q", snug.dims = ["batch", "4", "seq", "8"]}, %k: tensor<?x4x9x8xf32> {snug.name = "k", snug.dims = ["batch", "4", "9", "8"]},
                  %n: tensor<?xi64> {snug.name = "n", snug.dims = ["batch"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %y = snug_onnx.node "Attention"(%q, %k, %k, %none, %none, %none, %n) {is_causal = 1 : i64} opset 24 : (tensor<?x4x?x8xf32>, tensor<?x4x9x8xf32>, tensor<?x4x9x8xf32>, none, none, none, tensor<?xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A mask shorter than the keys hides the rest, which take no part: no mask is made longer.
// CHECK-LABEL: func.func @main
// CHECK: %[[KEYS:.*]] = tensor.extract_slice %arg1[0, 0, 0, 0] [2, 4, 5, 8] [1, 1, 1, 1]
// CHECK: %[[VALUES:.*]] = tensor.extract_slice %arg1[0, 0, 0, 0] [2, 4, 5, 8] [1, 1, 1, 1]
// CHECK-NOT: linalg
// CHECK: snug_nn.attention ins(%arg0, %[[KEYS]], %[[VALUES]] : {{.*}}) score(%arg2 : tensor<?x5xf32>)
module {
  func.func @main(%q: tensor<?x4x?x8xf32> {snug.name = "q", snug.dims = ["batch", "4", "seq", "8"]}, %k: tensor<?x4x9x8xf32> {snug.name = "k", snug.dims = ["batch", "4", "9", "8"]},
                  %m: tensor<?x5xf32> {snug.name = "m", snug.dims = ["seq", "5"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Attention"(%q, %k, %k, %m) {} opset 24 : (tensor<?x4x?x8xf32>, tensor<?x4x9x8xf32>, tensor<?x4x9x8xf32>, tensor<?x5xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
