// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-verify-partition

module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @sound(%x: tensor<4xf32>, %n: index) -> tensor<4xf32> {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %place = snug_mesh.index 0
    %part = tensor.extract_slice %x[%place] [1] [1] : tensor<4xf32> to tensor<1xf32>
    %y = scf.for %i = %c0 to %n step %c1 iter_args(%v = %x) -> tensor<4xf32> {
      %e = tensor.empty() : tensor<4xf32>
      %s = snug_mesh.all_reduce sum axes [0] ins(%v : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
      scf.yield %s : tensor<4xf32>
    }
    return %y : tensor<4xf32>
  }
}

// -----

module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @cuts(%x: tensor<4xf32>) -> tensor<4xf32> {
    %e = tensor.empty() : tensor<4xf32>
    // expected-error @+1 {{has cuts that were not carried out}}
    %y = linalg.exp {snug.cuts = []} ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
    return %y : tensor<4xf32>
  }
}

// -----

// The first device would do two sums, the second one three.
module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @course(%x: tensor<4xf32>) -> tensor<4xf32> {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %place = snug_mesh.index 0
    %n = arith.addi %place, %c2 : index
    %y = scf.for %i = %c0 to %n step %c1 iter_args(%v = %x) -> tensor<4xf32> {
      %e = tensor.empty() : tensor<4xf32>
      // expected-error @+1 {{is not done by all devices alike: what it is in depends on the device's place}}
      %s = snug_mesh.all_reduce sum axes [0] ins(%v : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
      scf.yield %s : tensor<4xf32>
    }
    return %y : tensor<4xf32>
  }
}

// -----

module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @branch(%x: tensor<4xf32>) -> tensor<4xf32> {
    %c0 = arith.constant 0 : index
    %place = snug_mesh.index 0
    %first = arith.cmpi eq, %place, %c0 : index
    %y = scf.if %first -> tensor<4xf32> {
      %e = tensor.empty() : tensor<4xf32>
      // expected-error @+1 {{is not done by all devices alike}}
      %s = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
      scf.yield %s : tensor<4xf32>
    } else {
      scf.yield %x : tensor<4xf32>
    }
    return %y : tensor<4xf32>
  }
}
