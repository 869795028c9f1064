// RUN: snug-opt %s -snug-lower-onnx="dims=past=1..8" -snug-verify-canonical | FileCheck %s

// The extent s81 of the mask is not given: it is added to something of past + 1 elements, so it is that.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %{{.*}}: tensor<?x4xf32> {snug.dims = ["past", "4"], {{.*}}}, %{{.*}}: tensor<?xf32> {snug.dims = ["past + 1"], {{.*}}}, 
// CHECK-SAME: -> (tensor<?x4xf32> {snug.dims = ["past + 1", "4"]
module {
  snug_onnx.initializer @axis value dense<1> : tensor<1xi64>
  func.func @main(%cache: tensor<?x4xf32> {snug.name = "cache", snug.dims = ["past", "4"]}, %mask: tensor<?xf32> {snug.name = "mask", snug.dims = ["s81"]}, %token: tensor<1x4xf32> {snug.name = "token", snug.dims = ["1", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %axis = snug_onnx.get @axis : tensor<1xi64>
    %all = snug_onnx.node "Concat"(%cache, %token) {axis = 0 : i64} opset 20 : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<*xf32>
    %column = snug_onnx.node "Unsqueeze"(%mask, %axis) {} opset 20 : (tensor<?xf32>, tensor<1xi64>) -> tensor<*xf32>
    %y = snug_onnx.node "Add"(%all, %column) {} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
