// RUN: snug-opt %s -split-input-file -snug-select-chunks="activation-budget=300000 machine=%S/Inputs/machine.json" 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t
// RUN: snug-opt %s -split-input-file -snug-select-chunks="activation-budget=300000 machine=%S/Inputs/machine.json" 2> %t \
// RUN:   | snug-opt -one-shot-bufferize=bufferize-function-boundaries -split-input-file | FileCheck %s --check-prefix=BUFFER

// The tangent is written over the view that it reads. Tensor and view are the loop's own, so that each step has a slice of
// the one, and the other is a view of it.
// REMARK: remark: chunk loop over dim 0 of extent 256, {{[0-9]+}} iterations of {{[0-9]+}}; peak 1064960 -> 278528 bytes
// CHECK-LABEL: func.func @own
// CHECK-NOT: tensor.empty() : tensor<256x1024xf32>
// CHECK: scf.for
// CHECK: %[[H:.*]] = linalg.exp {{.*}} -> tensor<[[ROWS:[0-9]+]]x1024xf32>
// CHECK: %[[VIEW:.*]] = tensor.expand_shape %[[H]]
// CHECK: linalg.tanh ins(%[[VIEW]] : {{.*}} outs(%[[VIEW]] :
// CHECK: linalg.reduce
// CHECK: scf.yield
// BUFFER-LABEL: func.func @own
// BUFFER: memref.alloc() {{.*}} : memref<256x16xf32>
// BUFFER: scf.for
// BUFFER: memref.alloc() {{.*}} : memref<{{[0-9]+}}x1024xf32>
// BUFFER-NOT: memref.alloc
// BUFFER: return
func.func @own(%x: tensor<256x1024xf32>) -> tensor<256x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<256x1024xf32>
  %h = linalg.exp ins(%x : tensor<256x1024xf32>) outs(%e0 : tensor<256x1024xf32>) -> tensor<256x1024xf32>
  %v = tensor.expand_shape %h [[0], [1, 2]] output_shape [256, 16, 64] : tensor<256x1024xf32> into tensor<256x16x64xf32>
  %p = linalg.tanh ins(%v : tensor<256x16x64xf32>) outs(%v : tensor<256x16x64xf32>) -> tensor<256x16x64xf32>
  %e1 = tensor.empty() : tensor<256x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<256x16xf32>) -> tensor<256x16xf32>
  %y = linalg.reduce ins(%p : tensor<256x16x64xf32>) outs(%f1 : tensor<256x16xf32>) dimensions = [2]
      (%a: f32, %b: f32) {
        %c = arith.maximumf %a, %b : f32
        linalg.yield %c : f32
      }
  return %y : tensor<256x16xf32>
}

// -----

// The same, but what is written through the view is the result: no slice of it is the loop's own, and the loop ends before
// the view.
// REMARK: remark: chunk loop over dim 0 of extent 64
// CHECK-LABEL: func.func @result
// CHECK: %[[H:.*]] = scf.for {{.*}} -> (tensor<64x1024xf32>)
// CHECK: scf.yield
// CHECK: %[[VIEW:.*]] = tensor.expand_shape %[[H]]
// CHECK: %[[P:.*]] = linalg.tanh ins(%[[VIEW]] : {{.*}} outs(%[[VIEW]] :
// CHECK: return %[[P]]
// BUFFER-LABEL: func.func @result
// BUFFER: memref.alloc() {{.*}} : memref<64x1024xf32>
// BUFFER: scf.for
// BUFFER: memref.alloc() {{.*}} : memref<4x2048xf32>
// BUFFER-NOT: memref.alloc
// BUFFER: return
func.func @result(%x: tensor<64x2048xf32>) -> tensor<64x16x64xf32> {
  %e0 = tensor.empty() : tensor<64x2048xf32>
  %g = linalg.exp ins(%x : tensor<64x2048xf32>) outs(%e0 : tensor<64x2048xf32>) -> tensor<64x2048xf32>
  %s = tensor.extract_slice %g[0, 0] [64, 1024] [1, 1] : tensor<64x2048xf32> to tensor<64x1024xf32>
  %e1 = tensor.empty() : tensor<64x1024xf32>
  %h = linalg.abs ins(%s : tensor<64x1024xf32>) outs(%e1 : tensor<64x1024xf32>) -> tensor<64x1024xf32>
  %v = tensor.expand_shape %h [[0], [1, 2]] output_shape [64, 16, 64] : tensor<64x1024xf32> into tensor<64x16x64xf32>
  %p = linalg.tanh ins(%v : tensor<64x16x64xf32>) outs(%v : tensor<64x16x64xf32>) -> tensor<64x16x64xf32>
  return %p : tensor<64x16x64xf32>
}
