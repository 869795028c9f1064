// RUN: snug-opt %s -snug-lower-onnx="dims=rows=1..8" | FileCheck %s -enable-var-scope

// Sizes that are computed from data: a count becomes an extent, cut off at what memory is planned for. The output is a row
// of as many elements as there can be, and its extents are another one.

func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["rows", "4"]}) -> (tensor<*xi64> {snug.name = "y"}) {
  %y = snug_onnx.node "NonZero"(%x) {} opset 13 : (tensor<?x4xf32>) -> tensor<*xi64> loc("places")
  return %y : tensor<*xi64>
}
// CHECK: func.func @main
// CHECK-SAME: -> (tensor<?xi64> {snug.dims = ["rows*8"], snug.largest_shape = ["2", "rows*4"], snug.name = "y"},
// CHECK-SAME: tensor<2xi64> {snug.dims = ["2"], snug.name = "y.shape", snug.shape_of = 0 : i64})
// CHECK: %[[MOST:.*]] = arith.muli %{{.*}}, %c4
// CHECK: %[[COUNT:.*]] = snug_nn.scalar_kernel
// CHECK: %[[NUMBER:.*]] = tensor.extract %[[COUNT]]
// CHECK: %[[SIZE:.*]] = arith.index_cast %[[NUMBER]] : i64 to index
// CHECK: %[[CUT:.*]] = arith.minsi %[[SIZE]], %[[MOST]]
// CHECK: arith.maxsi %[[CUT]],
