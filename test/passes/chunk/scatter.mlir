// RUN: snug-opt %s -split-input-file -snug-select-chunks=activation-budget=600000 2> %t | FileCheck %s --enable-var-scope
// RUN: FileCheck %s --check-prefix=REMARK < %t

// A scatter is cut along the dim of its slices: each step has all indices, and its columns of updates and data.
// REMARK: remark: chunk loop over dim 1 of extent 65536
// CHECK-LABEL: func.func @columns
// CHECK: scf.for {{.*}} -> (tensor<4x65536xf32>)
// CHECK: %[[DATA:.*]] = linalg.exp {{.*}} -> tensor<4x[[COLUMNS:[0-9]+]]xf32>
// CHECK: %[[UPDATES:.*]] = linalg.tanh {{.*}} -> tensor<3x[[COLUMNS]]xf32>
// CHECK: snug_nn.scatter ins(%{{.*}}, %[[UPDATES]] : tensor<3x1xi64>, tensor<3x[[COLUMNS]]xf32>) outs(%[[DATA]] : tensor<4x[[COLUMNS]]xf32>)
func.func @columns(%x: tensor<4x65536xf32>, %i: tensor<3x1xi64>, %y: tensor<3x65536xf32>,
                   %o: tensor<4x65536xf32> {snug.output}) -> tensor<4x65536xf32> {
  %0 = linalg.exp ins(%x : tensor<4x65536xf32>) outs(%o : tensor<4x65536xf32>) -> tensor<4x65536xf32>
  %e1 = tensor.empty() : tensor<3x65536xf32>
  %1 = linalg.tanh ins(%y : tensor<3x65536xf32>) outs(%e1 : tensor<3x65536xf32>) -> tensor<3x65536xf32>
  %2 = snug_nn.scatter ins(%i, %1 : tensor<3x1xi64>, tensor<3x65536xf32>) outs(%0 : tensor<4x65536xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    %sum = arith.addf %old, %new : f32
    snug_nn.yield %sum : f32
  } -> tensor<4x65536xf32>
  return %2 : tensor<4x65536xf32>
}

// -----

// Of a dim in place with indices of its own, these are cut, too.
// REMARK: remark: chunk loop over dim 0 of extent 1024
// CHECK-LABEL: func.func @rows
// CHECK: scf.for
// CHECK: snug_nn.scatter ins(%{{.*}}, %{{.*}} : tensor<[[ROWS:[0-9]+]]x192x1xi64>, tensor<[[ROWS]]x192xf32>) outs(%{{.*}} : tensor<[[ROWS]]x256xf32>)
func.func @rows(%x: tensor<1024x256xf32>, %i: tensor<1024x192x1xi64>, %y: tensor<1024x192xf32>,
                %o: tensor<1024x256xf32> {snug.output}) -> tensor<1024x256xf32> {
  %0 = linalg.exp ins(%x : tensor<1024x256xf32>) outs(%o : tensor<1024x256xf32>) -> tensor<1024x256xf32>
  %e1 = tensor.empty() : tensor<1024x192xf32>
  %1 = linalg.tanh ins(%y : tensor<1024x192xf32>) outs(%e1 : tensor<1024x192xf32>) -> tensor<1024x192xf32>
  %2 = snug_nn.scatter ins(%i, %1 : tensor<1024x192x1xi64>, tensor<1024x192xf32>) outs(%0 : tensor<1024x256xf32>)
      attributes {index_map = affine_map<(e, n) -> (e, n)>, place = affine_map<(e, n)[i] -> (e, i)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<1024x256xf32>
  return %2 : tensor<1024x256xf32>
}
