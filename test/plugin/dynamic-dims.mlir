// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// A length that is known at run time, with a bound: at the bound, in between, and 1, the results are those without loops.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-chunks{activation-budget=60000})' -o %t.chunked.mlir 2> %t.remarks
// RUN: FileCheck %s < %t.chunked.mlir
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// The names of dims say nothing to upstream, and would be lost by lowering.
// RUN: sed 's/ {snug.dims = .["n0-9, ]*.}//' %t.chunked.mlir | %run_upstream > %t.chunked
// RUN: sed 's/ {snug.dims = .["n0-9, ]*.}//' %s | %run_upstream > %t.whole
// RUN: FileCheck %s --check-prefix=PRINTED < %t.whole
// RUN: diff %t.whole %t.chunked
// PRINTED: sizes = [200, 16]
// PRINTED: sizes = [77, 16]
// PRINTED: sizes = [1, 16]
// REMARK: remark: chunk loop over dim 0 of extent 200,

// CHECK-LABEL: func.func @attention
// CHECK-NOT: tensor.empty({{.*}}) : tensor<?x?xf32>
// CHECK: %[[N:.*]] = tensor.dim %{{.*}}, %c0
// CHECK: scf.for {{.*}} iter_args
// CHECK: affine.min
// CHECK: linalg.softmax
module attributes {snug.dims = [{name = "n", min = 1 : i64, max = 200 : i64, step = 1 : i64}]} {
  func.func @attention(%x: tensor<?x16xf32> {snug.dims = ["n", "16"]}, %w: tensor<16x64xf32>, %v: tensor<64x16xf32>) -> tensor<?x16xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x16xf32>
    %e0 = tensor.empty(%n, %n) : tensor<?x?xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<?x?xf32>) -> tensor<?x?xf32>
    %s = linalg.matmul
        indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
        ins(%x, %x : tensor<?x16xf32>, tensor<?x16xf32>) outs(%f0 : tensor<?x?xf32>) -> tensor<?x?xf32>
    %e1 = tensor.empty(%n, %n) : tensor<?x?xf32>
    %p = linalg.softmax dimension(1) ins(%s : tensor<?x?xf32>) outs(%e1 : tensor<?x?xf32>) -> tensor<?x?xf32>
    %e2 = tensor.empty(%n) : tensor<?x16xf32>
    %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %a = linalg.matmul ins(%p, %x : tensor<?x?xf32>, tensor<?x16xf32>) outs(%f2 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %e3 = tensor.empty(%n) : tensor<?x64xf32>
    %f3 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %h = linalg.matmul ins(%a, %w : tensor<?x16xf32>, tensor<16x64xf32>) outs(%f3 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %e4 = tensor.empty(%n) : tensor<?x64xf32>
    %t = linalg.tanh ins(%h : tensor<?x64xf32>) outs(%e4 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %e5 = tensor.empty(%n) : tensor<?x16xf32>
    %f5 = linalg.fill ins(%zero : f32) outs(%e5 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %y = linalg.matmul ins(%t, %v : tensor<?x64xf32>, tensor<64x16xf32>) outs(%f5 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %e6 = tensor.empty(%n) : tensor<?x16xf32>
    %z = linalg.add ins(%a, %y : tensor<?x16xf32>, tensor<?x16xf32>) outs(%e6 : tensor<?x16xf32>) -> tensor<?x16xf32>
    return %z : tensor<?x16xf32>
  }
  func.func private @printMemrefF32(tensor<*xf32>)
  func.func private @value(%i: index, %j: index) -> f32 {
    %c31 = arith.constant 31 : index
    %step = arith.constant 0.37 : f32
    %a = arith.muli %i, %c31 : index
    %s = arith.addi %a, %j : index
    %n = arith.index_cast %s : index to i32
    %f = arith.sitofp %n : i32 to f32
    %g = arith.mulf %f, %step : f32
    %h = math.sin %g : f32
    return %h : f32
  }
  func.func @main() {
    %x = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = func.call @value(%i, %j) : (index, index) -> f32
      tensor.yield %e : f32
    } : tensor<200x16xf32>
    %w = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = func.call @value(%j, %i) : (index, index) -> f32
      tensor.yield %e : f32
    } : tensor<16x64xf32>
    %v = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = func.call @value(%i, %j) : (index, index) -> f32
      tensor.yield %e : f32
    } : tensor<64x16xf32>
    %part77 = tensor.extract_slice %x[0, 0] [77, 16] [1, 1] : tensor<200x16xf32> to tensor<77x16xf32>
    %part1 = tensor.extract_slice %x[9, 0] [1, 16] [1, 1] : tensor<200x16xf32> to tensor<1x16xf32>
    %x200 = tensor.cast %x : tensor<200x16xf32> to tensor<?x16xf32>
    %x77 = tensor.cast %part77 : tensor<77x16xf32> to tensor<?x16xf32>
    %x1 = tensor.cast %part1 : tensor<1x16xf32> to tensor<?x16xf32>
    %y200 = func.call @attention(%x200, %w, %v) : (tensor<?x16xf32>, tensor<16x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
    %y77 = func.call @attention(%x77, %w, %v) : (tensor<?x16xf32>, tensor<16x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
    %y1 = func.call @attention(%x1, %w, %v) : (tensor<?x16xf32>, tensor<16x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
    %u200 = tensor.cast %y200 : tensor<?x16xf32> to tensor<*xf32>
    %u77 = tensor.cast %y77 : tensor<?x16xf32> to tensor<*xf32>
    %u1 = tensor.cast %y1 : tensor<?x16xf32> to tensor<*xf32>
    func.call @printMemrefF32(%u200) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%u77) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%u1) : (tensor<*xf32>) -> ()
    return
  }
}
