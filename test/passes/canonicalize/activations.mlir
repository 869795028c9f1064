// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=3..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// Softplus neither overflows nor loses what is small: max(x, 0) + log(1 + exp(-|x|)). HardSigmoid is cut to [0, 1]. Elu
// keeps its alpha.
// CHECK-LABEL: func.func @main
// CHECK: ^bb0(%[[X:.*]]: f32, %{{.*}}: f32):
// CHECK: %[[ABS:.*]] = math.absf %[[X]]
// CHECK: %[[MAX:.*]] = arith.maximumf %[[X]], %{{.*}}
// CHECK: %[[MINUS:.*]] = arith.subf %{{.*}}, %[[ABS]]
// CHECK: %[[EXP:.*]] = math.exp %[[MINUS]]
// CHECK: %[[SUM:.*]] = arith.addf %[[EXP]]
// CHECK: %[[LOG:.*]] = math.log %[[SUM]]
// CHECK: %[[SOFTPLUS:.*]] = arith.addf %[[MAX]], %[[LOG]]
// CHECK-NEXT: linalg.yield %[[SOFTPLUS]]
// CHECK: ^bb0(%[[Y:.*]]: f32, %{{.*}}: f32):
// CHECK: %[[A:.*]] = arith.constant 2.000000e-01 : f32
// CHECK: arith.mulf %[[Y]], %[[A]]
// CHECK: arith.constant 5.000000e-01 : f32
// CHECK: arith.maximumf
// CHECK: arith.minimumf
// CHECK: ^bb0(%[[Z:.*]]: f32, %{{.*}}: f32):
// CHECK: %[[POWER:.*]] = math.exp %[[Z]]
// CHECK: %[[ALPHA:.*]] = arith.constant 3.000000e+00 : f32
// CHECK: %[[BENT:.*]] = arith.mulf %{{.*}}, %[[ALPHA]]
// CHECK: arith.select %{{.*}}, %[[Z]], %[[BENT]]
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %a = snug_onnx.node "Softplus"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "HardSigmoid"(%a) {} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    %c = snug_onnx.node "Elu"(%b) {alpha = 3.000000e+00 : f32} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    return %c : tensor<*xf32>
  }
}

// -----

// A bound that is left out is not applied, one that is an input is read; slopes broadcast from the last dim.
// CHECK-DAG: #[[$SCALAR:.*]] = affine_map<(d0, d1) -> ()>
// CHECK-DAG: #[[$SLOPES:.*]] = affine_map<(d0, d1) -> (d1)>
// CHECK-LABEL: func.func @main
// CHECK: linalg.generic {indexing_maps = [#{{.*}}, #[[$SCALAR]], #{{.*}}]
// CHECK: ^bb0(%[[X:.*]]: f32, %[[HIGH:.*]]: f32, %{{.*}}: f32):
// CHECK-NEXT: arith.minimumf %[[X]], %[[HIGH]]
// CHECK-NEXT: linalg.yield
// CHECK: linalg.generic {indexing_maps = [#{{.*}}, #[[$SLOPES]], #{{.*}}]
// CHECK: ^bb0(%[[Y:.*]]: f32, %[[SLOPE:.*]]: f32, %{{.*}}: f32):
// CHECK: %[[BENT:.*]] = arith.mulf %[[Y]], %[[SLOPE]]
// CHECK: arith.cmpf ogt, %[[Y]]
// CHECK: arith.select %{{.*}}, %[[Y]], %[[BENT]]
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}, %hi: tensor<f32> {snug.name = "h", snug.dims = []}, %s: tensor<4xf32> {snug.name = "s", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %a = snug_onnx.node "Clip"(%x, %none, %hi) {} opset 13 : (tensor<?x4xf32>, none, tensor<f32>) -> tensor<*xf32>
    %b = snug_onnx.node "PRelu"(%a, %s) {} opset 16 : (tensor<*xf32>, tensor<4xf32>) -> tensor<*xf32>
    return %b : tensor<*xf32>
  }
}
