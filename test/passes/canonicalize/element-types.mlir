// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=3..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// Unsigned integers are stored without a sign, which is in what is done with them, and in the signature.
// CHECK-LABEL: func.func @main
// CHECK-SAME: (%{{[^:]*}}: tensor<?xi8> {snug.dims = ["seq"], snug.element_type = ui8,
// CHECK-SAME: -> (tensor<?xi8> {snug.dims = ["seq"], snug.element_type = ui8,
// CHECK: arith.maxui
// CHECK: arith.divui
// CHECK: arith.cmpi ult
// CHECK: arith.uitofp %{{.*}} : i8 to f32
module {
  func.func @main(%x: tensor<?xui8> {snug.name = "x", snug.dims = ["seq"]}, %y: tensor<?xui8> {snug.name = "y", snug.dims = ["seq"]}) -> (tensor<*xui8> {snug.name = "a"}, tensor<*xi1> {snug.name = "b"}, tensor<*xf32> {snug.name = "c"}) {
    %a = snug_onnx.node "Max"(%x, %y) {} opset 13 : (tensor<?xui8>, tensor<?xui8>) -> tensor<*xui8>
    %b = snug_onnx.node "Div"(%a, %y) {} opset 14 : (tensor<*xui8>, tensor<?xui8>) -> tensor<*xui8>
    %c = snug_onnx.node "Less"(%b, %y) {} opset 13 : (tensor<*xui8>, tensor<?xui8>) -> tensor<*xi1>
    %d = snug_onnx.node "Cast"(%b) {to = 1 : i64} opset 13 : (tensor<*xui8>) -> tensor<*xf32>
    return %b, %c, %d : tensor<*xui8>, tensor<*xi1>, tensor<*xf32>
  }
}

// -----

// What is moved keeps its meaning: the transposed codes are read as the floats that they are.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<?x4xi8> {snug.dims = ["seq", "4"], snug.element_type = f8E5M2,
// CHECK: arith.extui %{{.*}} : i8 to i32
// CHECK: arith.bitcast %{{.*}} : i32 to f32
module {
  func.func @main(%x: tensor<?x4xf8E5M2> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %a = snug_onnx.node "Transpose"(%x) {perm = array<i64: 1, 0>} opset 23 : (tensor<?x4xf8E5M2>) -> tensor<*xf8E5M2>
    %b = snug_onnx.node "Cast"(%a) {to = 1 : i64} opset 23 : (tensor<*xf8E5M2>) -> tensor<*xf32>
    return %b : tensor<*xf32>
  }
}

// -----

// Constants of narrow integers are no shapes: sums of them wrap around.
// CHECK-LABEL: func.func @main
// CHECK: arith.constant -56 : i8
module {
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["seq"]}) -> (tensor<ui8> {snug.name = "y"}) {
    %a = snug_onnx.node "Constant"() {value = dense<100> : tensor<ui8>} opset 13 : () -> tensor<ui8>
    %b = snug_onnx.node "Add"(%a, %a) {} opset 14 : (tensor<ui8>, tensor<ui8>) -> tensor<ui8>
    return %b : tensor<ui8>
  }
}
