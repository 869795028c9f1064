// RUN: snug-opt %s -snug-widen-floats | FileCheck %s -enable-var-scope

#all = affine_map<(d0) -> (d0)>
#none = affine_map<(d0) -> ()>

// What is computed is computed in f32, and rounded where it is stored.
// CHECK-LABEL: func.func @computes(
// CHECK: ^bb0(%[[X:.*]]: f16, %[[Y:.*]]: f16, %{{.*}}: f16):
// CHECK-DAG: %[[WX:.*]] = arith.extf %[[X]] fastmath<contract> : f16 to f32
// CHECK-DAG: %[[WY:.*]] = arith.extf %[[Y]] fastmath<contract> : f16 to f32
// CHECK: %[[S:.*]] = arith.addf %[[WX]], %[[WY]] : f32
// CHECK: %[[P:.*]] = arith.mulf %[[S]], %[[WX]] : f32
// CHECK: %[[R:.*]] = arith.truncf %[[P]] fastmath<contract> : f32 to f16
// CHECK: linalg.yield %[[R]] : f16
func.func @computes(%x: tensor<8xf16>, %y: tensor<8xf16>) -> tensor<8xf16> {
  %e = tensor.empty() : tensor<8xf16>
  %r = linalg.generic {indexing_maps = [#all, #all, #all], iterator_types = ["parallel"]}
      ins(%x, %y : tensor<8xf16>, tensor<8xf16>) outs(%e : tensor<8xf16>) {
  ^bb0(%a: f16, %b: f16, %o: f16):
    %s = arith.addf %a, %b : f16
    %p = arith.mulf %s, %a : f16
    linalg.yield %p : f16
  } -> tensor<8xf16>
  return %r : tensor<8xf16>
}

// A number is one in f32, and not rounded.
// CHECK-LABEL: func.func @scales(
// CHECK: %[[X:.*]] = arith.extf %{{.*}} fastmath<contract> : f16 to f32
// CHECK: %[[HALF:.*]] = arith.constant 5.000000e-01 : f32
// CHECK: arith.mulf %[[X]], %[[HALF]] : f32
func.func @scales(%x: tensor<8xf16>) -> tensor<8xf16> {
  %e = tensor.empty() : tensor<8xf16>
  %r = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel"]}
      ins(%x : tensor<8xf16>) outs(%e : tensor<8xf16>) {
  ^bb0(%a: f16, %o: f16):
    %half = arith.constant 0.5 : f16
    %p = arith.mulf %a, %half : f16
    linalg.yield %p : f16
  } -> tensor<8xf16>
  return %r : tensor<8xf16>
}

// What moves elements is left alone.
// CHECK-LABEL: func.func @moves(
// CHECK-NOT: arith.extf
// CHECK: arith.select %{{.*}}, %{{.*}}, %{{.*}} : bf16
func.func @moves(%c: tensor<8xi1>, %x: tensor<8xbf16>, %y: tensor<8xbf16>) -> tensor<8xbf16> {
  %e = tensor.empty() : tensor<8xbf16>
  %r = linalg.generic {indexing_maps = [#all, #all, #all, #all], iterator_types = ["parallel"]}
      ins(%c, %x, %y : tensor<8xi1>, tensor<8xbf16>, tensor<8xbf16>) outs(%e : tensor<8xbf16>) {
  ^bb0(%d: i1, %a: bf16, %b: bf16, %o: bf16):
    %s = arith.select %d, %a, %b : bf16
    linalg.yield %s : bf16
  } -> tensor<8xbf16>
  return %r : tensor<8xbf16>
}

// A sum is made in f32, from an f32 start, and rounded at its end.
// CHECK-LABEL: func.func @sum(
// CHECK: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[FILL:.*]] = linalg.fill ins(%[[ZERO]] : f32) outs(%{{.*}} : tensor<f32>)
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}} outs(%[[FILL]] : tensor<f32>)
// CHECK: ^bb0(%[[X:.*]]: f16, %[[ACC:.*]]: f32):
// CHECK: %[[W:.*]] = arith.extf %[[X]]
// CHECK: %[[NEXT:.*]] = arith.addf %[[W]], %[[ACC]] : f32
// CHECK: linalg.yield %[[NEXT]] : f32
// CHECK: linalg.generic {{.*}} ins(%[[SUM]] : tensor<f32>)
// CHECK: arith.truncf %{{.*}} fastmath<contract> : f32 to f16
func.func @sum(%x: tensor<8xf16>) -> tensor<f16> {
  %zero = arith.constant 0.0 : f16
  %e = tensor.empty() : tensor<f16>
  %f = linalg.fill ins(%zero : f16) outs(%e : tensor<f16>) -> tensor<f16>
  %r = linalg.generic {indexing_maps = [#all, #none], iterator_types = ["reduction"]}
      ins(%x : tensor<8xf16>) outs(%f : tensor<f16>) {
  ^bb0(%a: f16, %o: f16):
    %s = arith.addf %a, %o : f16
    linalg.yield %s : f16
  } -> tensor<f16>
  return %r : tensor<f16>
}

// Before a comparison the value is as it was stored: rounding stays in front of what jumps.
// CHECK-LABEL: func.func @jumps(
// CHECK: %[[S:.*]] = arith.addf %{{.*}}, %{{.*}} : f32
// CHECK: %[[R:.*]] = arith.truncf %[[S]] fastmath<contract> : f32 to f16
// CHECK: %[[W:.*]] = arith.extf %[[R]] : f16 to f32
// CHECK: arith.cmpf ogt, %[[W]]
func.func @jumps(%x: tensor<8xf16>) -> tensor<8xi1> {
  %e = tensor.empty() : tensor<8xi1>
  %r = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel"]}
      ins(%x : tensor<8xf16>) outs(%e : tensor<8xi1>) {
  ^bb0(%a: f16, %o: i1):
    %one = arith.constant 1.0 : f16
    %s = arith.addf %a, %one : f16
    %c = arith.cmpf ogt, %s, %one : f16
    linalg.yield %c : i1
  } -> tensor<8xi1>
  return %r : tensor<8xi1>
}

// A cast to f16 and back that the model spells out rounds, wherever both end up.
// CHECK-LABEL: func.func @spelled_out(
// CHECK: arith.truncf %{{.*}} fastmath<contract> : f32 to f16
// CHECK: arith.extf %{{[^ ]*}} : f16 to f32
func.func @spelled_out(%x: tensor<8xf32>) -> tensor<8xf32> {
  %e = tensor.empty() : tensor<8xf16>
  %n = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel"]}
      ins(%x : tensor<8xf32>) outs(%e : tensor<8xf16>) {
  ^bb0(%a: f32, %o: f16):
    %t = arith.truncf %a : f32 to f16
    linalg.yield %t : f16
  } -> tensor<8xf16>
  %f = tensor.empty() : tensor<8xf32>
  %w = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel"]}
      ins(%n : tensor<8xf16>) outs(%f : tensor<8xf32>) {
  ^bb0(%a: f16, %o: f32):
    %t = arith.extf %a : f16 to f32
    linalg.yield %t : f32
  } -> tensor<8xf32>
  return %w : tensor<8xf32>
}
