// RUN: snug-opt %s -snug-schedule -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-schedule -snug-bufferize -snug-plan-arena -snug-verify-plan -split-input-file | FileCheck %s --enable-var-scope --check-prefix=MEMORY

// Both updates are made in the input that was donated, the other input is only read, and the result has a buffer of its
// own: it is no view of an input.
// CHECK-LABEL: func.func @update(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<64xf32> {snug.donated}, %[[W:[a-z0-9]+]]: tensor<64xf32>, %[[OUT:[a-z0-9]+]]: tensor<64xf32>
// CHECK-NOT: tensor.empty
// CHECK: %[[A:.*]] = linalg.add ins(%[[X]], %[[W]] : {{.*}} outs(%[[X]] :
// CHECK: %[[B:.*]] = linalg.exp ins(%[[A]] : {{.*}} outs(%[[A]] :
// CHECK: linalg.mul ins(%[[B]], %[[W]] : {{.*}} outs(%[[OUT]] :
// MEMORY-LABEL: func.func @update(
// MEMORY-NOT: snug_plan.arena
// MEMORY: return
func.func @update(%x: tensor<64xf32> {snug.donated}, %w: tensor<64xf32>) -> tensor<64xf32> {
  %e = tensor.empty() : tensor<64xf32>
  %a = linalg.add ins(%x, %w : tensor<64xf32>, tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %b = linalg.exp ins(%a : tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %c = linalg.mul ins(%b, %w : tensor<64xf32>, tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  return %c : tensor<64xf32>
}

// -----

// What is needed later is not written over before, and what is returned never is.
// CHECK-LABEL: func.func @needed_later(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<64xf32> {snug.donated}, %[[Y:[a-z0-9]+]]: tensor<64xf32> {snug.donated}, %[[S:[a-z0-9]+]]: tensor<f32>
// CHECK: %[[E:.*]] = tensor.empty
// CHECK: %[[A:.*]] = linalg.exp ins(%[[X]] : {{.*}} outs(%[[E]] :
// CHECK: linalg.mul ins(%[[A]], %[[X]] : {{.*}} outs(%[[X]] :
// CHECK: %[[F:.*]] = tensor.empty
// CHECK: linalg.exp ins(%[[Y]] : {{.*}} outs(%[[F]] :
// CHECK-NOT: outs(%[[Y]]
// CHECK: linalg.copy ins(%[[Y]]
func.func @needed_later(%x: tensor<64xf32> {snug.donated}, %y: tensor<64xf32> {snug.donated}, %s: tensor<f32>)
    -> (tensor<f32>, tensor<64xf32>) {
  %e = tensor.empty() : tensor<64xf32>
  %a = linalg.exp ins(%x : tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %b = linalg.mul ins(%a, %x : tensor<64xf32>, tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %c = linalg.exp ins(%y : tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %z = tensor.empty() : tensor<f32>
  %f = linalg.copy ins(%s : tensor<f32>) outs(%z : tensor<f32>) -> tensor<f32>
  %d = linalg.dot ins(%b, %c : tensor<64xf32>, tensor<64xf32>) outs(%f : tensor<f32>) -> tensor<f32>
  return %d, %y : tensor<f32>, tensor<64xf32>
}
