// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// Programs whose peak is in bodies of loops and branches: they are chunked there, to any depth, and print what they print
// unchunked.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so \
// RUN:   --pass-pipeline='builtin.module(snug-select-chunks{activation-budget=120000 exact})' -o %t.chunked.mlir 2> %t.remarks
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: FileCheck %s < %t.chunked.mlir
// RUN: mlir-opt %t.chunked.mlir --pass-pipeline='builtin.module(one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)' | mlir-runner -e main -entry-point-result=void \
// RUN:   --shared-libs=%mlir_lib_dir/libmlir_runner_utils.so,%mlir_lib_dir/libmlir_c_runner_utils.so | sed 's/base@ = [^ ]*//' > %t.chunked
// RUN: mlir-opt %s --pass-pipeline='builtin.module(one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)' | mlir-runner -e main -entry-point-result=void \
// RUN:   --shared-libs=%mlir_lib_dir/libmlir_runner_utils.so,%mlir_lib_dir/libmlir_c_runner_utils.so | sed 's/base@ = [^ ]*//' > %t.whole
// RUN: grep -c "sizes = .256, 32." %t.whole | FileCheck %s --check-prefix=FIVE
// RUN: diff %t.whole %t.chunked
// FIVE: 5
// REMARK-COUNT-5: remark: chunk loop over dim 0 of extent 256, {{.*}} peak 294912 -> {{[0-9][0-9][0-9][0-9][0-9]}} bytes
#map = affine_map<(i, j) -> (i, j)>
module {
  // The carried tensor is updated in place; the hidden one exists in slices.
  // CHECK-LABEL: func.func @for
  // CHECK: scf.for {{.*}} iter_args(%[[X:[a-z0-9]+]] = %{{.*}}) -> (tensor<256x32xf32>)
  // CHECK-NOT: tensor.empty() : tensor<256x128xf32>
  // CHECK: scf.for {{.*}} iter_args({{.*}} = %[[X]]) -> (tensor<256x32xf32>)
  // CHECK: snug.chunk_loop
  func.func @for(%x: tensor<256x32xf32>, %w1: tensor<32x128xf32>, %w2: tensor<128x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %e = tensor.empty() : tensor<256x32xf32>
    %first = linalg.copy ins(%x : tensor<256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
    %all = scf.for %i = %c0 to %c3 step %c1 iter_args(%carried = %first) -> (tensor<256x32xf32>) {
      %e0 = tensor.empty() : tensor<256x128xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %h = linalg.matmul ins(%carried, %w1 : tensor<256x32xf32>, tensor<32x128xf32>)
          outs(%f0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %y = linalg.matmul ins(%a, %w2 : tensor<256x128xf32>, tensor<128x32xf32>)
          outs(%carried : tensor<256x32xf32>) -> tensor<256x32xf32>
      scf.yield %y : tensor<256x32xf32>
    }
    return %all : tensor<256x32xf32>
  }

  // Both branches, and what they yield is one buffer.
  // CHECK-LABEL: func.func @if
  // CHECK: scf.if
  // CHECK: snug.chunk_loop
  // CHECK: else
  // CHECK: snug.chunk_loop
  // CHECK: return
  func.func @if(%c: i1, %x: tensor<256x32xf32>, %w1: tensor<32x128xf32>, %w2: tensor<128x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %y = scf.if %c -> (tensor<256x32xf32>) {
      %e0 = tensor.empty() : tensor<256x128xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %h = linalg.matmul ins(%x, %w1 : tensor<256x32xf32>, tensor<32x128xf32>)
          outs(%f0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %e2 = tensor.empty() : tensor<256x32xf32>
      %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<256x32xf32>) -> tensor<256x32xf32>
      %y0 = linalg.matmul ins(%a, %w2 : tensor<256x128xf32>, tensor<128x32xf32>)
          outs(%f2 : tensor<256x32xf32>) -> tensor<256x32xf32>
      scf.yield %y0 : tensor<256x32xf32>
    } else {
      %e0 = tensor.empty() : tensor<256x256xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x256xf32>) -> tensor<256x256xf32>
      %s = linalg.matmul
          indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
          ins(%x, %x : tensor<256x32xf32>, tensor<256x32xf32>) outs(%f0 : tensor<256x256xf32>) -> tensor<256x256xf32>
      %e2 = tensor.empty() : tensor<256x32xf32>
      %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<256x32xf32>) -> tensor<256x32xf32>
      %y1 = linalg.matmul ins(%s, %x : tensor<256x256xf32>, tensor<256x32xf32>)
          outs(%f2 : tensor<256x32xf32>) -> tensor<256x32xf32>
      scf.yield %y1 : tensor<256x32xf32>
    }
    return %y : tensor<256x32xf32>
  }

  // A branch in a loop in a loop.
  // CHECK-LABEL: func.func @nested
  // CHECK: scf.for
  // CHECK: scf.for
  // CHECK: scf.if
  // CHECK: scf.for {{.*}} -> (tensor<256x32xf32>)
  // CHECK: snug.chunk_loop
  func.func @nested(%x: tensor<256x32xf32>, %w1: tensor<32x128xf32>, %w2: tensor<128x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %e = tensor.empty() : tensor<256x32xf32>
    %first = linalg.copy ins(%x : tensor<256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
    %all = scf.for %i = %c0 to %c2 step %c1 iter_args(%outer = %first) -> (tensor<256x32xf32>) {
      %inner = scf.for %j = %c0 to %c2 step %c1 iter_args(%carried = %outer) -> (tensor<256x32xf32>) {
        %is = arith.cmpi eq, %i, %j : index
        %y = scf.if %is -> (tensor<256x32xf32>) {
          %e0 = tensor.empty() : tensor<256x128xf32>
          %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
          %h = linalg.matmul ins(%carried, %w1 : tensor<256x32xf32>, tensor<32x128xf32>)
              outs(%f0 : tensor<256x128xf32>) -> tensor<256x128xf32>
          %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
          %y0 = linalg.matmul ins(%a, %w2 : tensor<256x128xf32>, tensor<128x32xf32>)
              outs(%carried : tensor<256x32xf32>) -> tensor<256x32xf32>
          scf.yield %y0 : tensor<256x32xf32>
        } else {
          scf.yield %carried : tensor<256x32xf32>
        }
        scf.yield %y : tensor<256x32xf32>
      }
      scf.yield %inner : tensor<256x32xf32>
    }
    return %all : tensor<256x32xf32>
  }

  // As often as it takes. What is carried is new in each iteration.
  // CHECK-LABEL: func.func @while
  // CHECK: scf.while
  // CHECK: } do {
  // CHECK: snug.chunk_loop
  // CHECK: return
  func.func @while(%x: tensor<256x32xf32>, %w1: tensor<32x128xf32>, %w2: tensor<128x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %e = tensor.empty() : tensor<256x32xf32>
    %first = linalg.copy ins(%x : tensor<256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
    %all:2 = scf.while (%i = %c0, %carried = %first) : (index, tensor<256x32xf32>) -> (index, tensor<256x32xf32>) {
      %more = arith.cmpi ult, %i, %c3 : index
      scf.condition(%more) %i, %carried : index, tensor<256x32xf32>
    } do {
    ^bb0(%i: index, %carried: tensor<256x32xf32>):
      %next = arith.addi %i, %c1 : index
      %e0 = tensor.empty() : tensor<256x128xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %h = linalg.matmul ins(%carried, %w1 : tensor<256x32xf32>, tensor<32x128xf32>)
          outs(%f0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
      %y = linalg.matmul ins(%a, %w2 : tensor<256x128xf32>, tensor<128x32xf32>)
          outs(%carried : tensor<256x32xf32>) -> tensor<256x32xf32>
      scf.yield %next, %y : index, tensor<256x32xf32>
    }
    return %all#1 : tensor<256x32xf32>
  }

  func.func private @printMemrefF32(tensor<*xf32>)
  func.func @waves(%rows: index, %columns: index, %step: f32) -> tensor<?x?xf32> {
    %e = tensor.empty(%rows, %columns) : tensor<?x?xf32>
    %x = linalg.generic {indexing_maps = [#map], iterator_types = ["parallel", "parallel"]} outs(%e : tensor<?x?xf32>) {
    ^bb0(%out: f32):
      %i = linalg.index 0 : index
      %j = linalg.index 1 : index
      %c7 = arith.constant 7 : index
      %m = arith.muli %i, %c7 : index
      %s = arith.addi %m, %j : index
      %n = arith.index_cast %s : index to i32
      %f = arith.sitofp %n : i32 to f32
      %g = arith.mulf %f, %step : f32
      %h = math.sin %g : f32
      linalg.yield %h : f32
    } -> tensor<?x?xf32>
    return %x : tensor<?x?xf32>
  }
  func.func @print(%x: tensor<256x32xf32>) {
    %u = tensor.cast %x : tensor<256x32xf32> to tensor<*xf32>
    func.call @printMemrefF32(%u) : (tensor<*xf32>) -> ()
    return
  }
  func.func @main() {
    %c32 = arith.constant 32 : index
    %c128 = arith.constant 128 : index
    %c256 = arith.constant 256 : index
    %s0 = arith.constant 0.3 : f32
    %s1 = arith.constant 0.7 : f32
    %s2 = arith.constant 0.4 : f32
    %true = arith.constant true
    %false = arith.constant false
    %dx = func.call @waves(%c256, %c32, %s0) : (index, index, f32) -> tensor<?x?xf32>
    %da = func.call @waves(%c32, %c128, %s1) : (index, index, f32) -> tensor<?x?xf32>
    %db = func.call @waves(%c128, %c32, %s2) : (index, index, f32) -> tensor<?x?xf32>
    %x = tensor.cast %dx : tensor<?x?xf32> to tensor<256x32xf32>
    %a = tensor.cast %da : tensor<?x?xf32> to tensor<32x128xf32>
    %b = tensor.cast %db : tensor<?x?xf32> to tensor<128x32xf32>
    %p = func.call @for(%x, %a, %b) : (tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    %q = func.call @if(%true, %x, %a, %b) : (i1, tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    %r = func.call @if(%false, %x, %a, %b) : (i1, tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    %s = func.call @nested(%x, %a, %b) : (tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    %t = func.call @while(%x, %a, %b) : (tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    func.call @print(%p) : (tensor<256x32xf32>) -> ()
    func.call @print(%q) : (tensor<256x32xf32>) -> ()
    func.call @print(%r) : (tensor<256x32xf32>) -> ()
    func.call @print(%s) : (tensor<256x32xf32>) -> ()
    func.call @print(%t) : (tensor<256x32xf32>) -> ()
    return
  }
}
