// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// The plugin alone turns stock mlir-opt into a chunking compiler; what it prints when chunked is what it prints unchunked.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so \
// RUN:   --pass-pipeline='builtin.module(snug-select-chunks{activation-budget=140000 exact})' -o %t.chunked.mlir 2> %t.remarks
// The command of docs/plugin.md, as it stands there but for the folder of the build, says the same.
// RUN: cd %S/../.. && sed -n "/snug-select-chunks/s#^mlir-opt-22 \(.*\)=build/dev/lib/#mlir-opt \1=%snug_lib_dir/#p" docs/plugin.md > %t.sh && sh %t.sh > %t.documented.mlir
// RUN: diff %t.chunked.mlir %t.documented.mlir
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: FileCheck %s < %t.chunked.mlir
// RUN: mlir-opt %t.chunked.mlir --pass-pipeline='builtin.module(transform-interpreter,test-transform-dialect-erase-schedule,func.func(linalg-generalize-named-ops),one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)' | mlir-runner -e main -entry-point-result=void \
// RUN:   --shared-libs=%mlir_lib_dir/libmlir_runner_utils.so,%mlir_lib_dir/libmlir_c_runner_utils.so | sed 's/base@ = [^ ]*//' > %t.chunked
// RUN: mlir-opt %s --pass-pipeline='builtin.module(transform-interpreter,test-transform-dialect-erase-schedule,func.func(linalg-generalize-named-ops),one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)' | mlir-runner -e main -entry-point-result=void \
// RUN:   --shared-libs=%mlir_lib_dir/libmlir_runner_utils.so,%mlir_lib_dir/libmlir_c_runner_utils.so | sed 's/base@ = [^ ]*//' > %t.whole
// RUN: grep -c "sizes = .256, 32." %t.whole | FileCheck %s --check-prefix=TWO
// RUN: diff %t.whole %t.chunked
// TWO: 2
// REMARK: remark: chunk loop over dim 0 of extent 256, {{.*}} peak 262144 -> {{[0-9]+}} bytes
// REMARK: remark: chunk loop over dim 0 of extent 256, {{.*}} peak 524288 -> {{[0-9]+}} bytes

