// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// Programs as they come from other pipelines: canonicalized, with equal destinations and zeros merged, slices taken and
// put back, loops and conditions that were there before, ops on whole tensors that have no rule.
// RUN: mlir-opt %s --pass-pipeline='builtin.module(canonicalize,cse)' -o %t.merged.mlir
// RUN: mlir-opt %t.merged.mlir --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-chunks)' -o %t.chunked.mlir 2> %t.remarks
// RUN: FileCheck %s < %t.chunked.mlir
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: cat %t.chunked.mlir | %run_upstream > %t.chunked
// RUN: cat %t.merged.mlir | %run_upstream > %t.whole
// RUN: grep -c "sizes = .64, 32." %t.whole | FileCheck %s --check-prefix=THREE
// RUN: diff %t.whole %t.chunked
// THREE: 3
// REMARK-DAG: remark: chunk loop over dim 0 of extent 64,
// REMARK-DAG: remark: 'blocks' is left as it is: it has control flow between blocks

// The merged fill is each matmul's own again, slice by slice.
// CHECK-LABEL: func.func @named_ops
// CHECK-NOT: tensor<64x256xf32>
// CHECK: scf.for
// CHECK-LABEL: func.func @slices_and_loops
// CHECK: scf.for
// CHECK-LABEL: func.func @no_rules
// CHECK: arith.addf {{.*}} : tensor<64x32xf32>
// CHECK: tensor.generate
// CHECK-LABEL: func.func @blocks
// CHECK: cf.cond_br
module {
  func.func @named_ops(%x: tensor<64x32xf32>, %w: tensor<32x256xf32>, %v: tensor<256x32xf32>) -> tensor<64x32xf32> {
    %zero = arith.constant 0.0 : f32
    %e0 = tensor.empty() : tensor<64x256xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %h = linalg.matmul ins(%x, %w : tensor<64x32xf32>, tensor<32x256xf32>) outs(%f0 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %e1 = tensor.empty() : tensor<64x256xf32>
    %t = linalg.elementwise kind=#linalg.elementwise_kind<tanh> ins(%h : tensor<64x256xf32>) outs(%e1 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %e2 = tensor.empty() : tensor<64x256xf32>
    %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %g = linalg.matmul ins(%x, %w : tensor<64x32xf32>, tensor<32x256xf32>) outs(%f2 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %e3 = tensor.empty() : tensor<64x256xf32>
    %p = linalg.mul ins(%t, %g : tensor<64x256xf32>, tensor<64x256xf32>) outs(%e3 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %e4 = tensor.empty() : tensor<32x64xf32>
    %f4 = linalg.fill ins(%zero : f32) outs(%e4 : tensor<32x64xf32>) -> tensor<32x64xf32>
    %c = linalg.contract
        indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (n, m)>]
        ins(%p, %v : tensor<64x256xf32>, tensor<256x32xf32>) outs(%f4 : tensor<32x64xf32>) -> tensor<32x64xf32>
    %e5 = tensor.empty() : tensor<64x32xf32>
    %y = linalg.transpose ins(%c : tensor<32x64xf32>) outs(%e5 : tensor<64x32xf32>) permutation = [1, 0]
    return %y : tensor<64x32xf32>
  }
  func.func @slices_and_loops(%x: tensor<64x32xf32>, %w: tensor<32x256xf32>, %flag: i1) -> tensor<64x32xf32> {
    %zero = arith.constant 0.0 : f32
    %half = arith.constant 0.5 : f32
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %e0 = tensor.empty() : tensor<64x256xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %h = linalg.matmul ins(%x, %w : tensor<64x32xf32>, tensor<32x256xf32>) outs(%f0 : tensor<64x256xf32>) -> tensor<64x256xf32>
    %left = tensor.extract_slice %h[0, 0] [64, 128] [1, 1] : tensor<64x256xf32> to tensor<64x128xf32>
    %right = tensor.extract_slice %h[0, 128] [64, 128] [1, 1] : tensor<64x256xf32> to tensor<64x128xf32>
    %e1 = tensor.empty() : tensor<64x128xf32>
    %a = linalg.tanh ins(%left : tensor<64x128xf32>) outs(%e1 : tensor<64x128xf32>) -> tensor<64x128xf32>
    %e2 = tensor.empty() : tensor<64x128xf32>
    %b = linalg.mul ins(%a, %right : tensor<64x128xf32>, tensor<64x128xf32>) outs(%e2 : tensor<64x128xf32>) -> tensor<64x128xf32>
    %e3 = tensor.empty() : tensor<64x256xf32>
    %i0 = tensor.insert_slice %b into %e3[0, 0] [64, 128] [1, 1] : tensor<64x128xf32> into tensor<64x256xf32>
    %i1 = tensor.insert_slice %a into %i0[0, 128] [64, 128] [1, 1] : tensor<64x128xf32> into tensor<64x256xf32>
    %e4 = tensor.empty() : tensor<64x32xf32>
    %f4 = linalg.fill ins(%zero : f32) outs(%e4 : tensor<64x32xf32>) -> tensor<64x32xf32>
    %parts = tensor.expand_shape %i1 [[0], [1, 2]] output_shape [64, 8, 32] : tensor<64x256xf32> into tensor<64x8x32xf32>
    %m = linalg.reduce { arith.addf } ins(%parts : tensor<64x8x32xf32>) outs(%f4 : tensor<64x32xf32>) dimensions = [1]
    %l = scf.for %it = %c0 to %c3 step %c1 iter_args(%carried = %m) -> (tensor<64x32xf32>) {
      %n = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
                           iterator_types = ["parallel", "parallel"]}
          ins(%x : tensor<64x32xf32>) outs(%carried : tensor<64x32xf32>) {
      ^bb0(%in: f32, %out: f32):
        %p = arith.mulf %out, %half : f32
        %s = arith.addf %p, %in : f32
        linalg.yield %s : f32
      } -> tensor<64x32xf32>
      scf.yield %n : tensor<64x32xf32>
    }
    %r = scf.if %flag -> tensor<64x32xf32> {
      %e5 = tensor.empty() : tensor<64x32xf32>
      %n = linalg.exp ins(%l : tensor<64x32xf32>) outs(%e5 : tensor<64x32xf32>) -> tensor<64x32xf32>
      scf.yield %n : tensor<64x32xf32>
    } else {
      scf.yield %x : tensor<64x32xf32>
    }
    return %r : tensor<64x32xf32>
  }
  func.func @no_rules(%x: tensor<64x32xf32>) -> tensor<64x32xf32> {
    %two = arith.constant dense<2.0> : tensor<64x32xf32>
    %s = arith.addf %x, %two : tensor<64x32xf32>
    %t = math.tanh %s : tensor<64x32xf32>
    %g = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = tensor.extract %t[%i, %j] : tensor<64x32xf32>
      tensor.yield %e : f32
    } : tensor<64x32xf32>
    %e2 = tensor.empty() : tensor<64x32xf32>
    %y = linalg.add ins(%g, %s : tensor<64x32xf32>, tensor<64x32xf32>) outs(%e2 : tensor<64x32xf32>) -> tensor<64x32xf32>
    return %y : tensor<64x32xf32>
  }
  func.func @blocks(%x: tensor<64x32xf32>, %c: i1) -> tensor<64x32xf32> {
    cf.cond_br %c, ^small, ^large
  ^small:
    return %x : tensor<64x32xf32>
  ^large:
    %e = tensor.empty() : tensor<64x32xf32>
    %y = linalg.exp ins(%x : tensor<64x32xf32>) outs(%e : tensor<64x32xf32>) -> tensor<64x32xf32>
    return %y : tensor<64x32xf32>
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
    } : tensor<64x32xf32>
    %w = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = func.call @value(%j, %i) : (index, index) -> f32
      tensor.yield %e : f32
    } : tensor<32x256xf32>
    %v = tensor.generate {
    ^bb0(%i: index, %j: index):
      %e = func.call @value(%i, %j) : (index, index) -> f32
      tensor.yield %e : f32
    } : tensor<256x32xf32>
    %true = arith.constant true
    %a = func.call @named_ops(%x, %w, %v) : (tensor<64x32xf32>, tensor<32x256xf32>, tensor<256x32xf32>) -> tensor<64x32xf32>
    %b = func.call @slices_and_loops(%x, %w, %true) : (tensor<64x32xf32>, tensor<32x256xf32>, i1) -> tensor<64x32xf32>
    %c = func.call @no_rules(%x) : (tensor<64x32xf32>) -> tensor<64x32xf32>
    %ua = tensor.cast %a : tensor<64x32xf32> to tensor<*xf32>
    %ub = tensor.cast %b : tensor<64x32xf32> to tensor<*xf32>
    %uc = tensor.cast %c : tensor<64x32xf32> to tensor<*xf32>
    func.call @printMemrefF32(%ua) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%ub) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%uc) : (tensor<*xf32>) -> ()
    return
  }
}
