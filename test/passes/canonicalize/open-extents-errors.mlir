// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-lower-onnx="dims=n=4..8"

// What only the run tells, where it has to be known when the model is compiled.
module {
  func.func @main(%x: tensor<3x4x5x2xf32> {snug.name = "x", snug.dims = ["3", "4", "5", "2"]}, %i: tensor<2x?xi64> {snug.name = "i", snug.dims = ["2", "n"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{GatherND: how many indices there are for an element, n, decides the rank of the result; fix it with --dim}}
    %y = snug_onnx.node "GatherND"(%x, %i) {} opset 13 : (tensor<3x4x5x2xf32>, tensor<2x?xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  // expected-error @+1 {{output 's': a sequence of more than 1024 elements, or whose length only the run tells, can be read at a place, counted, or put together again; fix the extent that was split with --dim}}
  func.func @main(%x: tensor<?x6xf32> {snug.name = "x", snug.dims = ["n", "6"]}) -> (!snug_onnx.sequence<tensor<*xf32>> {snug.name = "s"}) {
    %s = snug_onnx.node "SplitToSequence"(%x) {} opset 20 : (tensor<?x6xf32>) -> !snug_onnx.sequence<tensor<*xf32>>
    return %s : !snug_onnx.sequence<tensor<*xf32>>
  }
}

// -----

module {
  snug_onnx.initializer @four value dense<4> : tensor<i64>
  func.func @main(%x: tensor<?x6xf32> {snug.name = "x", snug.dims = ["n", "6"]}) -> (tensor<*xf32> {snug.name = "y"}, tensor<*xf32> {snug.name = "z"}) {
    %four = snug_onnx.get @four : tensor<i64>
    %s = snug_onnx.node "SplitToSequence"(%x) {} opset 20 : (tensor<?x6xf32>) -> !snug_onnx.sequence<tensor<*xf32>>
    // expected-error @+1 {{SequenceErase: a sequence of more than 1024 elements, or whose length only the run tells, can be read at a place, counted, or put together again}}
    %less = snug_onnx.node "SequenceErase"(%s) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>) -> !snug_onnx.sequence<tensor<*xf32>>
    %y = snug_onnx.node "ConcatFromSequence"(%less) {axis = 0 : i64} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>) -> tensor<*xf32>
    // expected-error @+1 {{SequenceAt: position 4 may be outside a sequence of n elements; give the dim a range in which it is not}}
    %z = snug_onnx.node "SequenceAt"(%s, %four) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>, tensor<i64>) -> tensor<*xf32>
    return %y, %z : tensor<*xf32>, tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<1x?x3x3xf32> {snug.name = "x", snug.dims = ["1", "n", "3", "3"]}, %w: tensor<1x?x2x2xf32> {snug.name = "w", snug.dims = ["1", "n", "2", "2"]}, %o: tensor<1x16x2x2xf32> {snug.name = "o", snug.dims = ["1", "16", "2", "2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{DeformConv: extent n cannot be cut into 2 groups; where the dim goes in steps of 2, it does: --dim n=4..8:2}}
    %y = snug_onnx.node "DeformConv"(%x, %w, %o) {offset_group = 2 : i64} opset 22 : (tensor<1x?x3x3xf32>, tensor<1x?x2x2xf32>, tensor<1x16x2x2xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
