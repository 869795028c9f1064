// RUN: snug-opt %s -split-input-file -snug-lower-onnx -snug-verify-canonical | FileCheck %s -enable-var-scope

// What the file has twice is counted once (a kernel that counts, one that lists), so that both are seen to be of one size.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: snug_nn.scalar_kernel
// CHECK-NOT: snug_nn.scalar_kernel
module {
  func.func @main(%x: tensor<8xf32> {snug.name = "x", snug.dims = ["8"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    %a = snug_onnx.node "Relu"(%x) {} opset 20 : (tensor<8xf32>) -> tensor<*xf32> loc("first")
    %b = snug_onnx.node "Relu"(%x) {} opset 20 : (tensor<8xf32>) -> tensor<*xf32> loc("second")
    %p = snug_onnx.node "NonZero"(%a) {} opset 20 : (tensor<*xf32>) -> tensor<*xi64>
    %q = snug_onnx.node "NonZero"(%b) {} opset 20 : (tensor<*xf32>) -> tensor<*xi64>
    %y = snug_onnx.node "Add"(%p, %q) {} opset 20 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    return %y : tensor<*xi64>
  }
}

// -----

// What is random is drawn anew each time, by one kernel each.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: linalg.generic {{.*}} ins(%arg0 : tensor<8xf32>)
module {
  func.func @main(%x: tensor<8xf32> {snug.name = "x", snug.dims = ["8"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %a = snug_onnx.node "Bernoulli"(%x) {} opset 20 : (tensor<8xf32>) -> tensor<*xf32> loc("first")
    %b = snug_onnx.node "Bernoulli"(%x) {} opset 20 : (tensor<8xf32>) -> tensor<*xf32> loc("second")
    %y = snug_onnx.node "Sub"(%a, %b) {} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
