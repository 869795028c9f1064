// RUN: snug-opt %s -split-input-file -snug-select-chunks=activation-budget=100000 | FileCheck %s
// RUN: not snug-opt %s -split-input-file -snug-select-chunks="activation-budget=100000 exact" 2>&1 | FileCheck %s --check-prefix=EXACT

// A sum whose own dim is cut: all iterations add to what the loop carries, which starts from zero once.
// EXACT: error: cannot chunk to 100000 bytes
// CHECK-LABEL: func.func @long_sum
// CHECK: %[[ZERO:.*]] = linalg.fill {{.*}} -> tensor<16x16xf32>
// CHECK: scf.for %[[I:.*]] = {{.*}} iter_args(%[[SUM:.*]] = %[[ZERO]])
// CHECK: linalg.exp
// CHECK: %[[W:.*]] = tensor.extract_slice %arg1[%[[I]], 0]
// CHECK: %[[NEXT:.*]] = linalg.matmul ins({{.*}}, %[[W]] : {{.*}}) outs(%[[SUM]] :
// CHECK: scf.yield %[[NEXT]]
func.func @long_sum(%x: tensor<16x65536xf32>, %w: tensor<65536x16xf32>) -> tensor<16x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<16x65536xf32>
  %h = linalg.exp ins(%x : tensor<16x65536xf32>) outs(%e0 : tensor<16x65536xf32>) -> tensor<16x65536xf32>
  %e1 = tensor.empty() : tensor<16x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<16x16xf32>) -> tensor<16x16xf32>
  %y = linalg.matmul ins(%h, %w : tensor<16x65536xf32>, tensor<65536x16xf32>)
      outs(%f1 : tensor<16x16xf32>) -> tensor<16x16xf32>
  return %y : tensor<16x16xf32>
}

// -----

// A norm of groups of channels over an image: its sums first, over the image that is there anyway, then rows of what it
// gives, which is never there as a whole.
// EXACT: error: cannot chunk to 100000 bytes
// CHECK-LABEL: func.func @groups
// CHECK-SAME: snug.reassociates
// CHECK: %[[X:.*]] = tensor.expand_shape %arg0 {{.*}} into tensor<1x4x2x64x64xf32>
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%[[X]] :
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%[[X]], %{{.*}} :
// CHECK: scf.for
// CHECK-NOT: snug_nn.norm
// CHECK: linalg.softmax
func.func @groups(%x: tensor<1x8x64x64xf32>, %o: tensor<1x8x64x64xf32> {snug.output, bufferization.writable = true})
    -> tensor<1x8x64x64xf32> attributes {snug.num_inputs = 1 : i64} {
  %flat = tensor.collapse_shape %x [[0], [1, 2, 3]] : tensor<1x8x64x64xf32> into tensor<1x32768xf32>
  %rows = tensor.expand_shape %flat [[0], [1, 2]] output_shape [1, 4, 8192] : tensor<1x32768xf32> into tensor<1x4x8192xf32>
  %e = tensor.empty() : tensor<1x4x8192xf32>
  %n = snug_nn.norm layer ins(%rows : tensor<1x4x8192xf32>) outs(%e : tensor<1x4x8192xf32>) {epsilon = 1.0e-5 : f32} -> tensor<1x4x8192xf32>
  %again = tensor.collapse_shape %n [[0], [1, 2]] : tensor<1x4x8192xf32> into tensor<1x32768xf32>
  %image = tensor.expand_shape %again [[0], [1, 2, 3]] output_shape [1, 8, 64, 64] : tensor<1x32768xf32> into tensor<1x8x64x64xf32>
  %r = linalg.softmax dimension(1) ins(%image : tensor<1x8x64x64xf32>) outs(%o : tensor<1x8x64x64xf32>) -> tensor<1x8x64x64xf32>
  return %r : tensor<1x8x64x64xf32>
}
