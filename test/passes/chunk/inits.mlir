// RUN: snug-opt %s -split-input-file -snug-select-chunks 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t

// Destinations and zeros that CSE merged: each kernel gets its own, else the loop would have to keep one whole.
// REMARK: remark: chunk loop over dim 0 of extent 256, {{.*}}; peak 262144 -> {{[0-9]+}} bytes
// CHECK-LABEL: func.func @merged_by_cse
// CHECK-NOT: tensor.empty() : tensor<256x128xf32>
// CHECK: scf.for {{.*}} -> (tensor<256x128xf32>)
// CHECK: tensor.empty() : tensor<16x128xf32>
func.func @merged_by_cse(%x: tensor<256x32xf32>, %v: tensor<32x128xf32>, %w: tensor<128x128xf32>,
                         %o: tensor<256x128xf32> {snug.output}) -> tensor<256x128xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<256x128xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<256x128xf32>) -> tensor<256x128xf32>
  %h = linalg.matmul ins(%x, %v : tensor<256x32xf32>, tensor<32x128xf32>)
      outs(%f : tensor<256x128xf32>) -> tensor<256x128xf32>
  %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e : tensor<256x128xf32>) -> tensor<256x128xf32>
  %y = linalg.matmul ins(%a, %w : tensor<256x128xf32>, tensor<128x128xf32>)
      outs(%f : tensor<256x128xf32>) -> tensor<256x128xf32>
  %z = linalg.exp ins(%y : tensor<256x128xf32>) outs(%o : tensor<256x128xf32>) -> tensor<256x128xf32>
  return %z : tensor<256x128xf32>
}

// -----

// What a kernel's body looks up is read as a whole and anywhere: the table outlives the loop over its rows, and nothing
// is written over it before.
// CHECK-LABEL: func.func @looked_up_in_a_body
// CHECK: %[[T:.*]] = linalg.exp ins(%arg0 : tensor<256x128xf32>)
// CHECK-NOT: scf.for
// CHECK: tensor.extract %[[T]]
// CHECK: linalg.tanh ins(%[[T]] :
func.func @looked_up_in_a_body(%x: tensor<256x128xf32>, %i: tensor<5xindex>, %o: tensor<5xf32> {snug.output},
                               %p: tensor<256x128xf32> {snug.output}) -> (tensor<5xf32>, tensor<256x128xf32>) {
  %e0 = tensor.empty() : tensor<256x128xf32>
  %t = linalg.exp ins(%x : tensor<256x128xf32>) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
  %g = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]}
      ins(%i : tensor<5xindex>) outs(%o : tensor<5xf32>) {
  ^bb0(%row: index, %acc: f32):
    %v = tensor.extract %t[%row, %row] : tensor<256x128xf32>
    linalg.yield %v : f32
  } -> tensor<5xf32>
  %y = linalg.tanh ins(%t : tensor<256x128xf32>) outs(%p : tensor<256x128xf32>) -> tensor<256x128xf32>
  return %g, %y : tensor<5xf32>, tensor<256x128xf32>
}

// -----

// A part is put into an argument that may not be written, and stays inside of the loop: each iteration needs a copy of its
// own slice, not of the whole.
// REMARK: remark: chunk loop over dim 0 of extent 64, {{.*}}; peak 393216 -> {{[0-9]+}} bytes
// CHECK-LABEL: func.func @into_a_slice_of_an_argument
// CHECK: scf.for {{.*}} iter_args(%[[OUT:[a-z0-9]+]] = %{{.*}}) -> (tensor<64xf32>)
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %arg1[%{{.*}}, 0] [1, 1024] [1, 1] : tensor<64x1024xf32> to tensor<1x1024xf32>
// CHECK: tensor.insert_slice %{{.*}} into %[[SLICE]][0, 6] [1, 512] [1, 1]
func.func @into_a_slice_of_an_argument(%x: tensor<64x512xf32>, %y: tensor<64x1024xf32>,
                                       %o: tensor<64xf32> {snug.output}) -> tensor<64xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<64x512xf32>
  %t = linalg.tanh ins(%x : tensor<64x512xf32>) outs(%e : tensor<64x512xf32>) -> tensor<64x512xf32>
  %i = tensor.insert_slice %t into %y[0, 6] [64, 512] [1, 1] : tensor<64x512xf32> into tensor<64x1024xf32>
  %f = linalg.fill ins(%zero : f32) outs(%o : tensor<64xf32>) -> tensor<64xf32>
  %s = linalg.reduce { arith.maximumf } ins(%i : tensor<64x1024xf32>) outs(%f : tensor<64xf32>) dimensions = [1]
  return %s : tensor<64xf32>
}
