// RUN: snug-opt %s -snug-schedule | FileCheck %s --enable-var-scope

// What goes round is sent before it is read here, and what comes is read after that: though the other order needs less memory, as
// the first result is larger.
// CHECK-LABEL: func.func @ring
// CHECK: %[[B:[^ ]*]] = snug_mesh.shift axes [0] ins(%[[A:[^ ]*]] : tensor<16x4xf32>)
// CHECK: linalg.broadcast ins(%[[A]] :
// CHECK: linalg.exp ins(%[[B]] :
module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @ring(%x: tensor<16x4xf32> {snug.name = "x", snug.dims = ["16", "4"]})
      -> (tensor<16x4x64xf32> {snug.name = "y", snug.dims = ["16", "4", "64"]}) {
    %e = tensor.empty() : tensor<16x4xf32>
    %a = linalg.tanh ins(%x : tensor<16x4xf32>) outs(%e : tensor<16x4xf32>) -> tensor<16x4xf32>
    %e1 = tensor.empty() : tensor<16x4xf32>
    %b = snug_mesh.shift axes [0] ins(%a : tensor<16x4xf32>) outs(%e1 : tensor<16x4xf32>) -> tensor<16x4xf32>
    %e2 = tensor.empty() : tensor<16x4x64xf32>
    %large = linalg.broadcast ins(%a : tensor<16x4xf32>) outs(%e2 : tensor<16x4x64xf32>) dimensions = [2]
    %e3 = tensor.empty() : tensor<16x4xf32>
    %c = linalg.exp ins(%b : tensor<16x4xf32>) outs(%e3 : tensor<16x4xf32>) -> tensor<16x4xf32>
    %e4 = tensor.empty() : tensor<16x4x64xf32>
    %y = linalg.generic {indexing_maps = [affine_map<(i, j, k) -> (i, j, k)>, affine_map<(i, j, k) -> (i, j)>, affine_map<(i, j, k) -> (i, j, k)>],
                         iterator_types = ["parallel", "parallel", "parallel"]}
        ins(%large, %c : tensor<16x4x64xf32>, tensor<16x4xf32>) outs(%e4 : tensor<16x4x64xf32>) {
    ^bb0(%u: f32, %v: f32, %o: f32):
      %s = arith.addf %u, %v : f32
      linalg.yield %s : f32
    } -> tensor<16x4x64xf32>
    return %y : tensor<16x4x64xf32>
  }
}
