// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-lower-onnx="dims=seq=8"

// Every unsupported op is listed at once.
module {
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["seq"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+2 {{op Bogus of opset 18 is not supported (2 nodes)}}
    // expected-note @+1 {{the op has no entry in the lowering table}}
    %a = snug_onnx.node "Bogus"(%x) {} opset 18 : (tensor<?xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "Bogus"(%a) {} opset 18 : (tensor<*xf32>) -> tensor<*xf32>
    // expected-error @+2 {{op my.domain.Other of opset 1 is not supported (1 node)}}
    // expected-note @+1 {{the op has no entry in the lowering table}}
    %c = snug_onnx.node "Other"(%b) {} opset 1 domain "my.domain" : (tensor<*xf32>) -> tensor<*xf32>
    return %c : tensor<*xf32>
  }
}

// -----

// So is what the table has but cannot do; a node that needs such a result is passed over, all others are looked at.
module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}, %y: tensor<3xf32> {snug.name = "y", snug.dims = ["3"]}) -> (tensor<*xf32> {snug.name = "z"}) {
    // expected-error @+2 {{op Bogus of opset 18 is not supported (1 node)}}
    // expected-note @+1 {{the op has no entry in the lowering table}}
    %a = snug_onnx.node "Bogus"(%x) {} opset 18 : (tensor<4xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "Relu"(%a) {} opset 18 : (tensor<*xf32>) -> tensor<*xf32>
    // expected-error @+1 {{Add: cannot broadcast shapes [4] and [3] (and in 1 more: 'second')}}
    %c = snug_onnx.node "Add"(%x, %y) {} opset 14 : (tensor<4xf32>, tensor<3xf32>) -> tensor<*xf32>
    %d = snug_onnx.node "Add"(%x, %y) {} opset 14 : (tensor<4xf32>, tensor<3xf32>) -> tensor<*xf32> loc("second")
    // expected-error @+1 {{Mul: cannot broadcast shapes [4] and [3]}}
    %e = snug_onnx.node "Mul"(%x, %y) {} opset 14 : (tensor<4xf32>, tensor<3xf32>) -> tensor<*xf32>
    %f = snug_onnx.node "Mul"(%b, %c) {} opset 14 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %f : tensor<*xf32>
  }
}

// -----

module {
  // expected-error @+1 {{dim 'n' has no value; add --dim n=1}}
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<?xf32> {snug.name = "y"}) {
    return %x : tensor<?xf32>
  }
}

// -----

// Shapes that cannot be broadcast.
module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}, %y: tensor<3xf32> {snug.name = "y", snug.dims = ["3"]}) -> (tensor<*xf32> {snug.name = "z"}) {
    // expected-error @+1 {{Add: cannot broadcast shapes [4] and [3]}}
    %z = snug_onnx.node "Add"(%x, %y) {} opset 14 : (tensor<4xf32>, tensor<3xf32>) -> tensor<*xf32>
    return %z : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%q: tensor<2x8x10xf32> {snug.name = "q", snug.dims = ["2", "8", "10"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{Attention: input 0 of shape [2, 8, 10] and q_num_heads = 4 do not give heads}}
    %y = snug_onnx.node "Attention"(%q, %q, %q) {q_num_heads = 4 : i64, kv_num_heads = 4 : i64} opset 23 : (tensor<2x8x10xf32>, tensor<2x8x10xf32>, tensor<2x8x10xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%q: tensor<1x2x8x4xf32> {snug.name = "q", snug.dims = ["1", "2", "8", "4"]}, %m: tensor<3x8xi1> {snug.name = "m", snug.dims = ["3", "8"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{attn_mask of shape [3, 8] and type 'i1' is no bool, float32 or narrower float that broadcasts to [1, 2, 8, 8]}}
    %y = snug_onnx.node "Attention"(%q, %q, %q, %m) {} opset 23 : (tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<3x8xi1>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%q: tensor<1x2x8x4xf32> {snug.name = "q", snug.dims = ["1", "2", "8", "4"]}, %n: tensor<1xi64> {snug.name = "n", snug.dims = ["1"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    // expected-error @+1 {{nonpad_kv_seqlen counts the keys of a cache outside of the node; with past_key it has no meaning}}
    %y = snug_onnx.node "Attention"(%q, %q, %q, %none, %q, %q, %n) {} opset 24 : (tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, none, tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<1xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A branch that data chooses.
module {
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{If: a condition computed from data is not supported, only one that follows from shapes and constants}}
    %y = snug_onnx.node "If"(%c) {} opset 20 : (tensor<i1>) -> tensor<*xf32> body "else_branch" {
      %b = snug_onnx.node "Exp"(%x) {} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %b : tensor<*xf32>
    } body "then_branch" {
      %a = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %a : tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<1x3x8x8xf32> {snug.name = "x", snug.dims = ["1", "3", "8", "8"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{AveragePool: dilations are not supported}}
    %y = snug_onnx.node "AveragePool"(%x) {kernel_shape = array<i64: 2, 2>, dilations = array<i64: 2, 1>} opset 19 : (tensor<1x3x8x8xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Types that an op does not take, or takes only where all of them are one.
module {
  func.func @main(%x: tensor<4xf8E5M2> {snug.name = "x", snug.dims = ["4"]}, %y: tensor<4xf32> {snug.name = "y", snug.dims = ["4"]}, %z: tensor<4xui8> {snug.name = "z", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "r"}) {
    // expected-error @+1 {{Sqrt: input 0 of element type float8e5m2 is not supported, only float32, float16, float64 and bfloat16; cast it to one of them}}
    %a = snug_onnx.node "Sqrt"(%x) {} opset 13 : (tensor<4xf8E5M2>) -> tensor<*xf32>
    // expected-error @+1 {{Mul: inputs 0 and 1 have element types float32 and uint8, where the op takes one; cast one of them}}
    %b = snug_onnx.node "Mul"(%y, %z) {} opset 14 : (tensor<4xf32>, tensor<4xui8>) -> tensor<*xf32>
    return %b : tensor<*xf32>
  }
}