// The hidden tensor exists in slices only.
// CHECK-LABEL: func.func @mlp
// CHECK-NOT: tensor.empty() : tensor<256x128xf32>
// CHECK: scf.for {{.*}} -> (tensor<256x32xf32>)
// CHECK-LABEL: func.func @attention
// CHECK-NOT: tensor.empty() : tensor<256x256xf32>
// CHECK: scf.for {{.*}} -> (tensor<256x32xf32>)
// CHECK-NOT: tensor<256x256xf32>
module attributes {transform.with_named_sequence} {
  func.func @mlp(%x: tensor<256x32xf32>, %w1: tensor<32x128xf32>, %w2: tensor<128x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %e0 = tensor.empty() : tensor<256x128xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x128xf32>) -> tensor<256x128xf32>
    %h = linalg.matmul ins(%x, %w1 : tensor<256x32xf32>, tensor<32x128xf32>)
        outs(%f0 : tensor<256x128xf32>) -> tensor<256x128xf32>
    %e1 = tensor.empty() : tensor<256x128xf32>
    %a = linalg.tanh ins(%h : tensor<256x128xf32>) outs(%e1 : tensor<256x128xf32>) -> tensor<256x128xf32>
    %e2 = tensor.empty() : tensor<256x32xf32>
    %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<256x32xf32>) -> tensor<256x32xf32>
    %y = linalg.matmul ins(%a, %w2 : tensor<256x128xf32>, tensor<128x32xf32>)
        outs(%f2 : tensor<256x32xf32>) -> tensor<256x32xf32>
    return %y : tensor<256x32xf32>
  }
  func.func @attention(%q: tensor<256x32xf32>, %k: tensor<256x32xf32>, %v: tensor<256x32xf32>) -> tensor<256x32xf32> {
    %zero = arith.constant 0.0 : f32
    %e0 = tensor.empty() : tensor<256x256xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x256xf32>) -> tensor<256x256xf32>
    %s = linalg.matmul
        indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
        ins(%q, %k : tensor<256x32xf32>, tensor<256x32xf32>) outs(%f0 : tensor<256x256xf32>) -> tensor<256x256xf32>
    %e1 = tensor.empty() : tensor<256x256xf32>
    %p = linalg.softmax dimension(1) ins(%s : tensor<256x256xf32>) outs(%e1 : tensor<256x256xf32>) -> tensor<256x256xf32>
    %e2 = tensor.empty() : tensor<256x32xf32>
    %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<256x32xf32>) -> tensor<256x32xf32>
    %y = linalg.matmul ins(%p, %v : tensor<256x256xf32>, tensor<256x32xf32>)
        outs(%f2 : tensor<256x32xf32>) -> tensor<256x32xf32>
    return %y : tensor<256x32xf32>
  }
  func.func private @printMemrefF32(tensor<*xf32>)
  // A value for each place, so that a slice taken at the wrong place shows.
  func.func @main() {
    %ex = tensor.empty() : tensor<256x32xf32>
    %x = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
        outs(%ex : tensor<256x32xf32>) {
    ^bb0(%out: f32):
      %i = linalg.index 0 : index
      %j = linalg.index 1 : index
      %c7 = arith.constant 7 : index
      %m = arith.muli %i, %c7 : index
      %s = arith.addi %m, %j : index
      %n = arith.index_cast %s : index to i32
      %f = arith.sitofp %n : i32 to f32
      %step = arith.constant 0.3 : f32
      %g = arith.mulf %f, %step : f32
      %h = math.sin %g : f32
      linalg.yield %h : f32
    } -> tensor<256x32xf32>
    %ea = tensor.empty() : tensor<32x128xf32>
    %a = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
        outs(%ea : tensor<32x128xf32>) {
    ^bb0(%out: f32):
      %i = linalg.index 0 : index
      %j = linalg.index 1 : index
      %c7 = arith.constant 7 : index
      %m = arith.muli %i, %c7 : index
      %s = arith.addi %m, %j : index
      %n = arith.index_cast %s : index to i32
      %f = arith.sitofp %n : i32 to f32
      %step = arith.constant 0.7 : f32
      %g = arith.mulf %f, %step : f32
      %h = math.sin %g : f32
      linalg.yield %h : f32
    } -> tensor<32x128xf32>
    %eb = tensor.empty() : tensor<128x32xf32>
    %b = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
        outs(%eb : tensor<128x32xf32>) {
    ^bb0(%out: f32):
      %i = linalg.index 0 : index
      %j = linalg.index 1 : index
      %c7 = arith.constant 7 : index
      %m = arith.muli %i, %c7 : index
      %s = arith.addi %m, %j : index
      %n = arith.index_cast %s : index to i32
      %f = arith.sitofp %n : i32 to f32
      %step = arith.constant 0.4 : f32
      %g = arith.mulf %f, %step : f32
      %h = math.sin %g : f32
      linalg.yield %h : f32
    } -> tensor<128x32xf32>
    %y = func.call @mlp(%x, %a, %b) : (tensor<256x32xf32>, tensor<32x128xf32>, tensor<128x32xf32>) -> tensor<256x32xf32>
    %z = func.call @attention(%y, %x, %x) : (tensor<256x32xf32>, tensor<256x32xf32>, tensor<256x32xf32>) -> tensor<256x32xf32>
    %u = tensor.cast %y : tensor<256x32xf32> to tensor<*xf32>
    %w = tensor.cast %z : tensor<256x32xf32> to tensor<*xf32>
    func.call @printMemrefF32(%u) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%w) : (tensor<*xf32>) -> ()
    return
  }
  // Upstream has no loops for linalg.softmax but through its parts.
  transform.named_sequence @__transform_main(%m: !transform.any_op) {
    %s = transform.structured.match ops{["linalg.softmax"]} in %m : (!transform.any_op) -> !transform.any_op
    transform.foreach %s : !transform.any_op {
    ^bb0(%one: !transform.any_op):
      %p = transform.structured.decompose_interface %one : (!transform.any_op) -> !transform.any_op
    }
    transform.yield
  }
}
