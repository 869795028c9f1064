// RUN: snug-opt %s -snug-schedule -split-input-file | FileCheck %s --enable-var-scope

// Data that is made here and that nobody else looks at is written in place, which is where the result belongs.
// CHECK-LABEL: func.func @in_place(
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: tensor<6x4xf32> {bufferization.writable = true
// CHECK-NOT: linalg.copy
// CHECK: %[[E:.*]] = linalg.exp ins(%{{.*}}) outs(%[[OUT]] :
// CHECK-NOT: linalg.copy
// CHECK: %[[R:.*]] = snug_nn.scatter {{.*}} outs(%[[E]] : tensor<6x4xf32>)
// CHECK: return %[[R]]
func.func @in_place(%x: tensor<6x4xf32>, %i: tensor<5x1xi64>, %u: tensor<5x4xf32>) -> tensor<6x4xf32> {
  %e = tensor.empty() : tensor<6x4xf32>
  %0 = linalg.exp ins(%x : tensor<6x4xf32>) outs(%e : tensor<6x4xf32>) -> tensor<6x4xf32>
  %1 = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%0 : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return %1 : tensor<6x4xf32>
}

// -----

// An input is the caller's, and what somebody reads later stays: each is copied, once.
// CHECK-LABEL: func.func @copied(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<6x4xf32>, %[[I:.*]]: tensor<5x1xi64>, %[[U:.*]]: tensor<5x4xf32>, %[[A:[a-z0-9]+]]: {{.*}}, %[[B:[a-z0-9]+]]: tensor<6x4xf32>
// CHECK: %[[CA:.*]] = linalg.copy ins(%[[X]] : {{.*}} outs(%[[A]] :
// CHECK: %[[R:.*]] = snug_nn.scatter {{.*}} outs(%[[CA]] : tensor<6x4xf32>)
// CHECK: %[[CB:.*]] = linalg.copy ins(%[[R]] : {{.*}} outs(%[[B]] :
// CHECK: snug_nn.scatter {{.*}} outs(%[[CB]] : tensor<6x4xf32>)
// CHECK-NOT: linalg.copy
// CHECK: return
func.func @copied(%x: tensor<6x4xf32>, %i: tensor<5x1xi64>, %u: tensor<5x4xf32>) -> (tensor<6x4xf32>, tensor<6x4xf32>) {
  %0 = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  %1 = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%0 : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    %sum = arith.addf %old, %new : f32
    snug_nn.yield %sum : f32
  } -> tensor<6x4xf32>
  return %0, %1 : tensor<6x4xf32>, tensor<6x4xf32>
}
