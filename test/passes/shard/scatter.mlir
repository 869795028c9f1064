// RUN: snug-opt %s -split-input-file -snug-partition -canonicalize -cse | FileCheck %s -enable-var-scope

// A device has its columns of updates and of what they go into, and all indices.
// CHECK-LABEL: func.func @columns
// CHECK: snug_nn.scatter {{.*}}ins(%{{.*}}, %{{.*}} : tensor<5x1xi64>, tensor<5x4xf32>) outs(%{{.*}} : tensor<6x4xf32>)
// CHECK: snug_mesh.all_gather axes [0]
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @columns(%x: tensor<6x16xf32>, %i: tensor<5x1xi64>, %u: tensor<5x16xf32>) -> tensor<6x16xf32> {
    %0 = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x16xf32>) outs(%x : tensor<6x16xf32>)
        attributes {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}], index_map = affine_map<(e, n) -> (e)>,
                    place = affine_map<(e, n)[i] -> (i, n)>} {
    ^bb0(%old: f32, %new: f32):
      %sum = arith.addf %old, %new : f32
      snug_nn.yield %sum : f32
    } -> tensor<6x16xf32>
    return %0 : tensor<6x16xf32>
  }
}

// -----

// Where a dim in place has indices of its own, a device has these only.
// CHECK-LABEL: func.func @rows
// CHECK: snug_nn.scatter {{.*}}ins(%{{.*}}, %{{.*}} : tensor<2x3x1xi64>, tensor<2x3xf32>) outs(%{{.*}} : tensor<2x16xf32>)
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @rows(%x: tensor<8x16xf32>, %i: tensor<8x3x1xi64>, %u: tensor<8x3xf32>) -> tensor<8x16xf32> {
    %0 = snug_nn.scatter ins(%i, %u : tensor<8x3x1xi64>, tensor<8x3xf32>) outs(%x : tensor<8x16xf32>)
        attributes {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 8>}], index_map = affine_map<(e, n) -> (e, n)>,
                    place = affine_map<(e, n)[i] -> (e, i)>} {
    ^bb0(%old: f32, %new: f32):
      snug_nn.yield %new : f32
    } -> tensor<8x16xf32>
    return %0 : tensor<8x16xf32>
  }
}
