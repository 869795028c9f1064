// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d1)>

// Bias, activation and residual join the contraction; nothing else is left.
// CHECK-LABEL: func.func @epilogue
// CHECK: snug_nn.contract
// CHECK-SAME: epilogue(%{{.*}}, %{{.*}} : tensor<8xf32>, tensor<4x8xf32>)
// CHECK: ^bb0(%[[SUM:.*]]: f32, %[[BIAS:.*]]: f32, %[[RES:.*]]: f32):
// CHECK: %[[A:.*]] = arith.addf %[[SUM]], %[[BIAS]]
// CHECK: %[[T:.*]] = math.tanh %[[A]]
// CHECK: arith.addf %[[T]], %[[RES]]
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @epilogue(%x: tensor<4x16xf32>, %w: tensor<16x8xf32>, %b: tensor<8xf32>, %r: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = snug_nn.contract ins(%x, %w : tensor<4x16xf32>, tensor<16x8xf32>) outs(%e : tensor<4x8xf32>)
    attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x8xf32>
  %1 = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%0, %b : tensor<4x8xf32>, tensor<8xf32>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x8xf32>
  %2 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%1 : tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %s = math.tanh %p : f32
    linalg.yield %s : f32
  } -> tensor<4x8xf32>
  %3 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%2, %r : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<4x8xf32>
  return %3 : tensor<4x8xf32>
}

// -----

// A transposed copy in front of a contraction is read in place.
// CHECK: #map1 = affine_map<(d0, d1, d2) -> (d1, d2)>
// CHECK-LABEL: func.func @transposed_operand
// CHECK-NOT: linalg.generic
// CHECK: snug_nn.contract ins(%{{.*}}, %arg1 : tensor<4x16xf32>, tensor<8x16xf32>)
// CHECK-SAME: indexing_maps = [#map, #map1, #map2]
func.func @transposed_operand(%x: tensor<4x16xf32>, %w: tensor<8x16xf32>) -> tensor<4x8xf32> {
  %t = tensor.empty() : tensor<16x8xf32>
  %wt = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%w : tensor<8x16xf32>) outs(%t : tensor<16x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<16x8xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = snug_nn.contract ins(%x, %wt : tensor<4x16xf32>, tensor<16x8xf32>) outs(%e : tensor<4x8xf32>)
    attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// A mask that reads nothing of its own size is computed in both of its consumers.
#map = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-LABEL: func.func @cheap_mask
// CHECK-COUNT-2: linalg.generic
// CHECK-NOT: linalg.generic
func.func @cheap_mask(%x: tensor<8x8xf32>, %y: tensor<8x8xf32>) -> (tensor<8x8xf32>, tensor<8x8xf32>) {
  %low = arith.constant -1.0e+30 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8x8xf32>
  %mask = linalg.generic {indexing_maps = [#map], iterator_types = ["parallel", "parallel"]} outs(%e : tensor<8x8xf32>) {
  ^bb0(%o: f32):
    %i = linalg.index 0 : index
    %j = linalg.index 1 : index
    %c = arith.cmpi sle, %j, %i : index
    %s = arith.select %c, %zero, %low : f32
    linalg.yield %s : f32
  } -> tensor<8x8xf32>
  %0 = linalg.generic {indexing_maps = [#map, #map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%x, %mask : tensor<8x8xf32>, tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<8x8xf32>
  %1 = linalg.generic {indexing_maps = [#map, #map, #map], iterator_types = ["parallel", "parallel"]}
      ins(%y, %mask : tensor<8x8xf32>, tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %q : f32
    linalg.yield %s : f32
  } -> tensor<8x8xf32>
  return %0, %1 : tensor<8x8xf32>, tensor<8x8xf32>
}

// -----

// Rows left out between others: the dims cannot become one without a copy. Where every other row of all is taken they can.
// CHECK-LABEL: func.func @rows_left_out
// CHECK: %[[FEW:.*]] = tensor.extract_slice %{{.*}}[0, 0, 0] [2, 2, 4] [1, 2, 1]
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[FEW]]
// CHECK: tensor.collapse_shape %[[COPY]]
// CHECK: %[[HALF:.*]] = tensor.extract_slice %{{.*}}[0, 0, 0] [2, 3, 4] [1, 2, 1]
// CHECK: tensor.collapse_shape %[[HALF]]
func.func @rows_left_out(%x: tensor<2x6x4xf32>) -> (tensor<4x4xf32>, tensor<6x4xf32>) {
  %few = tensor.extract_slice %x[0, 0, 0] [2, 2, 4] [1, 2, 1] : tensor<2x6x4xf32> to tensor<2x2x4xf32>
  %row = tensor.collapse_shape %few [[0, 1], [2]] : tensor<2x2x4xf32> into tensor<4x4xf32>
  %half = tensor.extract_slice %x[0, 0, 0] [2, 3, 4] [1, 2, 1] : tensor<2x6x4xf32> to tensor<2x3x4xf32>
  %rows = tensor.collapse_shape %half [[0, 1], [2]] : tensor<2x3x4xf32> into tensor<6x4xf32>
  return %row, %rows : tensor<4x4xf32>, tensor<6x4xf32>
}
