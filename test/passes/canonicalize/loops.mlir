// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=xs.length=2" -snug-verify-canonical | FileCheck %s -enable-var-scope

// Parts of what is gone through are slices at the iteration's place, from the end on where it is gone through backwards; what
// iterations give is put side by side.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<4x8xf32>
// CHECK: %[[ALL:.*]] = tensor.empty() : tensor<8x4xf32>
// CHECK: scf.for %[[I:[a-z0-9]+]] = %{{.*}} to %{{.*}} step %{{.*}} iter_args(%[[S:[a-z0-9]+]] = %{{.*}}, %[[Y:[a-z0-9]+]] = %[[ALL]])
// CHECK: tensor.extract_slice %[[X]][0, %[[TURNED:[a-z0-9]+]]] [4, 1] [1, 1] : tensor<4x8xf32> to tensor<4xf32>
// CHECK: tensor.insert_slice %{{.*}} into %[[Y]][%[[I]], 0] [1, 4] [1, 1] : tensor<4xf32> into tensor<8x4xf32>
module {
  func.func @main(%x: tensor<4x8xf32> {snug.name = "x", snug.dims = ["4", "8"]}, %s: tensor<4xf32> {snug.name = "s", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %r, %y = snug_onnx.node "Scan"(%s, %x) {num_scan_inputs = 1 : i64, scan_input_axes = array<i64: -1>, scan_input_directions = array<i64: 1>} opset 20 : (tensor<4xf32>, tensor<4x8xf32>) -> (tensor<*xf32>, tensor<*xf32>) body "body" {
    ^bb0(%state: tensor<4xf32>, %part: tensor<4xf32>):
      %t = snug_onnx.node "Add"(%state, %part) {} opset 20 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
      snug_onnx.yield %t, %t : tensor<4xf32>, tensor<4xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// A condition that is computed ends the loop: what is left of it does nothing.
// CHECK-LABEL: func.func @main
// CHECK: scf.for {{.*}} iter_args(%[[H:[a-z0-9]+]] = %{{.*}}, %[[GO:[a-z0-9]+]] = %{{.*}}) -> (tensor<4xf32>, tensor<i1>)
// CHECK: %[[TRUE:.*]] = tensor.extract %[[GO]][] : tensor<i1>
// CHECK: scf.if %[[TRUE]]
// CHECK: math.exp
// CHECK: else
// CHECK: scf.yield %[[H]], %[[GO]]
module {
  snug_onnx.initializer @nine value dense<9> : tensor<i64>
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %n = snug_onnx.get @nine : tensor<i64>
    %y = snug_onnx.node "Loop"(%n, %c, %x) {} opset 20 : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> tensor<*xf32> body "body" {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %a: tensor<4xf32>):
      %b = snug_onnx.node "Exp"(%a) {} opset 20 : (tensor<4xf32>) -> tensor<4xf32>
      %s = snug_onnx.node "ReduceSum"(%b) {keepdims = 0 : i64} opset 20 : (tensor<4xf32>) -> tensor<f32>
      %h = snug_onnx.node "Constant"() {value_float = 1.0e+02 : f32} opset 20 : () -> tensor<f32>
      %less = snug_onnx.node "Less"(%s, %h) {} opset 20 : (tensor<f32>, tensor<f32>) -> tensor<i1>
      snug_onnx.yield %less, %b : tensor<i1>, tensor<4xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// What grows by as much in each iteration is a part of one buffer, whose first elements were there before.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<4xf32>
// CHECK: %[[ALL:.*]] = tensor.insert_slice %[[X]] into %{{.*}}[0] [4] [1] : tensor<4xf32> into tensor<16xf32>
// CHECK: scf.for %[[I:[a-z0-9]+]] = %{{.*}} iter_args(%[[A:[a-z0-9]+]] = %[[ALL]]) -> (tensor<16xf32>)
// CHECK: tensor.extract_slice %[[A]][0] [%{{.*}}] [1] : tensor<16xf32> to tensor<?xf32>
// CHECK: tensor.insert_slice %{{.*}} into %[[A]][0] [%{{.*}}] [1] : tensor<?xf32> into tensor<16xf32>
module {
  snug_onnx.initializer @three value dense<3> : tensor<i64>
  snug_onnx.initializer @yes value dense<true> : tensor<i1>
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %n = snug_onnx.get @three : tensor<i64>
    %c = snug_onnx.get @yes : tensor<i1>
    %y = snug_onnx.node "Loop"(%n, %c, %x) {} opset 20 : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> tensor<*xf32> body "body" {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %a: tensor<*xf32>):
      %b = snug_onnx.node "Concat"(%a, %x) {axis = 0 : i64} opset 20 : (tensor<*xf32>, tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %go, %b : tensor<i1>, tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// What changes its shape in another way is written out; the loop that was tried is gone.
// CHECK-LABEL: func.func @main
// CHECK-NOT: scf.for
// CHECK: return %{{.*}} : tensor<32xf32>
module {
  snug_onnx.initializer @three value dense<3> : tensor<i64>
  snug_onnx.initializer @yes value dense<true> : tensor<i1>
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %n = snug_onnx.get @three : tensor<i64>
    %c = snug_onnx.get @yes : tensor<i1>
    %y = snug_onnx.node "Loop"(%n, %c, %x) {} opset 20 : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> tensor<*xf32> body "body" {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %a: tensor<*xf32>):
      %b = snug_onnx.node "Concat"(%a, %a) {axis = 0 : i64} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
      snug_onnx.yield %go, %b : tensor<i1>, tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// CHECK-LABEL: func.func @main
// CHECK: %[[C:.*]] = tensor.extract
// CHECK: %[[R:.*]] = scf.if %[[C]] -> (tensor<4xf32>)
// CHECK: math.exp
// CHECK: else
// CHECK: arith.negf
// CHECK: return %[[R]]
module {
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "If"(%c) {} opset 20 : (tensor<i1>) -> tensor<*xf32> body "then_branch" {
      %b = snug_onnx.node "Exp"(%x) {} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %b : tensor<*xf32>
    } body "else_branch" {
      %a = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %a : tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// A sequence is its elements, at the model's boundary, too; an optional is there unless something else is said.
// CHECK-LABEL: func.func @main
// CHECK-SAME: snug.dims = ["4"], snug.name = "xs.0"
// CHECK-SAME: snug.dims = ["4"], snug.name = "xs.1"
// CHECK-SAME: snug.name = "o"
// CHECK-SAME: -> ({{.*}}snug.name = "y.0"}, {{.*}}snug.name = "y.1"}, {{.*}}snug.name = "p"})
module {
  func.func @main(%xs: !snug_onnx.sequence<tensor<4xf32>> {snug.name = "xs"}, %o: !snug_onnx.optional<tensor<2xf32>> {snug.name = "o"}) -> (!snug_onnx.unknown {snug.name = "y"}, !snug_onnx.unknown {snug.name = "p"}) {
    %y = snug_onnx.node "SequenceMap"(%xs) {} opset 20 : (!snug_onnx.sequence<tensor<4xf32>>) -> !snug_onnx.unknown body "body" {
    ^bb0(%e: tensor<4xf32>):
      %f = snug_onnx.node "Exp"(%e) {} opset 20 : (tensor<4xf32>) -> tensor<4xf32>
      snug_onnx.yield %f : tensor<4xf32>
    }
    %p = snug_onnx.node "OptionalGetElement"(%o) {} opset 20 : (!snug_onnx.optional<tensor<2xf32>>) -> !snug_onnx.unknown
    return %y, %p : !snug_onnx.unknown, !snug_onnx.unknown
  }
}
