// RUN: snug-opt %s -snug-select-chunks="activation-budget=20000" 2>/dev/null | FileCheck %s

// A concatenation along columns is split along rows with its parts: neither they nor the whole exist in full.
// CHECK-LABEL: func.func @halves
// CHECK-NOT: tensor<256x64xf32>
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (tensor<256xf32>)
// CHECK: %[[WHOLE:.*]] = tensor.empty() : tensor<[[ROWS:[0-9]+]]x64xf32>
// CHECK: %[[FIRST:.*]] = tensor.insert_slice %{{.*}} into %[[WHOLE]][0, 0] [[[ROWS]], 32] [1, 1]
// CHECK: %[[BOTH:.*]] = tensor.insert_slice %{{.*}} into %[[FIRST]][0, 32] [[[ROWS]], 32] [1, 1]
// CHECK: linalg.reduce ins(%[[BOTH]]
// CHECK: scf.yield
func.func @halves(%x: tensor<256x32xf32>) -> tensor<256xf32> {
  %e0 = tensor.empty() : tensor<256x32xf32>
  %a = linalg.exp ins(%x : tensor<256x32xf32>) outs(%e0 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e1 = tensor.empty() : tensor<256x32xf32>
  %b = linalg.tanh ins(%x : tensor<256x32xf32>) outs(%e1 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e2 = tensor.empty() : tensor<256x64xf32>
  %first = tensor.insert_slice %a into %e2[0, 0] [256, 32] [1, 1] : tensor<256x32xf32> into tensor<256x64xf32>
  %both = tensor.insert_slice %b into %first[0, 32] [256, 32] [1, 1] : tensor<256x32xf32> into tensor<256x64xf32>
  %e3 = tensor.empty() : tensor<256xf32>
  %zero = arith.constant 0.0 : f32
  %init = linalg.fill ins(%zero : f32) outs(%e3 : tensor<256xf32>) -> tensor<256xf32>
  %sum = linalg.reduce ins(%both : tensor<256x64xf32>) outs(%init : tensor<256xf32>) dimensions = [1]
    (%in: f32, %acc: f32) {
      %s = arith.addf %in, %acc : f32
      linalg.yield %s : f32
    }
  return %sum : tensor<256xf32>
}
