// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s -enable-var-scope

// x * (gamma / sqrt(mean(x^2) + epsilon)), the mean as a sum times 1/16: rms norm, whatever the order.
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#row = affine_map<(d0, d1, d2) -> (d0, d1)>
#keep = affine_map<(d0, d1, d2) -> (d0, d1, 0)>
#last = affine_map<(d0, d1, d2) -> (d2)>
#id2 = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-LABEL: func.func @rms(
// CHECK: snug_nn.norm rms ins(%arg0 : tensor<2x4x16xf32>) scale(%arg1 : tensor<16xf32>)
// CHECK-SAME: epsilon = 9.99999997E-7 : f32
// CHECK-NOT: linalg
func.func @rms(%x: tensor<2x4x16xf32>, %gamma: tensor<16xf32>) -> tensor<2x4x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<2x4x16xf32>
  %e2 = tensor.empty() : tensor<2x4xf32>
  %e3 = tensor.empty() : tensor<2x4x1xf32>
  %square = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : tensor<2x4x16xf32>) outs(%e : tensor<2x4x16xf32>) {
  ^bb0(%p: f32, %o: f32):
    %two = arith.constant 2.0 : f32
    %t = math.powf %p, %two : f32
    linalg.yield %t : f32
  } -> tensor<2x4x16xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e2 : tensor<2x4xf32>) -> tensor<2x4xf32>
  %sum = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%square : tensor<2x4x16xf32>) outs(%fill : tensor<2x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = arith.addf %o, %p : f32
    linalg.yield %t : f32
  } -> tensor<2x4xf32>
  %inverse = linalg.generic {indexing_maps = [#id2, #id2], iterator_types = ["parallel", "parallel"]}
      ins(%sum : tensor<2x4xf32>) outs(%e2 : tensor<2x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %n = arith.constant 0.0625 : f32
    %epsilon = arith.constant 1.0e-6 : f32
    %s = arith.mulf %n, %p : f32
    %t = arith.addf %epsilon, %s : f32
    %u = math.rsqrt %t : f32
    linalg.yield %u : f32
  } -> tensor<2x4xf32>
  %kept = tensor.expand_shape %inverse [[0], [1, 2]] output_shape [2, 4, 1] : tensor<2x4xf32> into tensor<2x4x1xf32>
  %weight = linalg.generic {indexing_maps = [#last, #keep, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%gamma, %kept : tensor<16xf32>, tensor<2x4x1xf32>) outs(%e : tensor<2x4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<2x4x16xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%weight, %x : tensor<2x4x16xf32>, tensor<2x4x16xf32>) outs(%e : tensor<2x4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<2x4x16xf32>
  return %0 : tensor<2x4x16xf32>
}

// -----

// The same with a mean over another number of elements, or with the epsilon outside of the root, is no norm.
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
// CHECK-LABEL: func.func @no_norm(
// CHECK-NOT: snug_nn.norm
// CHECK: return
func.func @no_norm(%x: tensor<4x16xf32>) -> (tensor<4x16xf32>, tensor<4x16xf32>) {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x16xf32>
  %e1 = tensor.empty() : tensor<4xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4xf32>) -> tensor<4xf32>
  %sum = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<4x16xf32>) outs(%fill : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %s = arith.mulf %p, %p : f32
    %t = arith.addf %o, %s : f32
    linalg.yield %t : f32
  } -> tensor<4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x, %sum : tensor<4x16xf32>, tensor<4xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %n = arith.constant 15.0 : f32
    %epsilon = arith.constant 1.0e-6 : f32
    %mean = arith.divf %q, %n : f32
    %t = arith.addf %mean, %epsilon : f32
    %u = math.sqrt %t : f32
    %v = arith.divf %p, %u : f32
    linalg.yield %v : f32
  } -> tensor<4x16xf32>
  %1 = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x, %sum : tensor<4x16xf32>, tensor<4xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %n = arith.constant 16.0 : f32
    %epsilon = arith.constant 1.0e-6 : f32
    %mean = arith.divf %q, %n : f32
    %u = math.sqrt %mean : f32
    %t = arith.addf %u, %epsilon : f32
    %v = arith.divf %p, %t : f32
    linalg.yield %v : f32
  } -> tensor<4x16xf32>
  return %0, %1 : tensor<4x16xf32>, tensor<4x16xf32>
}

// -----

