// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// Ops of many kinds that have no rule: they stay as they are, and so does what is around them.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-chunks)' | FileCheck %s
// CHECK-LABEL: func.func @opaque
// CHECK: arith.addf {{.*}} : tensor<64x32xf32>
// CHECK: math.tanh
// CHECK: tensor.concat
// CHECK: tensor.gather
// CHECK: linalg.pack
// CHECK: scf.if
// CHECK: linalg.exp {{.*}} tensor<64x32xf32>
// CHECK: vector.transfer_read
// CHECK: vector.transfer_write
// CHECK: linalg.fill {{.*}} outs(%{{.*}} : memref<64x32xf32>)
// CHECK: bufferization.to_tensor
// CHECK: arith.truncf {{.*}} to tensor<64x32xbf16>
func.func @opaque(%x: tensor<64x32xf32>, %i: tensor<5x1xindex>, %c: i1, %m: memref<64x32xf32>) -> (tensor<64x32xf32>, tensor<5x32xf32>, tensor<8x8x8x4xf32>, tensor<64x32xbf16>) {
  %cst = arith.constant dense<2.0> : tensor<64x32xf32>
  %s = arith.addf %x, %cst : tensor<64x32xf32>
  %t = math.tanh %s : tensor<64x32xf32>
  %sp = arith.constant 3.0 : f32
  %splat = tensor.splat %sp : tensor<64x32xf32>
  %cat = tensor.concat dim(0) %t, %splat : (tensor<64x32xf32>, tensor<64x32xf32>) -> tensor<128x32xf32>
  %part = tensor.extract_slice %cat[0, 0] [64, 32] [2, 1] : tensor<128x32xf32> to tensor<64x32xf32>
  %ga = tensor.gather %part[%i] gather_dims([0]) : (tensor<64x32xf32>, tensor<5x1xindex>) -> tensor<5x32xf32>
  %e = tensor.empty() : tensor<8x8x8x4xf32>
  %pk = linalg.pack %part inner_dims_pos = [0, 1] inner_tiles = [8, 4] into %e : tensor<64x32xf32> -> tensor<8x8x8x4xf32>
  %if = scf.if %c -> tensor<64x32xf32> {
    %e1 = tensor.empty() : tensor<64x32xf32>
    %y = linalg.exp ins(%part : tensor<64x32xf32>) outs(%e1 : tensor<64x32xf32>) -> tensor<64x32xf32>
    scf.yield %y : tensor<64x32xf32>
  } else {
    scf.yield %t : tensor<64x32xf32>
  }
  %c0 = arith.constant 0 : index
  %v = vector.transfer_read %if[%c0, %c0], %sp : tensor<64x32xf32>, vector<8xf32>
  %c8 = arith.constant 8 : index
  %w = vector.transfer_write %v, %if[%c0, %c8] : vector<8xf32>, tensor<64x32xf32>
  linalg.fill ins(%sp : f32) outs(%m : memref<64x32xf32>)
  %tt = bufferization.to_tensor %m : memref<64x32xf32> to tensor<64x32xf32>
  %e2 = tensor.empty() : tensor<64x32xf32>
  %sum = linalg.add ins(%w, %tt : tensor<64x32xf32>, tensor<64x32xf32>) outs(%e2 : tensor<64x32xf32>) -> tensor<64x32xf32>
  %bf = arith.truncf %sum : tensor<64x32xf32> to tensor<64x32xbf16>
  return %sum, %ga, %pk, %bf : tensor<64x32xf32>, tensor<5x32xf32>, tensor<8x8x8x4xf32>, tensor<64x32xbf16>
}
