// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=batch=1" -snug-verify-canonical | FileCheck %s

// Windows that do not overlap are rows of a matrix product.
// CHECK-LABEL: func.func @main
// CHECK: tensor.expand_shape %{{.*}} {{\[}}[0], [1], [2, 3], [4, 5]] {{.*}} into tensor<1x3x8x4x8x4xf32>
// CHECK: linalg.generic
// CHECK: %[[ROWS:.*]] = tensor.collapse_shape {{.*}} into tensor<1x8x8x48xf32>
// CHECK: %[[W:.*]] = snug_nn.weight @weight_w recipe [{{.*}}reshape<[16, 48]>, {{.*}}transpose<[1, 0]>, {{.*}}pack<32>]
// CHECK: snug_nn.contract ins(%[[ROWS]], %[[W]] :
// CHECK: return {{.*}} : tensor<1x16x8x8xf32>
module {
  snug_onnx.initializer @w file "w.bin" offset 0 length 3072 : tensor<16x3x4x4xf32>
  func.func @main(%x: tensor<?x3x32x32xf32> {snug.name = "x", snug.dims = ["batch", "3", "32", "32"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<16x3x4x4xf32>
    %y = snug_onnx.node "Conv"(%x, %w) {strides = array<i64: 4, 4>} opset 20 : (tensor<?x3x32x32xf32>, tensor<16x3x4x4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A kernel of 1 x 1 contracts the channels in place.
// CHECK-DAG: #[[$X:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d4, d2, d3)>
// CHECK-DAG: #[[$W:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d4, d1)>
// CHECK-DAG: #[[$Y:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[ARG:.*]]: tensor<1x3x5x6xf32>
// CHECK: snug_nn.contract ins(%[[ARG]], %{{.*}}indexing_maps = [#[[$X]], #[[$W]], #[[$Y]]]
module {
  snug_onnx.initializer @w file "w.bin" offset 0 length 192 : tensor<16x3x1x1xf32>
  func.func @main(%x: tensor<?x3x5x6xf32> {snug.name = "x", snug.dims = ["batch", "3", "5", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<16x3x1x1xf32>
    %y = snug_onnx.node "Conv"(%x, %w) {} opset 20 : (tensor<?x3x5x6xf32>, tensor<16x3x1x1xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Overlapping windows: loops over a padded copy, a row of the result inside.
// CHECK: #[[$IN:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6, d7) -> (d0, d1, d4, d3 * 2 + d5, d7 * 2 + d6)>
// CHECK-LABEL: func.func @main
// CHECK: %[[ZERO:.*]] = linalg.fill ins(%{{.*}}) outs(%{{.*}} : tensor<1x4x7x9xf32>)
// CHECK: tensor.insert_slice %{{.*}} into %[[ZERO]][0, 0, 1, 1] [1, 4, 5, 7]
// CHECK: linalg.generic {indexing_maps = [#[[$IN]], {{.*}}iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction", "parallel"]
// CHECK: return {{.*}} : tensor<1x6x3x4xf32>
module {
  snug_onnx.initializer @w file "w.bin" offset 0 length 432 : tensor<6x2x3x3xf32>
  func.func @main(%x: tensor<?x4x5x7xf32> {snug.name = "x", snug.dims = ["batch", "4", "5", "7"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<6x2x3x3xf32>
    %y = snug_onnx.node "Conv"(%x, %w) {group = 2 : i64, strides = array<i64: 2, 2>, pads = array<i64: 1, 1, 1, 1>} opset 20 : (tensor<?x4x5x7xf32>, tensor<6x2x3x3xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
