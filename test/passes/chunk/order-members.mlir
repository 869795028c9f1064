// In a loop's body, what is done with one tensor comes before the next one is made, in whatever order the program is.
// RUN: snug-opt %s --snug-select-chunks=activation-budget=9000 2>&1 | FileCheck %s

// Slices of both wide tensors at a time would be of 4 rows.
// CHECK: remark: chunk loop over dim 0 of extent 64, 8 iterations of 8; peak {{[0-9]+}} -> {{[0-9]+}} bytes
// CHECK-LABEL: func.func @two_sums
// CHECK: scf.for
// CHECK: linalg.exp
// CHECK: linalg.reduce
// CHECK: linalg.tanh
// CHECK: linalg.reduce
// CHECK: linalg.add
// CHECK: scf.yield
func.func @two_sums(%x: tensor<64x256xf32>) -> tensor<64xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<64x256xf32>
  %a = linalg.exp ins(%x : tensor<64x256xf32>) outs(%e0 : tensor<64x256xf32>) -> tensor<64x256xf32>
  %e1 = tensor.empty() : tensor<64x256xf32>
  %b = linalg.tanh ins(%x : tensor<64x256xf32>) outs(%e1 : tensor<64x256xf32>) -> tensor<64x256xf32>
  %e2 = tensor.empty() : tensor<64xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<64xf32>) -> tensor<64xf32>
  %s = linalg.reduce { arith.addf } ins(%a : tensor<64x256xf32>) outs(%f2 : tensor<64xf32>) dimensions = [1]
  %e3 = tensor.empty() : tensor<64xf32>
  %f3 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<64xf32>) -> tensor<64xf32>
  %t = linalg.reduce { arith.addf } ins(%b : tensor<64x256xf32>) outs(%f3 : tensor<64xf32>) dimensions = [1]
  %e4 = tensor.empty() : tensor<64xf32>
  %y = linalg.add ins(%s, %t : tensor<64xf32>, tensor<64xf32>) outs(%e4 : tensor<64xf32>) -> tensor<64xf32>
  return %y : tensor<64xf32>
}
