// RUN: snug-opt %s -snug-schedule -snug-select-chunks="activation-budget=50000 exact" -split-input-file 2> %t | FileCheck %s -enable-var-scope
// RUN: FileCheck %s --check-prefix=REMARK < %t

// A loop over rows goes around an all-reduce, a slice of which is contiguous.
// REMARK: remark: chunk loop over dim 0 of extent 256, 16 iterations of 16
// CHECK-LABEL: func.func @rows
// CHECK: scf.for
// CHECK: %[[S:.*]] = tensor.extract_slice %{{.*}} [16, 32] [1, 1] : tensor<256x32xf32> to tensor<16x32xf32>
// CHECK-NOT: linalg.copy
// CHECK: snug_mesh.all_reduce sum axes [0] ins(%[[S]] : tensor<16x32xf32>)
// CHECK: linalg.matmul
// CHECK: snug.chunk_loop = 0
module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @rows(%x: tensor<256x32xf32>, %w: tensor<32x512xf32>, %v: tensor<512x32xf32>) -> tensor<256x32xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<256x32xf32>
  %s = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e0 = tensor.empty() : tensor<256x512xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %h = linalg.matmul ins(%s, %w : tensor<256x32xf32>, tensor<32x512xf32>) outs(%f0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %e1 = tensor.empty() : tensor<256x32xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %y = linalg.matmul ins(%h, %v : tensor<256x512xf32>, tensor<512x32xf32>) outs(%f1 : tensor<256x32xf32>) -> tensor<256x32xf32>
  return %y : tensor<256x32xf32>
}
}

// -----

// Columns of it are not: the loop over them is behind it.
// CHECK-LABEL: func.func @columns
// CHECK: snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<32x128xf32>)
// CHECK: scf.for
// CHECK: snug.chunk_loop = 0
module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @columns(%x: tensor<32x128xf32>, %w: tensor<512x32xf32>, %v: tensor<32x512xf32>) -> tensor<32x128xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<32x128xf32>
  %s = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<32x128xf32>) outs(%e : tensor<32x128xf32>) -> tensor<32x128xf32>
  %e0 = tensor.empty() : tensor<512x128xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<512x128xf32>) -> tensor<512x128xf32>
  %h = linalg.matmul ins(%w, %s : tensor<512x32xf32>, tensor<32x128xf32>) outs(%f0 : tensor<512x128xf32>) -> tensor<512x128xf32>
  %e1 = tensor.empty() : tensor<32x128xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<32x128xf32>) -> tensor<32x128xf32>
  %y = linalg.matmul ins(%v, %h : tensor<32x512xf32>, tensor<512x128xf32>) outs(%f1 : tensor<32x128xf32>) -> tensor<32x128xf32>
  return %y : tensor<32x128xf32>
}
}

// -----

// Rows of all parts stand in as many places as there are parts: they are copied, and what they are combined to is not.
// CHECK-LABEL: func.func @parts
// CHECK: scf.for
// CHECK: %[[S:.*]] = tensor.extract_slice %{{.*}} [4, 16, 32] [1, 1, 1] : tensor<4x256x32xf32> to tensor<4x16x32xf32>
// CHECK: %[[E:.*]] = tensor.empty() : tensor<4x16x32xf32>
// CHECK: %[[C:.*]] = linalg.copy ins(%[[S]] : tensor<4x16x32xf32>) outs(%[[E]] : tensor<4x16x32xf32>)
// CHECK: snug_mesh.reduce_scatter sum axes [0, 1] ins(%[[C]] : tensor<4x16x32xf32>) outs(%{{.*}} : tensor<16x32xf32>)
// CHECK: snug.chunk_loop = 0
module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @parts(%x: tensor<4x256x32xf32>, %w: tensor<32x512xf32>, %v: tensor<512x32xf32>) -> tensor<256x32xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<256x32xf32>
  %s = snug_mesh.reduce_scatter sum axes [0, 1] ins(%x : tensor<4x256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e0 = tensor.empty() : tensor<256x512xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %h = linalg.matmul ins(%s, %w : tensor<256x32xf32>, tensor<32x512xf32>) outs(%f0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %e1 = tensor.empty() : tensor<256x32xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %y = linalg.matmul ins(%h, %v : tensor<256x512xf32>, tensor<512x32xf32>) outs(%f1 : tensor<256x32xf32>) -> tensor<256x32xf32>
  return %y : tensor<256x32xf32>
}
}
