// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=2..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// A function of the model stands where it is called, with the attributes of that call or its own defaults.
// CHECK-LABEL: func.func @main
// CHECK: arith.constant 2.500000e-01 : f32
// CHECK: arith.select
// CHECK: arith.negf
// CHECK: arith.constant 5.000000e-01 : f32
// CHECK: arith.select
// CHECK: arith.negf
// CHECK-NOT: func.func
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %a = snug_onnx.node "Leaky"(%x) {slope = 2.500000e-01 : f32} opset 1 domain "own" : (tensor<?x4xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "Leaky"(%a) {} opset 1 domain "own" : (tensor<*xf32>) -> tensor<*xf32>
    return %b : tensor<*xf32>
  }
  func.func private @"own::Leaky"(%x: !snug_onnx.unknown) -> !snug_onnx.unknown attributes {snug.attribute_defaults = {slope = 5.000000e-01 : f32}, snug.attributes = ["slope"], snug.domain = "own", snug.op_type = "Leaky"} {
    %a = snug_onnx.node "LeakyRelu"(%x) {alpha = #snug_onnx.ref<"slope", "FLOAT">} opset 20 : (!snug_onnx.unknown) -> !snug_onnx.unknown
    %b = snug_onnx.node "Neg"(%a) {} opset 20 : (!snug_onnx.unknown) -> !snug_onnx.unknown
    return %b : !snug_onnx.unknown
  }
}

// -----

// A function may shadow an op of the standard by its name, in its own domain, and call other functions.
// CHECK-LABEL: func.func @main
// CHECK: math.exp
// CHECK-NOT: math.exp
// CHECK-NOT: func.func
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %a = snug_onnx.node "Neg"(%x) {} opset 1 domain "own" : (tensor<?x4xf32>) -> tensor<*xf32>
    return %a : tensor<*xf32>
  }
  func.func private @"own::Neg"(%x: !snug_onnx.unknown) -> !snug_onnx.unknown attributes {snug.attribute_defaults = {}, snug.attributes = [], snug.domain = "own", snug.op_type = "Neg"} {
    %a = snug_onnx.node "Inner"(%x) {} opset 1 domain "own" : (!snug_onnx.unknown) -> !snug_onnx.unknown
    return %a : !snug_onnx.unknown
  }
  func.func private @"own::Inner"(%x: !snug_onnx.unknown) -> !snug_onnx.unknown attributes {snug.attribute_defaults = {}, snug.attributes = [], snug.domain = "own", snug.op_type = "Inner"} {
    %a = snug_onnx.node "Exp"(%x) {} opset 20 : (!snug_onnx.unknown) -> !snug_onnx.unknown
    return %a : !snug_onnx.unknown
  }
}
