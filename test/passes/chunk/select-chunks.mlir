// RUN: snug-opt %s -snug-select-chunks="activation-budget=60000" 2>%t.remarks | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK --input-file=%t.remarks

#id = affine_map<(m, n) -> (m, n)>
#a = affine_map<(m, n, k) -> (m, k)>
#b = affine_map<(m, n, k) -> (k, n)>
#c = affine_map<(m, n, k) -> (m, n)>

// The wide activation between two contractions exists in slices of rows only: its full buffer is gone, a slice's stands
// inside the loop, and the result is the loop's iter_arg.
// REMARK: remark: chunk loop over dim 0 of extent 256
// CHECK-LABEL: func.func @mlp
// CHECK-NOT: tensor.empty() : tensor<256x512xf32>
// CHECK: scf.for {{.*}} iter_args({{.*}}) -> (tensor<256x16xf32>)
// CHECK: tensor.extract_slice %arg0
// CHECK: tensor.empty() : tensor<16x512xf32>
// CHECK: snug_nn.contract
// CHECK: snug_nn.contract
// CHECK: tensor.insert_slice
// CHECK: scf.yield
module {
  func.func @mlp(%x: tensor<256x16xf32>, %w0: tensor<16x512xf32>, %w1: tensor<512x16xf32>) -> tensor<256x16xf32> {
    %e0 = tensor.empty() : tensor<256x512xf32>
    %h = snug_nn.contract ins(%x, %w0 : tensor<256x16xf32>, tensor<16x512xf32>) outs(%e0 : tensor<256x512xf32>)
      attributes {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32):
      %t = math.tanh %acc : f32
      snug_nn.yield %t : f32
    } -> tensor<256x512xf32>
    %e1 = tensor.empty() : tensor<256x16xf32>
    %y = snug_nn.contract ins(%h, %w1 : tensor<256x512xf32>, tensor<512x16xf32>) outs(%e1 : tensor<256x16xf32>)
      attributes {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32):
      snug_nn.yield %acc : f32
    } -> tensor<256x16xf32>
    return %y : tensor<256x16xf32>
  }
}
