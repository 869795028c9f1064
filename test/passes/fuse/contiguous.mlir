// RUN: snug-opt %s -pass-pipeline='builtin.module(func.func(snug-fuse,snug-verify-kernels))' | FileCheck %s -enable-var-scope

module attributes {snug.mesh = array<i64: 2, 1>, snug.dims = [{name = "n", min = 1 : i64, max = 9 : i64, step = 1 : i64}]} {
// Columns are copied; rows, and all of what is dynamic behind them, are sent from where they are.
// CHECK-LABEL: func.func @read
// CHECK: %[[C:.*]] = tensor.extract_slice %{{.*}}[0, 2] [4, 3]
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[C]] :
// CHECK: snug_mesh.all_reduce sum axes [0] ins(%[[COPY]] :
// CHECK: %[[R:.*]] = tensor.extract_slice %{{.*}}[2, 0, 0]
// CHECK-NOT: linalg.copy
// CHECK: snug_mesh.all_reduce max axes [0] ins(%[[R]] :
func.func @read(%x: tensor<4x8xf32>, %z: tensor<4x?x5xf32> {snug.dims = ["4", "n", "5"]}) -> (tensor<4x3xf32>, tensor<2x?x5xf32>) {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %z, %c1 : tensor<4x?x5xf32>
  %s = tensor.extract_slice %x[0, 2] [4, 3] [1, 1] : tensor<4x8xf32> to tensor<4x3xf32>
  %e = tensor.empty() : tensor<4x3xf32>
  %y = snug_mesh.all_reduce sum axes [0] ins(%s : tensor<4x3xf32>) outs(%e : tensor<4x3xf32>) -> tensor<4x3xf32>
  %t = tensor.extract_slice %z[2, 0, 0] [2, %n, 5] [1, 1, 1] : tensor<4x?x5xf32> to tensor<2x?x5xf32>
  %f = tensor.empty(%n) : tensor<2x?x5xf32>
  %u = snug_mesh.all_reduce max axes [0] ins(%t : tensor<2x?x5xf32>) outs(%f : tensor<2x?x5xf32>) -> tensor<2x?x5xf32>
  return %y, %u : tensor<4x3xf32>, tensor<2x?x5xf32>
}

// What is received into columns gets a tensor of its own.
// CHECK-LABEL: func.func @written
// CHECK: %[[E:.*]] = tensor.empty() : tensor<4x3xf32>
// CHECK: %[[Y:.*]] = snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<4x3xf32>) outs(%[[E]] :
// CHECK: tensor.insert_slice %[[Y]]
func.func @written(%x: tensor<4x3xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x8xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  %s = tensor.extract_slice %f[0, 2] [4, 3] [1, 1] : tensor<4x8xf32> to tensor<4x3xf32>
  %y = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4x3xf32>) outs(%s : tensor<4x3xf32>) -> tensor<4x3xf32>
  %r = tensor.insert_slice %y into %f[0, 2] [4, 3] [1, 1] : tensor<4x3xf32> into tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}
}
