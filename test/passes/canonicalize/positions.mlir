// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=2..8" -snug-verify-canonical | FileCheck %s

// A row of a table for each position is a slice of the table.
// CHECK-LABEL: func.func @main(
// CHECK-DAG: %[[SEQ:.*]] = tensor.dim
// CHECK-DAG: %[[TABLE:.*]] = snug_nn.weight @weight_table
// CHECK: %[[ROWS:.*]] = tensor.extract_slice %[[TABLE]][0, 0] [%[[SEQ]], 4] [1, 1]
// CHECK-NOT: snug_nn.gather
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %[[ROWS]]
module {
  snug_onnx.initializer @table file "w.bin" offset 0 length 160 : tensor<10x4xf32>
  snug_onnx.initializer @zero value dense<0> : tensor<i64>
  snug_onnx.initializer @one value dense<1> : tensor<i64>
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %table = snug_onnx.get @table : tensor<10x4xf32>
    %zero = snug_onnx.get @zero : tensor<i64>
    %one = snug_onnx.get @one : tensor<i64>
    %s = snug_onnx.node "Shape"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<2xi64>
    %n = snug_onnx.node "Gather"(%s, %zero) {axis = 0 : i64} opset 20 : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
    %places = snug_onnx.node "Range"(%zero, %n, %one) {} opset 20 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
    %rows = snug_onnx.node "Gather"(%table, %places) {axis = 0 : i64} opset 20 : (tensor<10x4xf32>, tensor<?xi64>) -> tensor<*xf32>
    %y = snug_onnx.node "Add"(%x, %rows) {} opset 20 : (tensor<?x4xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Equal, Where and Cast of shape lists leave no tensor behind.
// CHECK-LABEL: func.func @main(
// CHECK: linalg.generic {{.*}} ins(%{{.*}} : tensor<1x?xf32>) outs(%{{.*}} : tensor<4x?xf32>)
// CHECK-NOT: arith.select
// CHECK: return {{.*}} : tensor<4x?xf32>
module {
  snug_onnx.initializer @wanted value dense<[4, -1]> : tensor<2xi64>
  snug_onnx.initializer @minus value dense<-1> : tensor<i64>
  snug_onnx.initializer @two value dense<2> : tensor<1xi64>
  func.func @main(%x: tensor<1x?xf32> {snug.name = "x", snug.dims = ["1", "seq"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %wanted = snug_onnx.get @wanted : tensor<2xi64>
    %minus = snug_onnx.get @minus : tensor<i64>
    %two = snug_onnx.get @two : tensor<1xi64>
    %ones = snug_onnx.node "ConstantOfShape"(%two) {value = dense<1> : tensor<1xi64>} opset 20 : (tensor<1xi64>) -> tensor<2xi64>
    %free = snug_onnx.node "Equal"(%wanted, %minus) {} opset 20 : (tensor<2xi64>, tensor<i64>) -> tensor<2xi1>
    %shape = snug_onnx.node "Where"(%free, %ones, %wanted) {} opset 20 : (tensor<2xi1>, tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
    %y = snug_onnx.node "Expand"(%x, %shape) {} opset 20 : (tensor<1x?xf32>, tensor<2xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
