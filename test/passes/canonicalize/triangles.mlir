// RUN: snug-opt %s -split-input-file -snug-lower-onnx | FileCheck %s --enable-var-scope

// Positions are no tensors: a triangle is one generic that reads its input alone.
// CHECK-LABEL: @main(
// CHECK-SAME: %[[X:.*]]: tensor<4x5xf32>
// CHECK: linalg.generic
// CHECK-SAME: ins(%[[X]] : tensor<4x5xf32>)
// CHECK: linalg.index
// CHECK: arith.cmpi sge
// CHECK: arith.select
// CHECK-NOT: linalg.generic
module {
  func.func @main(%x: tensor<4x5xf32> {snug.name = "x", snug.dims = ["4", "5"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Trilu"(%x) {} opset 14 : (tensor<4x5xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
