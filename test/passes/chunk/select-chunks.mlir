// RUN: snug-opt %s -snug-select-chunks="activation-budget=80000 exact" -split-input-file 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t
// RUN: snug-opt %s -snug-select-chunks="activation-budget=80000 exact" -split-input-file 2> %t \
// RUN:   | snug-opt -one-shot-bufferize=bufferize-function-boundaries -split-input-file | FileCheck %s --check-prefix=BUFFER

// Trap 3: the residual sum takes the buffer of the dying %x, and %x is read through what the loop carries.
// Trap 2: the destination of the hidden tensor is made inside, in slices.
// REMARK: remark: chunk loop over dim 0 of extent 256, 16 iterations of 16; peak 589824 -> 67584 bytes
// CHECK: snug.chunk_report = [{dim = 0 : i64, extent = 256 : i64, iterations = 16 : i64, kind = "parallel"
// CHECK-LABEL: func.func @residual
// CHECK: %[[X:.*]] = linalg.exp
// CHECK-NOT: tensor.empty
// CHECK: scf.for %[[I:.*]] = {{.*}} iter_args(%[[B:.*]] = %[[X]])
// CHECK: tensor.empty() : tensor<16x512xf32>
// CHECK: %[[S:.*]] = tensor.extract_slice %[[B]][%[[I]], 0] [16, 32]
// CHECK: linalg.matmul ins(%[[S]],
// CHECK-NOT: %[[X]]
// CHECK: %[[Z:.*]] = linalg.add ins(%[[S]], {{.*}} outs(%[[S]] :
// CHECK: tensor.insert_slice %[[Z]] into %[[B]][%[[I]], 0]
// CHECK: snug.chunk_loop = 0
// BUFFER-LABEL: func.func @residual
// BUFFER: memref.alloc() {{.*}} : memref<256x32xf32>
// BUFFER-NOT: memref<256x32xf32>{{$}}
// BUFFER: scf.for
// BUFFER-DAG: memref.alloc() {{.*}} : memref<16x512xf32>
// BUFFER-DAG: memref.alloc() {{.*}} : memref<16x32xf32>
// BUFFER-NOT: memref.alloc
// BUFFER: snug.chunk_loop = 0
// BUFFER: return
func.func @residual(%in: tensor<256x32xf32>, %w1: tensor<32x512xf32>, %w2: tensor<512x32xf32>) -> tensor<256x32xf32> {
  %zero = arith.constant 0.0 : f32
  %ex = tensor.empty() : tensor<256x32xf32>
  %x = linalg.exp ins(%in : tensor<256x32xf32>) outs(%ex : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e0 = tensor.empty() : tensor<256x512xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %h = linalg.matmul ins(%x, %w1 : tensor<256x32xf32>, tensor<32x512xf32>)
      outs(%f0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %e2 = tensor.empty() : tensor<256x32xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %y = linalg.matmul ins(%h, %w2 : tensor<256x512xf32>, tensor<512x32xf32>)
      outs(%f2 : tensor<256x32xf32>) -> tensor<256x32xf32>
  %e3 = tensor.empty() : tensor<256x32xf32>
  %z = linalg.add ins(%x, %y : tensor<256x32xf32>, tensor<256x32xf32>)
      outs(%e3 : tensor<256x32xf32>) -> tensor<256x32xf32>
  return %z : tensor<256x32xf32>
}

// -----

// A dynamic extent: sizes at the bound decide, the last iteration is what is left. The chunk dim passes reshapes and
// softmax (trap 1). Loops over heads inside leave room for larger tiles of rows, which is faster.
// CHECK: #[[$MIN:.*]] = affine_map<(d0)[s0] -> (112, -d0 + s0)>
// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: %[[O:[a-z0-9]+]]: tensor<?x512xf32> {snug.dims = ["seq", "512"], snug.output}
// CHECK: %[[N:.*]] = tensor.dim %[[O]]
// CHECK: scf.for %[[I:.*]] = {{.*}} to %[[N]] step {{.*}} iter_args({{.*}} = %[[O]])
// CHECK: %[[C:.*]] = affine.min #[[$MIN]](%[[I]])[%[[N]]]
// CHECK: scf.for {{.*}} = {{.*}} to %c8 step %c1
// CHECK: tensor.expand_shape {{.*}} output_shape [%[[C]], 1, 64]
// CHECK: linalg.softmax dimension(2)
// CHECK: tensor.collapse_shape
// CHECK: tensor.insert_slice
module attributes {snug.dims = [{name = "seq", min = 1 : i64, max = 1000 : i64, step = 1 : i64}]} {
  func.func @dynamic(%x: tensor<?x32xf32> {snug.dims = ["seq", "32"]}, %w1: tensor<32x512xf32>,
                     %o: tensor<?x512xf32> {snug.dims = ["seq", "512"], snug.output}) -> tensor<?x512xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x32xf32>
    %e0 = tensor.empty(%n) : tensor<?x512xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    %h = linalg.matmul ins(%x, %w1 : tensor<?x32xf32>, tensor<32x512xf32>)
        outs(%f0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    %v = tensor.expand_shape %h [[0], [1, 2]] output_shape [%n, 8, 64] : tensor<?x512xf32> into tensor<?x8x64xf32>
    %e1 = tensor.empty(%n) : tensor<?x8x64xf32>
    %s = linalg.softmax dimension(2) ins(%v : tensor<?x8x64xf32>) outs(%e1 : tensor<?x8x64xf32>) -> tensor<?x8x64xf32>
    %u = tensor.collapse_shape %s [[0], [1, 2]] : tensor<?x8x64xf32> into tensor<?x512xf32>
    %r = linalg.exp ins(%u : tensor<?x512xf32>) outs(%o : tensor<?x512xf32>) -> tensor<?x512xf32>
    return %r : tensor<?x512xf32>
  }
}

// -----

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

// -----

#id = affine_map<(i, j, n, k) -> (i, j, k)>
#b = affine_map<(i, j, n, k) -> (k, n)>
#c = affine_map<(i, j, n, k) -> (i, j, n)>
// Two dynamic dims: what is computed into a slice of the destination still goes back by the very sizes it was taken with,
// else it would need a buffer of its own, and the plan's promise would not hold.
// CHECK-LABEL: func.func @two_dynamic_dims
// CHECK: scf.for {{.*}} iter_args(%[[OUT:.*]] = %{{.*}}) -> (tensor<?x?x32xf32>)
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %[[OUT]][%[[I:[^,]*]], 0, 0] [%[[C:[^,]*]], %[[M:[^,]*]], 32]
// CHECK: %[[Y:.*]] = snug_nn.contract {{.*}} outs(%[[SLICE]] :
// CHECK: tensor.insert_slice %[[Y]] into %[[OUT]][%[[I]], 0, 0] [%[[C]], %[[M]], 32]
module attributes {snug.dims = [{name = "n", min = 1 : i64, max = 64 : i64, step = 1 : i64}, {name = "m", min = 1 : i64, max = 16 : i64, step = 1 : i64}]} {
  func.func @two_dynamic_dims(%x: tensor<?x?x32xf32> {snug.dims = ["n", "m", "32"]}, %w0: tensor<32x512xf32>, %w1: tensor<512x32xf32>,
                              %o: tensor<?x?x32xf32> {snug.dims = ["n", "m", "32"], snug.output}) -> tensor<?x?x32xf32> {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %n = tensor.dim %x, %c0 : tensor<?x?x32xf32>
    %m = tensor.dim %x, %c1 : tensor<?x?x32xf32>
    %e0 = tensor.empty(%n, %m) : tensor<?x?x512xf32>
    %h = snug_nn.contract ins(%x, %w0 : tensor<?x?x32xf32>, tensor<32x512xf32>) outs(%e0 : tensor<?x?x512xf32>)
      attributes {indexing_maps = [#id, #b, #c], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32):
      snug_nn.yield %acc : f32
    } -> tensor<?x?x512xf32>
    %y = snug_nn.contract ins(%h, %w1 : tensor<?x?x512xf32>, tensor<512x32xf32>) outs(%o : tensor<?x?x32xf32>)
      attributes {indexing_maps = [#id, #b, #c], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32):
      snug_nn.yield %acc : f32
    } -> tensor<?x?x32xf32>
    return %y : tensor<?x?x32xf32>
  }
}