// Mean, difference, variance of the difference, division, scale and shift: layer norm, after the residual's sum.
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#last = affine_map<(d0, d1) -> (d1)>
// CHECK-LABEL: func.func @layer(
// CHECK: %[[X:.*]] = linalg.generic {{.*}} ins(%arg0, %arg1
// CHECK: snug_nn.norm layer ins(%[[X]] : tensor<4x16xf32>) scale(%arg2 : tensor<16xf32>) shift(%arg3 : tensor<16xf32>)
// CHECK-SAME: epsilon = 9.99999974E-6 : f32
// CHECK-NOT: linalg.generic
func.func @layer(%a: tensor<4x16xf32>, %b: tensor<4x16xf32>, %scale: tensor<16xf32>, %shift: tensor<16xf32>) -> tensor<4x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x16xf32>
  %e1 = tensor.empty() : tensor<4xf32>
  %x = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a, %b : tensor<4x16xf32>, tensor<4x16xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.addf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<4x16xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4xf32>) -> tensor<4xf32>
  %sum = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<4x16xf32>) outs(%fill : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = arith.addf %p, %o : f32
    linalg.yield %t : f32
  } -> tensor<4xf32>
  %centred = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x, %sum : tensor<4x16xf32>, tensor<4xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %n = arith.constant 16.0 : f32
    %mean = arith.divf %q, %n : f32
    %t = arith.subf %p, %mean : f32
    linalg.yield %t : f32
  } -> tensor<4x16xf32>
  %squares = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%centred : tensor<4x16xf32>) outs(%fill : tensor<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %s = arith.mulf %p, %p : f32
    %t = arith.addf %s, %o : f32
    linalg.yield %t : f32
  } -> tensor<4xf32>
  %normal = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%centred, %squares : tensor<4x16xf32>, tensor<4xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %n = arith.constant 16.0 : f32
    %epsilon = arith.constant 1.0e-5 : f32
    %variance = arith.divf %q, %n : f32
    %t = arith.addf %variance, %epsilon : f32
    %u = math.sqrt %t : f32
    %v = arith.divf %p, %u : f32
    linalg.yield %v : f32
  } -> tensor<4x16xf32>
  %scaled = linalg.generic {indexing_maps = [#last, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%scale, %normal : tensor<16xf32>, tensor<4x16xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.mulf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<4x16xf32>
  %0 = linalg.generic {indexing_maps = [#id, #last, #id], iterator_types = ["parallel", "parallel"]}
      ins(%scaled, %shift : tensor<4x16xf32>, tensor<16xf32>) outs(%e : tensor<4x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.addf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<4x16xf32>
  return %0 : tensor<4x16xf32>
}

// -----

// exp(x / 2 - max) / sum is softmax with a scale of 1/2; a sum of other powers than are divided by it is not.
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
// CHECK-LABEL: func.func @softmax(
// CHECK: snug_nn.softmax ins(%arg0 : tensor<?x16xf32>)
// CHECK-SAME: scale = 5.000000e-01 : f32
// CHECK-NOT: snug_nn.softmax
// CHECK: return
func.func @softmax(%x: tensor<?x16xf32>, %rows: index) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %e = tensor.empty(%rows) : tensor<?x16xf32>
  %e1 = tensor.empty(%rows) : tensor<?xf32>
  %half = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x16xf32>) outs(%e : tensor<?x16xf32>) {
  ^bb0(%p: f32, %o: f32):
    %two = arith.constant 2.0 : f32
    %t = arith.divf %p, %two : f32
    linalg.yield %t : f32
  } -> tensor<?x16xf32>
  %lowest = linalg.fill ins(%low : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %max = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%half : tensor<?x16xf32>) outs(%lowest : tensor<?xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = arith.maximumf %o, %p : f32
    linalg.yield %t : f32
  } -> tensor<?xf32>
  %power = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%half, %max : tensor<?x16xf32>, tensor<?xf32>) outs(%e : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.subf %p, %q : f32
    %u = math.exp %t : f32
    linalg.yield %u : f32
  } -> tensor<?x16xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?xf32>) -> tensor<?xf32>
  %sum = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%power : tensor<?x16xf32>) outs(%fill : tensor<?xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = arith.addf %p, %o : f32
    linalg.yield %t : f32
  } -> tensor<?xf32>
  %0 = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%power, %sum : tensor<?x16xf32>, tensor<?xf32>) outs(%e : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.divf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<?x16xf32>
  %1 = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x, %sum : tensor<?x16xf32>, tensor<?xf32>) outs(%e : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %u = math.exp %p : f32
    %t = arith.divf %u, %q : f32
    linalg.yield %t : f32
  } -> tensor<?x16xf32>
  return %0, %1 : tensor<?x16xf32>, tensor<?x16xf32>
}
