// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=n=1..8" -snug-verify-canonical | FileCheck %s

// A string is an i128 that kernels hand to the runtime; what is moved is not looked into.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %{{.*}}: tensor<?xi128> {{{.*}}snug.element_type = !snug_onnx.string
// CHECK: snug_nn.scalar_kernel
// CHECK: %[[X:.*]] = snug_nn.load 0[%{{.*}}] : i128
// CHECK: %[[Y:.*]] = snug_nn.load 1[%{{.*}}] : i128
// CHECK: %[[XY:.*]] = snug_nn.text concat(%[[X]], %[[Y]]) : (i128, i128) -> i128
// CHECK: snug_nn.store %[[XY]], 2[%{{.*}}] : i128
// CHECK: linalg.generic
// CHECK: arith.select %{{.*}}, %{{.*}}, %{{.*}} : i128
// CHECK: return %{{.*}} : tensor<?xi128>
module {
  snug_onnx.initializer @suffix value dense<["!"]> : tensor<1x!snug_onnx.string>
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}, %c: tensor<?xi1> {snug.name = "c", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    %s = snug_onnx.get @suffix : tensor<1x!snug_onnx.string>
    %y = snug_onnx.node "StringConcat"(%x, %s) {} opset 20 : (tensor<?x!snug_onnx.string>, tensor<1x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    %w = snug_onnx.node "Where"(%c, %x, %y) {} opset 20 : (tensor<?xi1>, tensor<?x!snug_onnx.string>, tensor<*x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %w : tensor<*x!snug_onnx.string>
  }
}

// -----

// Constant strings are a table of the library; keys are sorted by the compiler and looked up by halving.
// CHECK-DAG: snug_nn.data @[[KEYS:.*]] : tensor<3xi128> {value = dense<["a", "b", "c"]> : tensor<3x!snug_onnx.string>}
// CHECK-DAG: snug_nn.data @[[VALUES:.*]] : tensor<4xi64> {value = dense<[6, 5, 7, -1]> : tensor<4xi64>}
// CHECK-LABEL: func.func @main(
// CHECK: scf.while
// CHECK: snug_nn.text compare
module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    %y = snug_onnx.node "LabelEncoder"(%x) {keys_strings = ["b", "a", "c"], values_int64s = array<i64: 5, 6, 7>} opset 2 domain "ai.onnx.ml" : (tensor<?x!snug_onnx.string>) -> tensor<*xi64>
    return %y : tensor<*xi64>
  }
}
