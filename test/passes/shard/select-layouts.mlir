// RUN: snug-opt %s -split-input-file -snug-select-layouts="mesh=4,1" | FileCheck %s -enable-var-scope
// RUN: snug-opt %s -split-input-file -snug-select-layouts="mesh=4,1" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=LOCAL -enable-var-scope

// The first product's columns and the second one's rows: one all-reduce (Shoeybi et al., arXiv 1909.08053).
// CHECK: module attributes {snug.mesh = array<i64: 4, 1>}
// CHECK-LABEL: func.func @mlp
// CHECK: linalg.matmul {snug.cuts = [{axis = 0 : i64, dim = 1 : i64, segments = array<i64: 4096>}]}
// CHECK: linalg.exp {snug.cuts = [{axis = 0 : i64, dim = 1 : i64, segments = array<i64: 4096>}]}
// CHECK: linalg.matmul {snug.cuts = [{axis = 0 : i64, dim = 2 : i64, segments = array<i64: 4096>}]}
// LOCAL-LABEL: func.func @mlp
// LOCAL: %[[W1:.*]] = snug_nn.weight @w1 recipe [#snug_nn.shard<1, 0, [4096]>] : tensor<1024x1024xf32>
// LOCAL: %[[H:.*]] = linalg.matmul ins(%{{.*}}, %[[W1]] : tensor<64x1024xf32>, tensor<1024x1024xf32>) outs(%{{.*}} : tensor<64x1024xf32>)
// LOCAL-NOT: snug_mesh
// LOCAL: %[[A:.*]] = linalg.exp ins(%[[H]] : tensor<64x1024xf32>)
// LOCAL-NOT: snug_mesh
// LOCAL: %[[W2:.*]] = snug_nn.weight @w2 recipe [#snug_nn.shard<0, 0, [4096]>] : tensor<1024x1024xf32>
// LOCAL: %[[P:.*]] = linalg.matmul ins(%[[A]], %[[W2]] : tensor<64x1024xf32>, tensor<1024x1024xf32>) outs(%{{.*}} : tensor<64x1024xf32>)
// LOCAL: %[[Y:.*]] = snug_mesh.all_reduce sum axes [0] ins(%[[P]] : tensor<64x1024xf32>)
// LOCAL: return %[[Y]] : tensor<64x1024xf32>
module {
  snug_nn.data @w1 : tensor<1024x4096xf32> {file = "w", offset = 0 : i64, length = 16777216 : i64}
  snug_nn.data @w2 : tensor<4096x1024xf32> {file = "w", offset = 16777216 : i64, length = 16777216 : i64}
  func.func @mlp(%x: tensor<64x1024xf32>) -> tensor<64x1024xf32> {
    %w1 = snug_nn.weight @w1 : tensor<1024x4096xf32>
    %w2 = snug_nn.weight @w2 : tensor<4096x1024xf32>
    %zero = arith.constant 0.0 : f32
    %e1 = tensor.empty() : tensor<64x4096xf32>
    %i1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %h = linalg.matmul ins(%x, %w1 : tensor<64x1024xf32>, tensor<1024x4096xf32>) outs(%i1 : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %e2 = tensor.empty() : tensor<64x4096xf32>
    %a = linalg.exp ins(%h : tensor<64x4096xf32>) outs(%e2 : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %e3 = tensor.empty() : tensor<64x1024xf32>
    %i3 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<64x1024xf32>) -> tensor<64x1024xf32>
    %y = linalg.matmul ins(%a, %w2 : tensor<64x4096xf32>, tensor<4096x1024xf32>) outs(%i3 : tensor<64x1024xf32>) -> tensor<64x1024xf32>
    return %y : tensor<64x1024xf32>
  }
}

// -----

// Two products whose sums are added to each other and to a vector: summands all the way, which one all-reduce completes. The vector
// is added by the first device; what is whole already, by all, when the sum is.
// CHECK-LABEL: func.func @branches
// CHECK: linalg.exp
// CHECK-COUNT-2: linalg.matmul {snug.cuts = [{axis = 0 : i64, dim = 2 : i64, segments = array<i64: 4096>}]}
// CHECK: linalg.generic {{.*}} attrs = {snug.cuts = [{axis = 0 : i64, dim = 2 : i64, segments = array<i64>}]}
// CHECK: linalg.add {snug.cuts = [{axis = 0 : i64, dim = 2 : i64, segments = array<i64>}]}
// LOCAL-LABEL: func.func @branches
// LOCAL: %[[B:.*]] = snug_nn.weight @b : tensor<256xf32>
// LOCAL: %[[PLACE:.*]] = snug_mesh.index 0
// LOCAL: linalg.generic {{.*}} ins(%[[B]] : tensor<256xf32>)
// LOCAL: %[[IS:.*]] = arith.cmpi eq, %[[PLACE]], %{{.*}} : index
// LOCAL: arith.select %[[IS]], %{{.*}}, %{{.*}} : f32
// LOCAL-NOT: snug_mesh
// LOCAL: %[[S:.*]] = linalg.add
// LOCAL: %[[Y:.*]] = snug_mesh.all_reduce sum axes [0] ins(%[[S]] : tensor<16x256xf32>)
// LOCAL: linalg.add ins(%[[Y]], %{{.*}} : tensor<16x256xf32>, tensor<16x256xf32>)
// LOCAL-NOT: snug_mesh
// LOCAL: return
module {
  snug_nn.data @w0 : tensor<256x4096xf32> {file = "w", offset = 33558528 : i64, length = 4194304 : i64}
  snug_nn.data @w1 : tensor<4096x256xf32> {file = "w", offset = 0 : i64, length = 4194304 : i64}
  snug_nn.data @w2 : tensor<4096x256xf32> {file = "w", offset = 4194304 : i64, length = 4194304 : i64}
  snug_nn.data @b : tensor<256xf32> {file = "w", offset = 33554432 : i64, length = 1024 : i64}
  func.func @branches(%x: tensor<16x256xf32>) -> tensor<16x256xf32> {
    %w1 = snug_nn.weight @w1 : tensor<4096x256xf32>
    %w2 = snug_nn.weight @w2 : tensor<4096x256xf32>
    %b = snug_nn.weight @b : tensor<256xf32>
    %zero = arith.constant 0.0 : f32
    %w0 = snug_nn.weight @w0 : tensor<256x4096xf32>
    %wide = tensor.empty() : tensor<16x4096xf32>
    %none = linalg.fill ins(%zero : f32) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %up = linalg.matmul ins(%x, %w0 : tensor<16x256xf32>, tensor<256x4096xf32>) outs(%none : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %h = linalg.exp ins(%up : tensor<16x4096xf32>) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %e = tensor.empty() : tensor<16x256xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %p = linalg.matmul ins(%h, %w1 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %q = linalg.matmul ins(%h, %w2 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %r = linalg.generic {indexing_maps = [affine_map<(s, d) -> (s, d)>, affine_map<(s, d) -> (d)>, affine_map<(s, d) -> (s, d)>],
                         iterator_types = ["parallel", "parallel"]}
        ins(%q, %b : tensor<16x256xf32>, tensor<256xf32>) outs(%e : tensor<16x256xf32>) {
    ^bb0(%one: f32, %two: f32, %o: f32):
      %n = arith.negf %one : f32
      %s = arith.subf %n, %two : f32
      linalg.yield %s : f32
    } -> tensor<16x256xf32>
    %sum = linalg.add ins(%p, %r : tensor<16x256xf32>, tensor<16x256xf32>) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %y = linalg.add ins(%sum, %x : tensor<16x256xf32>, tensor<16x256xf32>) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    return %y : tensor<16x256xf32>
  }
}

// -----

// What is no sum of what its operands' summands give: the all-reduce stands before it.
// LOCAL-LABEL: func.func @not_linear
// LOCAL-COUNT-2: linalg.matmul
// LOCAL: snug_mesh.{{all_reduce|reduce_scatter}}
// LOCAL: linalg.exp
// LOCAL: linalg.matmul
// LOCAL: snug_mesh.{{all_reduce|reduce_scatter}}
// LOCAL: linalg.mul
module {
  snug_nn.data @w0 : tensor<256x4096xf32> {file = "w", offset = 33558528 : i64, length = 4194304 : i64}
  snug_nn.data @w1 : tensor<4096x256xf32> {file = "w", offset = 0 : i64, length = 4194304 : i64}
  snug_nn.data @w2 : tensor<4096x256xf32> {file = "w", offset = 4194304 : i64, length = 4194304 : i64}
  func.func @not_linear(%x: tensor<16x256xf32>) -> tensor<16x256xf32> {
    %w1 = snug_nn.weight @w1 : tensor<4096x256xf32>
    %w2 = snug_nn.weight @w2 : tensor<4096x256xf32>
    %zero = arith.constant 0.0 : f32
    %w0 = snug_nn.weight @w0 : tensor<256x4096xf32>
    %wide = tensor.empty() : tensor<16x4096xf32>
    %none = linalg.fill ins(%zero : f32) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %up = linalg.matmul ins(%x, %w0 : tensor<16x256xf32>, tensor<256x4096xf32>) outs(%none : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %h = linalg.exp ins(%up : tensor<16x4096xf32>) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %e = tensor.empty() : tensor<16x256xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %p = linalg.matmul ins(%h, %w1 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %q = linalg.exp ins(%p : tensor<16x256xf32>) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %r = linalg.matmul ins(%h, %w2 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %y = linalg.mul ins(%q, %r : tensor<16x256xf32>, tensor<16x256xf32>) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    return %y : tensor<16x256xf32>
  }
}

// -----

// Rows that are summed up are summands still, and fewer to send, but where the sum begins with something, which would count for
// each device.
// LOCAL-LABEL: func.func @begins_with_nothing
// LOCAL: linalg.reduce
// LOCAL: snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<256xf32>)
module {
  snug_nn.data @w0 : tensor<256x4096xf32> {file = "w", offset = 0 : i64, length = 4194304 : i64}
  snug_nn.data @w1 : tensor<4096x256xf32> {file = "w", offset = 4194304 : i64, length = 4194304 : i64}
  func.func @begins_with_nothing(%x: tensor<16x256xf32>) -> tensor<256xf32> {
    %w0 = snug_nn.weight @w0 : tensor<256x4096xf32>
    %w1 = snug_nn.weight @w1 : tensor<4096x256xf32>
    %zero = arith.constant 0.0 : f32
    %first = arith.constant 0.0 : f32
    %wide = tensor.empty() : tensor<16x4096xf32>
    %none = linalg.fill ins(%zero : f32) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %up = linalg.matmul ins(%x, %w0 : tensor<16x256xf32>, tensor<256x4096xf32>) outs(%none : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %h = linalg.exp ins(%up : tensor<16x4096xf32>) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %e = tensor.empty() : tensor<16x256xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %p = linalg.matmul ins(%h, %w1 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %e2 = tensor.empty() : tensor<256xf32>
    %i2 = linalg.fill ins(%first : f32) outs(%e2 : tensor<256xf32>) -> tensor<256xf32>
    %y = linalg.reduce ins(%p : tensor<16x256xf32>) outs(%i2 : tensor<256xf32>) dimensions = [0]
        (%a: f32, %b: f32) {
          %c = arith.addf %a, %b : f32
          linalg.yield %c : f32
        }
    return %y : tensor<256xf32>
  }
}

// -----

// LOCAL-LABEL: func.func @begins_with_one
// LOCAL: snug_mesh
// LOCAL: linalg.reduce
module {
  snug_nn.data @w0 : tensor<256x4096xf32> {file = "w", offset = 0 : i64, length = 4194304 : i64}
  snug_nn.data @w1 : tensor<4096x256xf32> {file = "w", offset = 4194304 : i64, length = 4194304 : i64}
  func.func @begins_with_one(%x: tensor<16x256xf32>) -> tensor<256xf32> {
    %w0 = snug_nn.weight @w0 : tensor<256x4096xf32>
    %w1 = snug_nn.weight @w1 : tensor<4096x256xf32>
    %zero = arith.constant 0.0 : f32
    %first = arith.constant 1.0 : f32
    %wide = tensor.empty() : tensor<16x4096xf32>
    %none = linalg.fill ins(%zero : f32) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %up = linalg.matmul ins(%x, %w0 : tensor<16x256xf32>, tensor<256x4096xf32>) outs(%none : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %h = linalg.exp ins(%up : tensor<16x4096xf32>) outs(%wide : tensor<16x4096xf32>) -> tensor<16x4096xf32>
    %e = tensor.empty() : tensor<16x256xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<16x256xf32>) -> tensor<16x256xf32>
    %p = linalg.matmul ins(%h, %w1 : tensor<16x4096xf32>, tensor<4096x256xf32>) outs(%i : tensor<16x256xf32>) -> tensor<16x256xf32>
    %e2 = tensor.empty() : tensor<256xf32>
    %i2 = linalg.fill ins(%first : f32) outs(%e2 : tensor<256xf32>) -> tensor<256xf32>
    %y = linalg.reduce ins(%p : tensor<16x256xf32>) outs(%i2 : tensor<256xf32>) dimensions = [0]
        (%a: f32, %b: f32) {
          %c = arith.addf %a, %b : f32
          linalg.yield %c : f32
        }
    return %y : tensor<256xf32>
  }
}

// -----

// Queries, keys and values in one matrix: each device has some heads of each, so the matrix is cut in three segments.
// LOCAL-LABEL: func.func @qkv
// LOCAL: snug_nn.weight @w recipe [#snug_nn.shard<1, 0, [1024, 1024, 1024]>] : tensor<1024x768xf32>
// LOCAL: tensor.extract_slice %{{.*}}[0, 0] [64, 256] [1, 1] : tensor<64x768xf32> to tensor<64x256xf32>
// LOCAL: tensor.extract_slice %{{.*}}[0, 256] [64, 256] [1, 1] : tensor<64x768xf32> to tensor<64x256xf32>
// LOCAL: tensor.expand_shape %{{.*}} {{\[\[}}0], [1, 2]] output_shape [64, 4, 64] : tensor<64x256xf32> into tensor<64x4x64xf32>
// LOCAL: linalg.generic {{.*}} ins(%{{.*}}, %{{.*}} : tensor<64x4x64xf32>, tensor<64x4x64xf32>) outs(%{{.*}} : tensor<4x64x64xf32>)
// LOCAL: snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<4x64x64xf32>) outs(%{{.*}} : tensor<4x4x64x64xf32>)
module {
  snug_nn.data @w : tensor<1024x3072xf32> {file = "w", offset = 0 : i64, length = 12582912 : i64}
  func.func @qkv(%x: tensor<64x1024xf32>) -> tensor<16x64x64xf32> {
    %w = snug_nn.weight @w : tensor<1024x3072xf32>
    %zero = arith.constant 0.0 : f32
    %e1 = tensor.empty() : tensor<64x3072xf32>
    %i1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<64x3072xf32>) -> tensor<64x3072xf32>
    %qkv = linalg.matmul ins(%x, %w : tensor<64x1024xf32>, tensor<1024x3072xf32>) outs(%i1 : tensor<64x3072xf32>) -> tensor<64x3072xf32>
    %q0 = tensor.extract_slice %qkv[0, 0] [64, 1024] [1, 1] : tensor<64x3072xf32> to tensor<64x1024xf32>
    %k0 = tensor.extract_slice %qkv[0, 1024] [64, 1024] [1, 1] : tensor<64x3072xf32> to tensor<64x1024xf32>
    %q = tensor.expand_shape %q0 [[0], [1, 2]] output_shape [64, 16, 64] : tensor<64x1024xf32> into tensor<64x16x64xf32>
    %k = tensor.expand_shape %k0 [[0], [1, 2]] output_shape [64, 16, 64] : tensor<64x1024xf32> into tensor<64x16x64xf32>
    %e2 = tensor.empty() : tensor<16x64x64xf32>
    %i2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<16x64x64xf32>) -> tensor<16x64x64xf32>
    %s = linalg.generic {indexing_maps = [affine_map<(h, s, t, d) -> (s, h, d)>, affine_map<(h, s, t, d) -> (t, h, d)>, affine_map<(h, s, t, d) -> (h, s, t)>],
                         iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
        ins(%q, %k : tensor<64x16x64xf32>, tensor<64x16x64xf32>) outs(%i2 : tensor<16x64x64xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %m = arith.mulf %a, %b : f32
      %n = arith.addf %c, %m : f32
      linalg.yield %n : f32
    } -> tensor<16x64x64xf32>
    return %s : tensor<16x64x64xf32>
  }
}
