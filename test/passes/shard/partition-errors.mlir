// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-partition

module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @uneven(%x: tensor<6x16xf32>) -> tensor<6x16xf32> {
    %e = tensor.empty() : tensor<6x16xf32>
    // expected-error @+1 {{snug.cuts needs a part of operand 0 that cannot be had}}
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 4, 2>}]} ins(%x : tensor<6x16xf32>) outs(%e : tensor<6x16xf32>) -> tensor<6x16xf32>
    return %y : tensor<6x16xf32>
  }
}

// -----

// What a sum would add of a dim that is filled up is nothing that anybody knows.
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @filled_sum(%x: tensor<8x30xf32>, %w: tensor<30x16xf32>) -> tensor<8x16xf32> {
    %e = tensor.empty() : tensor<8x16xf32>
    %z = arith.constant 0.0 : f32
    %i = linalg.fill ins(%z : f32) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    // expected-error @+1 {{snug.cuts needs a part of operand 0 that cannot be had}}
    %p = linalg.matmul {snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 30>}]}
        ins(%x, %w : tensor<8x30xf32>, tensor<30x16xf32>) outs(%i : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %p : tensor<8x16xf32>
  }
}

// -----

module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @no_such_dim(%x: tensor<8x16xf32>) -> tensor<8x16xf32> {
    %e = tensor.empty() : tensor<8x16xf32>
    // expected-error @+1 {{snug.cuts cuts dim 2, which cannot be cut so}}
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 8>}]} ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %y : tensor<8x16xf32>
  }
}

// -----

module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @no_entry(%x: tensor<8x16xf32>) -> tensor<8x16xf32> {
    %e = tensor.empty() : tensor<8x16xf32>
    // expected-error @+1 {{snug.cuts has an entry that is none: {axis = 0, dim = 2, segments = array<i64: 64, 64>}}}
    %y = linalg.exp {snug.cuts = [{axis = 2, dim = 0, segments = array<i64: 8>}]} ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %y : tensor<8x16xf32>
  }
}

// -----

// A sum that begins with something is not made in parts.
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @begun(%x: tensor<8x32xf32>, %w: tensor<32x16xf32>, %b: tensor<8x16xf32>) -> tensor<8x16xf32> {
    // expected-error @+1 {{snug.cuts cuts dim 2, which cannot be cut so}}
    %p = linalg.matmul {snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 32>}]}
        ins(%x, %w : tensor<8x32xf32>, tensor<32x16xf32>) outs(%b : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %p : tensor<8x16xf32>
  }
}

// -----

// expected-error @+1 {{snug.mesh is no array of two extents of at least 1, as array<i64: 2, 4>}}
module attributes {snug.mesh = array<i64: 4>} {
  func.func @no_mesh(%x: tensor<8xf32>) -> tensor<8xf32> {
    return %x : tensor<8xf32>
  }
}

// -----

// What an op without a rule reads is brought together, once for all that it reads of it.
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @gathered(%x: tensor<8x16xf32>, %c: i1) -> f32 {
    %c0 = arith.constant 0 : index
    %e = tensor.empty() : tensor<8x16xf32>
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 8>}]} ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    // expected-warning @+1 {{'scf.if' cannot be cut: 512 bytes that it reads are brought together on each device}}
    %r = scf.if %c -> f32 {
      %v = tensor.extract %y[%c0, %c0] : tensor<8x16xf32>
      scf.yield %v : f32
    } else {
      %v = tensor.extract %y[%c0, %c0] : tensor<8x16xf32>
      scf.yield %v : f32
    }
    return %r : f32
  }
}
