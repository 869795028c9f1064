// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=2..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// A relation of dims that holds for all of their values chooses a branch; of the other nothing is left, not even a judgement.
// CHECK-LABEL: func.func @main
// CHECK: arith.negf
// CHECK-NOT: snug_onnx
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %zero = snug_onnx.node "Constant"() {value_int = 0 : i64} opset 20 : () -> tensor<i64>
    %ten = snug_onnx.node "Constant"() {value_int = 10 : i64} opset 20 : () -> tensor<i64>
    %s = snug_onnx.node "Shape"(%x) {} opset 20 : (tensor<?x4xf32>) -> !snug_onnx.unknown
    %n = snug_onnx.node "Gather"(%s, %zero) {} opset 20 : (!snug_onnx.unknown, tensor<i64>) -> !snug_onnx.unknown
    %c = snug_onnx.node "Less"(%n, %ten) {} opset 20 : (!snug_onnx.unknown, tensor<i64>) -> !snug_onnx.unknown
    %y = snug_onnx.node "If"(%c) {} opset 20 : (!snug_onnx.unknown) -> tensor<*xf32> body "else_branch" {
      %b = snug_onnx.node "NoSuchOp"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
      snug_onnx.yield %b : tensor<*xf32>
    } body "then_branch" {
      %a = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
      snug_onnx.yield %a : tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// A constant condition; the branch is an If of its own.
// CHECK-LABEL: func.func @main
// CHECK: math.exp
// CHECK-NOT: arith.negf
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %no = snug_onnx.node "Constant"() {value = dense<false> : tensor<i1>} opset 20 : () -> tensor<i1>
    %y = snug_onnx.node "If"(%no) {} opset 20 : (tensor<i1>) -> tensor<*xf32> body "else_branch" {
      %yes = snug_onnx.node "Not"(%no) {} opset 20 : (tensor<i1>) -> tensor<*xi1>
      %i = snug_onnx.node "If"(%yes) {} opset 20 : (tensor<*xi1>) -> tensor<*xf32> body "then_branch" {
        %a = snug_onnx.node "Exp"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
        snug_onnx.yield %a : tensor<*xf32>
      } body "else_branch" {
        %b = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
        snug_onnx.yield %b : tensor<*xf32>
      }
      snug_onnx.yield %i : tensor<*xf32>
    } body "then_branch" {
      %b = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<?x4xf32>) -> tensor<*xf32>
      snug_onnx.yield %b : tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// No branch gives a value, whatever the condition: there is nothing to choose.
// CHECK-LABEL: func.func @main
// CHECK-NOT: scf.if
// CHECK: linalg.generic
// CHECK: %[[NO:.*]] = arith.constant false
// CHECK-NEXT: linalg.yield %[[NO]]
module {
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["seq", "4"]}) -> (tensor<i1> {snug.name = "y"}) {
    %o = snug_onnx.node "If"(%c) {} opset 20 : (tensor<i1>) -> !snug_onnx.optional<tensor<2xf32>> body "else_branch" {
      %b = snug_onnx.node "Optional"() {} opset 20 : () -> !snug_onnx.optional<tensor<2xf32>>
      snug_onnx.yield %b : !snug_onnx.optional<tensor<2xf32>>
    } body "then_branch" {
      %a = snug_onnx.node "Optional"() {} opset 20 : () -> !snug_onnx.optional<tensor<2xf32>>
      snug_onnx.yield %a : !snug_onnx.optional<tensor<2xf32>>
    }
    %y = snug_onnx.node "OptionalHasElement"(%o) {} opset 20 : (!snug_onnx.optional<tensor<2xf32>>) -> tensor<i1>
    return %y : tensor<i1>
  }
}
