// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s -enable-var-scope

// A dense convolution is a contraction over windows, with its filters inside of the weight and what follows in the epilogue.
// CHECK-DAG: #[[$X:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d4, d2 * 2 + d5, d3 * 2 + d6)>
// CHECK-DAG: #[[$W:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d1)>
// CHECK-LABEL: func.func @dense(
// CHECK: %[[W:.*]] = snug_nn.weight @w recipe [#snug_nn.transpose<{{.*}}1, 2, 3, 0{{.*}}>] : tensor<4x3x3x16xf32>
// CHECK-NOT: linalg.fill
// CHECK: snug_nn.contract ins(%arg0, %[[W]] : tensor<1x4x9x9xf32>, tensor<4x3x3x16xf32>)
// CHECK-SAME: outs(%{{.*}} : tensor<1x16x4x4xf32>)
// CHECK-SAME: indexing_maps = [#[[$X]], #[[$W]], #{{.*}}]
// CHECK: math.tanh
// CHECK-NOT: linalg.generic
#x = affine_map<(n, o, h, w, c, i, j) -> (n, c, h * 2 + i, w * 2 + j)>
#w = affine_map<(n, o, h, w, c, i, j) -> (o, c, i, j)>
#y = affine_map<(n, o, h, w, c, i, j) -> (n, o, h, w)>
#id = affine_map<(n, o, h, w) -> (n, o, h, w)>
module {
snug_nn.data @w : tensor<16x4x3x3xf32> {file = "d", offset = 0 : i64, length = 2304 : i64}
func.func @dense(%x: tensor<1x4x9x9xf32>) -> tensor<1x16x4x4xf32> {
  %weight = snug_nn.weight @w : tensor<16x4x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x16x4x4xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e : tensor<1x16x4x4xf32>) -> tensor<1x16x4x4xf32>
  %0 = linalg.generic {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%x, %weight : tensor<1x4x9x9xf32>, tensor<16x4x3x3xf32>) outs(%fill : tensor<1x16x4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %q, %p : f32
    %u = arith.addf %o, %t : f32
    linalg.yield %u : f32
  } -> tensor<1x16x4x4xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%0 : tensor<1x16x4x4xf32>) outs(%e : tensor<1x16x4x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = math.tanh %p : f32
    linalg.yield %t : f32
  } -> tensor<1x16x4x4xf32>
  return %1 : tensor<1x16x4x4xf32>
}

// Depthwise: a channel has no columns, so it stays a loop.
// CHECK-LABEL: func.func @depthwise(
// CHECK-NOT: snug_nn.contract
// CHECK: linalg.generic
snug_nn.data @v : tensor<16x3xf32> {file = "d", offset = 0 : i64, length = 192 : i64}
func.func @depthwise(%x: tensor<16x18xf32>) -> tensor<16x16xf32> {
  %weight = snug_nn.weight @v : tensor<16x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<16x16xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e : tensor<16x16xf32>) -> tensor<16x16xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(c, w, j) -> (c, w + j)>, affine_map<(c, w, j) -> (c, j)>, affine_map<(c, w, j) -> (c, w)>],
                       iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %weight : tensor<16x18xf32>, tensor<16x3xf32>) outs(%fill : tensor<16x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %p, %q : f32
    %u = arith.addf %o, %t : f32
    linalg.yield %u : f32
  } -> tensor<16x16xf32>
  return %0 : tensor<16x16xf32>
}
}

// -----

// A transposed convolution goes through its windows the other way round, which no contraction does.
// CHECK-LABEL: func.func @transposed(
// CHECK-NOT: snug_nn.contract
// CHECK: linalg.generic
#x = affine_map<(n, o, h, w, c, i, j) -> (n, c, h - i + 2, w - j + 2)>
#w = affine_map<(n, o, h, w, c, i, j) -> (c, o, i, j)>
#y = affine_map<(n, o, h, w, c, i, j) -> (n, o, h, w)>
module {
snug_nn.data @w : tensor<4x16x3x3xf32> {file = "d", offset = 0 : i64, length = 2304 : i64}
func.func @transposed(%x: tensor<1x4x11x11xf32>) -> tensor<1x16x9x9xf32> {
  %weight = snug_nn.weight @w : tensor<4x16x3x3xf32>
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x16x9x9xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e : tensor<1x16x9x9xf32>) -> tensor<1x16x9x9xf32>
  %0 = linalg.generic {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%x, %weight : tensor<1x4x11x11xf32>, tensor<4x16x3x3xf32>) outs(%fill : tensor<1x16x9x9xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %q, %p : f32
    %u = arith.addf %o, %t : f32
    linalg.yield %u : f32
  } -> tensor<1x16x9x9xf32>
  return %0 : tensor<1x16x9x9xf32>
}
}
