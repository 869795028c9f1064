// A loop over heads has all rows of a head in its body: there they are chunked again, and what all heads read is computed
// anew for each, a few rows at a time.
//
// RUN: snug-opt %s --snug-select-chunks="activation-budget=560000 exact machine=%S/Inputs/machine.json" 2> %t | FileCheck %s -enable-var-scope
// RUN: FileCheck %s --check-prefix=REMARK < %t
// RUN: not snug-opt %s --snug-select-chunks="activation-budget=520000 exact" 2>&1 | FileCheck %s --check-prefix=LEAST

// Keys and queries of one head take 256 KiB each, and so does exp(x): in one level of loops 768 KiB are the least.
// REMARK: remark: chunk loop over dim 1 of extent 8, 8 iterations of 1; peak 4456448 -> 557056 bytes{{$}}
// REMARK: remark: chunk loop over dim 0 of extent 1024, 8 iterations of 128; peak 786432 -> 557056 bytes of an iteration's own
// LEAST: error: cannot chunk to 520000 bytes: the least peak that can be reached is 528384 bytes

// CHECK-LABEL: func.func @gram
// CHECK-NOT:   linalg.exp
// CHECK:       %[[ALL:.*]] = scf.for %[[HEAD:[a-z0-9]+]] = {{.*}} -> (tensor<8x64x64xf32>)
// CHECK:         linalg.exp {{.*}} -> tensor<1024x64xf32>
// CHECK:         linalg.matmul {{.*}} -> tensor<1024x64xf32>
// CHECK:         tensor.extract_slice %arg2{{.*}} tensor<64x512xf32> to tensor<64x64xf32>
// CHECK:         scf.for %[[ROW:[a-z0-9]+]] = {{.*}} -> (tensor<1024x64xf32>)
// CHECK:           tensor.extract_slice %arg0[%[[ROW]], 0] [128, 64]
// CHECK:           linalg.exp {{.*}} -> tensor<128x64xf32>
// CHECK:           linalg.matmul {{.*}} -> tensor<128x64xf32>
// CHECK:         tensor.insert_slice %{{.*}}[%[[HEAD]], 0, 0] [1, 64, 64]
// CHECK:       return %[[ALL]]
func.func @gram(%x: tensor<1024x64xf32>, %wk: tensor<64x512xf32>, %wq: tensor<64x512xf32>,
                %out: tensor<8x64x64xf32> {bufferization.writable = true, snug.output}) -> tensor<8x64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<1024x64xf32>
  %e1 = tensor.empty() : tensor<1024x64xf32>
  %e2 = tensor.empty() : tensor<1024x512xf32>
  %e3 = tensor.empty() : tensor<1024x512xf32>
  %n0 = linalg.exp ins(%x : tensor<1024x64xf32>) outs(%e0 : tensor<1024x64xf32>) -> tensor<1024x64xf32>
  %z0 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<1024x512xf32>) -> tensor<1024x512xf32>
  %k = linalg.matmul ins(%n0, %wk : tensor<1024x64xf32>, tensor<64x512xf32>) outs(%z0 : tensor<1024x512xf32>) -> tensor<1024x512xf32>
  %n1 = linalg.exp ins(%x : tensor<1024x64xf32>) outs(%e1 : tensor<1024x64xf32>) -> tensor<1024x64xf32>
  %z1 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<1024x512xf32>) -> tensor<1024x512xf32>
  %q = linalg.matmul ins(%n1, %wq : tensor<1024x64xf32>, tensor<64x512xf32>) outs(%z1 : tensor<1024x512xf32>) -> tensor<1024x512xf32>
  %kh = tensor.expand_shape %k [[0], [1, 2]] output_shape [1024, 8, 64] : tensor<1024x512xf32> into tensor<1024x8x64xf32>
  %qh = tensor.expand_shape %q [[0], [1, 2]] output_shape [1024, 8, 64] : tensor<1024x512xf32> into tensor<1024x8x64xf32>
  %z2 = linalg.fill ins(%zero : f32) outs(%out : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  %g = linalg.generic {indexing_maps = [affine_map<(h, i, j, r) -> (r, h, i)>, affine_map<(h, i, j, r) -> (r, h, j)>,
                                        affine_map<(h, i, j, r) -> (h, i, j)>],
                       iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%kh, %qh : tensor<1024x8x64xf32>, tensor<1024x8x64xf32>) outs(%z2 : tensor<8x64x64xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %c, %p : f32
    linalg.yield %s : f32
  } -> tensor<8x64x64xf32>
  return %g : tensor<8x64x64xf32>
}
