// RUN: snug-opt %s | snug-opt | FileCheck %s -enable-var-scope
// RUN: snug-opt %s -snug-bufferize | FileCheck %s -enable-var-scope --check-prefix=MEMORY

module attributes {snug.mesh = array<i64: 2, 3>} {
// CHECK-LABEL: func.func @each
// MEMORY-LABEL: func.func @each
func.func @each(%x: tensor<4x5xf32>, %y: tensor<2x4x?xf16>, %n: index) -> (tensor<4x5xf32>, tensor<4x?xf16>, tensor<6x4x5xf32>, tensor<2x4x?xf16>, tensor<4x5xf32>, index) {
  // CHECK: snug_mesh.all_reduce max axes [0, 1] ins(%{{.*}} : tensor<4x5xf32>) outs(%{{.*}} : tensor<4x5xf32>) -> tensor<4x5xf32>
  // MEMORY: snug_mesh.all_reduce max axes [0, 1] ins(%{{.*}} : memref<4x5xf32{{.*}}>) outs(%{{.*}} : memref<4x5xf32>)
  %e0 = tensor.empty() : tensor<4x5xf32>
  %0 = snug_mesh.all_reduce max axes [0, 1] ins(%x : tensor<4x5xf32>) outs(%e0 : tensor<4x5xf32>) -> tensor<4x5xf32>
  // CHECK: snug_mesh.reduce_scatter sum axes [0] ins(%{{.*}} : tensor<2x4x?xf16>) outs(%{{.*}} : tensor<4x?xf16>) -> tensor<4x?xf16>
  // MEMORY: snug_mesh.reduce_scatter sum axes [0] ins(%{{.*}} : memref<2x4x?xf16{{.*}}>) outs(%{{.*}} : memref<4x?xf16>)
  %e1 = tensor.empty(%n) : tensor<4x?xf16>
  %1 = snug_mesh.reduce_scatter sum axes [0] ins(%y : tensor<2x4x?xf16>) outs(%e1 : tensor<4x?xf16>) -> tensor<4x?xf16>
  // CHECK: snug_mesh.all_gather axes [0, 1] ins(%{{.*}} : tensor<4x5xf32>) outs(%{{.*}} : tensor<6x4x5xf32>) -> tensor<6x4x5xf32>
  // MEMORY: snug_mesh.all_gather axes [0, 1] ins(%{{.*}} : memref<4x5xf32{{.*}}>) outs(%{{.*}} : memref<6x4x5xf32>)
  %e2 = tensor.empty() : tensor<6x4x5xf32>
  %2 = snug_mesh.all_gather axes [0, 1] ins(%0 : tensor<4x5xf32>) outs(%e2 : tensor<6x4x5xf32>) -> tensor<6x4x5xf32>
  // CHECK: snug_mesh.all_to_all axes [0] ins(%{{.*}} : tensor<2x4x?xf16>) outs(%{{.*}} : tensor<2x4x?xf16>) -> tensor<2x4x?xf16>
  // MEMORY: snug_mesh.all_to_all axes [0] ins(%{{.*}} : memref<2x4x?xf16{{.*}}>) outs(%{{.*}} : memref<2x4x?xf16>)
  %e3 = tensor.empty(%n) : tensor<2x4x?xf16>
  %3 = snug_mesh.all_to_all axes [0] ins(%y : tensor<2x4x?xf16>) outs(%e3 : tensor<2x4x?xf16>) -> tensor<2x4x?xf16>
  // CHECK: snug_mesh.shift axes [0, 1] ins(%{{.*}} : tensor<4x5xf32>) outs(%{{.*}} : tensor<4x5xf32>) -> tensor<4x5xf32>
  // MEMORY: snug_mesh.shift axes [0, 1] ins(%{{.*}} : memref<4x5xf32{{.*}}>) outs(%{{.*}} : memref<4x5xf32>)
  %e4 = tensor.empty() : tensor<4x5xf32>
  %4 = snug_mesh.shift axes [0, 1] ins(%x : tensor<4x5xf32>) outs(%e4 : tensor<4x5xf32>) -> tensor<4x5xf32>
  // CHECK: snug_mesh.index 1
  // MEMORY: snug_mesh.index 1
  %i = snug_mesh.index 1
  return %0, %1, %2, %3, %4, %i : tensor<4x5xf32>, tensor<4x?xf16>, tensor<6x4x5xf32>, tensor<2x4x?xf16>, tensor<4x5xf32>, index
}
}
