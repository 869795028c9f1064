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
    %w = snug_onnx.node "Relu"(%x) {} opset 14 : (tensor<4xf32>) -> tensor<*xf32>
    %d = snug_onnx.node "Add"(%w, %y) {} opset 14 : (tensor<*xf32>, tensor<3xf32>) -> tensor<*xf32> loc("second")
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
    // expected-error @+1 {{a mask of shape [3, 8] and type bool is no bool, float32 or narrower float that broadcasts to [1, 2, 8, 8]}}
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

// A branch that data chooses has to give the same shape.
module {
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{If: output 0 is [4] of f32 of one branch and [] of f32 of the other; where the condition is computed from data both must be alike}}
    %y = snug_onnx.node "If"(%c) {} opset 20 : (tensor<i1>) -> tensor<*xf32> body "else_branch" {
      %b = snug_onnx.node "ReduceSum"(%x) {keepdims = 0 : i64} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %b : tensor<*xf32>
    } body "then_branch" {
      %a = snug_onnx.node "Neg"(%x) {} opset 20 : (tensor<4xf32>) -> tensor<*xf32>
      snug_onnx.yield %a : tensor<*xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

// A size that is no number.
module {
  func.func @main(%x: tensor<3x8xf32> {snug.name = "x", snug.dims = ["3", "8"]}, %k: tensor<2xi64> {snug.name = "k", snug.dims = ["2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TopK: a k of shape [2] is not one number}}
    %y, %i = snug_onnx.node "TopK"(%x, %k) {} opset 19 : (tensor<3x8xf32>, tensor<2xi64>) -> (tensor<*xf32>, tensor<*xi64>)
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<3x8xf32> {snug.name = "x", snug.dims = ["3", "8"]}, %i: tensor<3x2xi64> {snug.name = "i", snug.dims = ["3", "2"]}, %u: tensor<3x3xf32> {snug.name = "u", snug.dims = ["3", "3"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{ScatterElements: updates of shape [3, 3] for indices of shape [3, 2]}}
    %y = snug_onnx.node "ScatterElements"(%x, %i, %u) {axis = 1 : i64} opset 18 : (tensor<3x8xf32>, tensor<3x2xi64>, tensor<3x3xf32>) -> tensor<*xf32>
    // expected-error @+1 {{ScatterElements: reduction 'sum' is none that the standard knows}}
    %z = snug_onnx.node "ScatterElements"(%x, %i, %u) {axis = 1 : i64, reduction = "sum"} opset 18 : (tensor<3x8xf32>, tensor<3x2xi64>, tensor<3x3xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%n: tensor<i64> {snug.name = "n", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    // expected-error @+1 {{Loop: nothing bounds how often it runs: its trip count is computed from data; an input that states it is known with --value NAME=COUNT, or bounded with --value NAME=A..B}}
    %y = snug_onnx.node "Loop"(%n, %none, %x) {} opset 20 : (tensor<i64>, none, tensor<4xf32>) -> tensor<*xf32> body "body" {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %a: tensor<4xf32>):
      snug_onnx.yield %go, %a : tensor<i1>, tensor<4xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

module {
  snug_onnx.initializer @nine value dense<9> : tensor<i64>
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %n = snug_onnx.get @nine : tensor<i64>
    // expected-error @+1 {{Loop: what an iteration collects is a sequence, or of a size that is computed from data in it; that is not supported}}
    %r, %y = snug_onnx.node "Loop"(%n, %c, %x) {} opset 20 : (tensor<i64>, tensor<i1>, tensor<4xf32>) -> (tensor<*xf32>, tensor<*xi64>) body "body" {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %a: tensor<4xf32>):
      %places = snug_onnx.node "NonZero"(%a) {} opset 20 : (tensor<4xf32>) -> tensor<*xi64>
      snug_onnx.yield %go, %a, %places : tensor<i1>, tensor<4xf32>, tensor<*xi64>
    }
    return %r : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%s: tensor<4xf32> {snug.name = "s", snug.dims = ["4"]}, %x: tensor<3x5xf32> {snug.name = "x", snug.dims = ["3", "5"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{Scan: value 0 that the loop carries is [4] of f32 before it and [5] of f32 after an iteration}}
    %y = snug_onnx.node "Scan"(%s, %x) {num_scan_inputs = 1 : i64} opset 20 : (tensor<4xf32>, tensor<3x5xf32>) -> tensor<*xf32> body "body" {
    ^bb0(%state: tensor<4xf32>, %part: tensor<5xf32>):
      snug_onnx.yield %part : tensor<5xf32>
    }
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<3x2x4xf32> {snug.name = "x", snug.dims = ["3", "2", "4"]}, %w: tensor<1x20x4xf32> {snug.name = "w", snug.dims = ["1", "20", "4"]}, %r: tensor<1x20x5xf32> {snug.name = "r", snug.dims = ["1", "20", "5"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{GRU: W has shape [1, 20, 4], not [1, 15, 4]}}
    %y = snug_onnx.node "GRU"(%x, %w, %r) {hidden_size = 5 : i64} opset 20 : (tensor<3x2x4xf32>, tensor<1x20x4xf32>, tensor<1x20x5xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<3x2x4xf32> {snug.name = "x", snug.dims = ["3", "2", "4"]}, %w: tensor<1x5x4xf32> {snug.name = "w", snug.dims = ["1", "5", "4"]}, %r: tensor<1x5x5xf32> {snug.name = "r", snug.dims = ["1", "5", "5"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{RNN: activation 'Swish' is not supported}}
    %y = snug_onnx.node "RNN"(%x, %w, %r) {activations = ["Swish"]} opset 20 : (tensor<3x2x4xf32>, tensor<1x5x4xf32>, tensor<1x5x5xf32>) -> tensor<*xf32>
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

// -----

// What does not follow from other dims: heads of queries are a multiple of those of keys, and where keys are counted, they
// are a cache with room that the mask may leave out.
module {
  // expected-error @+1 {{dims 'a', 'b', 'm' have no value; add --dim a=1 --dim b=1 --dim m=1}}
  func.func @main(%q: tensor<2x?x3x8xf32> {snug.name = "q", snug.dims = ["2", "a", "3", "8"]}, %k: tensor<2x?x9x8xf32> {snug.name = "k", snug.dims = ["2", "b", "9", "8"]}, %v: tensor<2x?x9x8xf32> {snug.name = "v", snug.dims = ["2", "c", "9", "8"]}, %mask: tensor<3x?xf32> {snug.name = "mask", snug.dims = ["3", "m"]}, %count: tensor<?xi64> {snug.name = "count", snug.dims = ["d"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %y = snug_onnx.node "Attention"(%q, %k, %v, %mask, %none, %none, %count) {} opset 24 : (tensor<2x?x3x8xf32>, tensor<2x?x9x8xf32>, tensor<2x?x9x8xf32>, tensor<3x?xf32>, none, none, tensor<?xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<4x4xf32> {snug.name = "x", snug.dims = ["4", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{LpNormalization: attribute 'axis' is 4294967296, which is out of range}}
    %y = snug_onnx.node "LpNormalization"(%x) {axis = 4294967296 : i64} opset 18 : (tensor<4x4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (!snug_onnx.unknown {snug.name = "y"}) {
    %o = snug_onnx.node "Optional"() {} opset 20 : () -> !snug_onnx.optional<tensor<4xf32>>
    // expected-error @+1 {{SequenceConstruct: takes no optional without a value}}
    %y = snug_onnx.node "SequenceConstruct"(%x, %o) {} opset 20 : (tensor<4xf32>, !snug_onnx.optional<tensor<4xf32>>) -> !snug_onnx.unknown
    return %y : !snug_onnx.unknown
  }
}

// -----

module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (!snug_onnx.unknown {snug.name = "y"}) {
    // expected-error @+1 {{Scan: output 0 of an iteration is an optional without a value; only tensors can be put side by side}}
    %y = snug_onnx.node "Scan"(%x) {num_scan_inputs = 1 : i64} opset 20 : (tensor<4xf32>) -> !snug_onnx.unknown body "body" {
    ^bb0(%e: tensor<f32>):
      %o = snug_onnx.node "Optional"() {} opset 20 : () -> !snug_onnx.optional<tensor<4xf32>>
      snug_onnx.yield %o : !snug_onnx.optional<tensor<4xf32>>
    }
    return %y : !snug_onnx.unknown
  }
}

// -----

module {
  func.func @main(%c: tensor<i1> {snug.name = "c", snug.dims = []}, %x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (!snug_onnx.unknown {snug.name = "y"}) {
    // expected-error @+1 {{If: output 0 is [4] of f32 of one branch and an optional without a value of the other}}
    %y = snug_onnx.node "If"(%c) {} opset 20 : (tensor<i1>) -> !snug_onnx.unknown body "else_branch" {
      %o = snug_onnx.node "Optional"() {} opset 20 : () -> !snug_onnx.optional<tensor<4xf32>>
      snug_onnx.yield %o : !snug_onnx.optional<tensor<4xf32>>
    } body "then_branch" {
      snug_onnx.yield %x : tensor<4xf32>
    }
    return %y : !snug_onnx.unknown
  }
}

// -----

module {
  // expected-error @+1 {{input 'x' of shape [8, 4611686018427387904] has more than 2^48 elements}}
  func.func @main(%x: tensor<8x4611686018427387904xf32> {snug.name = "x", snug.dims = ["8", "4611686018427387904"]}) -> (!snug_onnx.unknown {snug.name = "y"}) {
    %y = snug_onnx.node "Neg"(%x) {} opset 13 : (tensor<8x4611686018427387904xf32>) -> !snug_onnx.unknown
    return %y : !snug_onnx.unknown
  }
}

// -----

module {
  snug_onnx.initializer @shape value dense<[1048576, 1048576, 1048576]> : tensor<3xi64>
  func.func @main(%x: tensor<1xf32> {snug.name = "x", snug.dims = ["1"]}) -> (!snug_onnx.unknown {snug.name = "y"}) {
    %shape = snug_onnx.get @shape : tensor<3xi64>
    // expected-error @+1 {{Expand: output 0 of shape [1048576, 1048576, 1048576] has more than 2^48 elements}}
    %y = snug_onnx.node "Expand"(%x, %shape) {} opset 13 : (tensor<1xf32>, tensor<3xi64>) -> !snug_onnx.unknown
    return %y : !snug_onnx.unknown
  }
}
