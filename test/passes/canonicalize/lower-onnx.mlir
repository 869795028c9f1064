// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=batch=1,seq=2..8" -snug-verify-canonical | FileCheck %s

// A bias add of broadcast shapes is one generic over the result's dims.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<1x?x4xf32>
// CHECK: %[[SEQ:.*]] = tensor.dim %{{.*}}, %c1
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %{{.*}} : tensor<1x?x4xf32>, tensor<4xf32>)
// CHECK: arith.addf
// CHECK: return {{.*}} : tensor<1x?x4xf32>
module {
  snug_onnx.initializer @bias value dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  func.func @main(%x: tensor<?x?x4xf32> {snug.name = "x", snug.dims = ["batch", "seq", "4"]}) -> (tensor<?x?x4xf32> {snug.name = "y"}) {
    %b = snug_onnx.get @bias : tensor<4xf32>
    %y = snug_onnx.node "Add"(%x, %b) {} opset 14 : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
    return %y : tensor<?x?x4xf32>
  }
}

// -----

// Shape arithmetic leaves no tensor behind: Shape, Gather, Concat and Reshape become views.
// CHECK-LABEL: func.func @main
// CHECK-NOT: linalg
// CHECK: tensor.expand_shape
// CHECK-SAME: tensor<1x?x6xf32> into tensor<1x?x2x3xf32>
// CHECK-NOT: linalg
// CHECK: return
module {
  snug_onnx.initializer @one value dense<1> : tensor<1xi64>
  snug_onnx.initializer @tail value dense<[2, -1]> : tensor<2xi64>
  snug_onnx.initializer @zero value dense<0> : tensor<1xi64>
  func.func @main(%x: tensor<?x?x6xf32> {snug.name = "x", snug.dims = ["batch", "seq", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %zero = snug_onnx.get @zero : tensor<1xi64>
    %one = snug_onnx.get @one : tensor<1xi64>
    %tail = snug_onnx.get @tail : tensor<2xi64>
    %s = snug_onnx.node "Shape"(%x) {} opset 18 : (tensor<?x?x6xf32>) -> tensor<3xi64>
    %b = snug_onnx.node "Gather"(%s, %zero) {axis = 0 : i64} opset 18 : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
    %n = snug_onnx.node "Gather"(%s, %one) {axis = 0 : i64} opset 18 : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
    %shape = snug_onnx.node "Concat"(%b, %n, %tail) {axis = 0 : i64} opset 18 : (tensor<1xi64>, tensor<1xi64>, tensor<2xi64>) -> tensor<4xi64>
    %y = snug_onnx.node "Reshape"(%x, %shape) {} opset 18 : (tensor<?x?x6xf32>, tensor<4xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A causal mask reads no memory: both position grids are computed where they are compared.
// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: outs(%{{.*}} : tensor<?x?xi1>)
// CHECK-DAG: linalg.index 0
// CHECK-DAG: linalg.index 1
// CHECK: arith.cmpi sle
// CHECK-NOT: linalg.generic
// CHECK: return
module {
  snug_onnx.initializer @zero value dense<0> : tensor<i64>
  snug_onnx.initializer @one value dense<1> : tensor<i64>
  snug_onnx.initializer @axis value dense<1> : tensor<1xi64>
  snug_onnx.initializer @first value dense<1> : tensor<i64>
  func.func @main(%x: tensor<?x?xi64> {snug.name = "x", snug.dims = ["batch", "seq"]}) -> (tensor<*xi1> {snug.name = "y"}) {
    %zero = snug_onnx.get @zero : tensor<i64>
    %one = snug_onnx.get @one : tensor<i64>
    %axis = snug_onnx.get @axis : tensor<1xi64>
    %s = snug_onnx.node "Shape"(%x) {start = 1 : i64, end = 2 : i64} opset 18 : (tensor<?x?xi64>) -> tensor<1xi64>
    %n = snug_onnx.node "Squeeze"(%s) {} opset 18 : (tensor<1xi64>) -> tensor<i64>
    %r = snug_onnx.node "Range"(%zero, %n, %one) {} opset 18 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
    %q = snug_onnx.node "Unsqueeze"(%r, %axis) {} opset 18 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
    %m = snug_onnx.node "LessOrEqual"(%r, %q) {} opset 18 : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<*xi1>
    return %m : tensor<*xi1>
  }
}

// -----

// A weight is transposed and packed by its recipe, never in IR.
// CHECK-LABEL: func.func @main
// CHECK: %[[W:.*]] = snug_nn.weight @weight_w recipe [#snug_nn.transpose<[1, 0]>, #snug_nn.pack<32>] : tensor<2x4x32xf32>
// CHECK: snug_nn.contract ins(%{{.*}}, %[[W]] :
// CHECK-SAME: packed
module {
  snug_onnx.initializer @w file "m.data" offset 0 length 640 : tensor<40x4xf32>
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<40x4xf32>
    %y = snug_onnx.node "Gemm"(%x, %w) {transB = 1 : i64} opset 13 : (tensor<?x4xf32>, tensor<40x4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
