// RUN: snug-opt %s -snug-overlap-collectives="pieces=2 limit=0" -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-overlap-collectives="pieces=2" -snug-plan-arena -snug-verify-plan -split-input-file | FileCheck %s --check-prefix=SOUND
// RUN: snug-opt %s -snug-overlap-collectives="links=1e15,1,1e15,1" -split-input-file | FileCheck %s --check-prefix=FAST
// RUN: snug-opt %s -snug-overlap-collectives="pieces=2 limit=640" -split-input-file | FileCheck %s --check-prefix=ROOM
// SOUND-COUNT-10: func.func
// FAST-NOT: snug_mesh.wait

// In place: the second half is computed while the first is sent.
// CHECK: snug.overlap = [{alone_ms = {{.*}}, collectives = [{axes = array<i64: 0>, kind = "all_reduce"}], hidden_ms = {{.*}}, kernels = ["proj"], ms = {{.*}}, pieces = 2 : i64}]
// CHECK-LABEL: func.func @in_place(
// CHECK: %[[X0:.*]] = memref.subview %{{.*}}[0, 0] [8, 4]
// CHECK: %[[Y0:.*]] = memref.subview %[[Y:.*]][0, 0] [8, 6]
// CHECK: snug_nn.contract ins(%[[X0]], %{{.*}}) outs(%[[Y0]]
// CHECK: snug_mesh.all_reduce sum start axes [0] ins(%[[Y0]] : {{.*}}) outs(%[[Y0]] :
// CHECK: %[[Y1:.*]] = memref.subview %[[Y]][8, 0] [8, 6]
// CHECK: snug_nn.contract {{.*}} outs(%[[Y1]]
// CHECK: snug_mesh.all_reduce sum start axes [0] ins(%[[Y1]] : {{.*}}) outs(%[[Y1]] :
// CHECK: snug_mesh.wait ins(%[[Y0]] : {{.*}}) outs(%[[Y0]] :
// CHECK: snug_mesh.wait ins(%[[Y1]] : {{.*}}) outs(%[[Y1]] :
// CHECK: linalg.exp
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @in_place(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %out: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %y = memref.alloc() : memref<16x6xf32>
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  } loc("proj")
  snug_mesh.all_reduce sum axes [0] ins(%y : memref<16x6xf32>) outs(%y : memref<16x6xf32>)
  linalg.exp ins(%y : memref<16x6xf32>) outs(%out : memref<16x6xf32>)
  return
}
}

// -----

// Open rows: pieces of ceil(rows / 2), the second of what is left.
// CHECK-LABEL: func.func @open(
// CHECK: %[[ROWS:.*]] = memref.dim %{{.*}}, %{{.*}} : memref<?x4xf32>
// CHECK: %[[EACH:.*]] = arith.ceildivsi %[[ROWS]], %{{.*}}
// CHECK: %[[FIRST:.*]] = arith.minsi %[[EACH]], %[[ROWS]]
// CHECK: %[[REST:.*]] = arith.subi %[[ROWS]], %[[FIRST]]
// CHECK: memref.subview %{{.*}}[0, 0] [%[[FIRST]], 4]
// CHECK: snug_mesh.all_reduce sum start
// CHECK: memref.subview %{{.*}}[%[[FIRST]], 0] [%[[REST]], 4]
// CHECK: snug_mesh.all_reduce sum start
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>, snug.dims = [{name = "n", min = 1 : i64, max = 64 : i64, step = 1 : i64}]} {
func.func @open(%x: memref<?x4xf32> {snug.dims = ["n", "4"]}, %w: memref<4x6xf32>, %out: memref<?x6xf32> {snug.output, snug.dims = ["n", "6"]}) attributes {snug.num_inputs = 2 : i64} {
  snug_nn.contract ins(%x, %w : memref<?x4xf32>, memref<4x6xf32>) outs(%out : memref<?x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  snug_mesh.all_reduce sum axes [0] ins(%out : memref<?x6xf32>) outs(%out : memref<?x6xf32>)
  return
}
}

// -----

// What is scattered is brought into order piece by piece, in buffers of its own, and both collectives run behind the kernel.
// CHECK-LABEL: func.func @two_collectives(
// CHECK: snug_nn.contract
// CHECK: %[[P0:.*]] = memref.alloc() : memref<2x8x3xf32>
// CHECK: linalg.generic {{.*}} outs(%[[P0]] : memref<2x8x3xf32>)
// CHECK: %[[Z0:.*]] = memref.subview %{{.*}}[0, 0] [8, 3]
// CHECK: snug_mesh.reduce_scatter sum start axes [0] ins(%[[P0]] : memref<2x8x3xf32>) outs(%[[Z0]]
// CHECK: snug_nn.contract
// CHECK: %[[P1:.*]] = memref.alloc() : memref<2x8x3xf32>
// CHECK: snug_mesh.reduce_scatter sum start axes [0] ins(%[[P1]] : memref<2x8x3xf32>)
// CHECK: snug_mesh.wait ins(%[[P0]] : {{.*}}) outs(%[[Z0]]
// CHECK: snug_mesh.all_reduce sum start axes [1] ins(%[[Z0]]
// CHECK: snug_mesh.wait ins(%[[P1]]
// CHECK: snug_mesh.all_reduce sum start axes [1]
// CHECK: snug_mesh.wait ins(%[[Z0]]
// CHECK: snug_mesh.wait
// CHECK-NOT: memref<2x16x3xf32>
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @two_collectives(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %out: memref<16x3xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %y = memref.alloc() : memref<16x6xf32>
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  %e = memref.expand_shape %y [[0], [1, 2]] output_shape [16, 2, 3] : memref<16x6xf32> into memref<16x2x3xf32>
  %p = memref.alloc() : memref<2x16x3xf32>
  linalg.generic {indexing_maps = [affine_map<(g, m, n) -> (m, g, n)>, affine_map<(g, m, n) -> (g, m, n)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%e : memref<16x2x3xf32>) outs(%p : memref<2x16x3xf32>) {
  ^bb0(%in: f32, %o: f32):
    linalg.yield %in : f32
  }
  snug_mesh.reduce_scatter sum axes [0] ins(%p : memref<2x16x3xf32>) outs(%out : memref<16x3xf32>)
  snug_mesh.all_reduce sum axes [1] ins(%out : memref<16x3xf32>) outs(%out : memref<16x3xf32>)
  return
}
}

// -----

// From a gather to a kernel: the second half comes while the first is computed.
// CHECK-LABEL: func.func @gather(
// CHECK: %[[G0:.*]] = memref.alloc() : memref<2x8x2xf32>
// CHECK: snug_mesh.all_gather start axes [0] {{.*}} outs(%[[G0]]
// CHECK: %[[G1:.*]] = memref.alloc() : memref<2x8x2xf32>
// CHECK: snug_mesh.all_gather start axes [0] {{.*}} outs(%[[G1]]
// CHECK: snug_mesh.wait {{.*}} outs(%[[G0]]
// CHECK: linalg.generic {{.*}} ins(%[[G0]]
// CHECK: snug_nn.contract
// CHECK: snug_mesh.wait {{.*}} outs(%[[G1]]
// CHECK: linalg.generic {{.*}} ins(%[[G1]]
// CHECK: snug_nn.contract
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @gather(%x: memref<16x2xf32>, %w: memref<4x6xf32>, %out: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %g = memref.alloc() : memref<2x16x2xf32>
  snug_mesh.all_gather axes [0] ins(%x : memref<16x2xf32>) outs(%g : memref<2x16x2xf32>)
  %t = memref.alloc() : memref<16x2x2xf32>
  linalg.generic {indexing_maps = [affine_map<(m, g, n) -> (g, m, n)>, affine_map<(m, g, n) -> (m, g, n)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : memref<2x16x2xf32>) outs(%t : memref<16x2x2xf32>) {
  ^bb0(%in: f32, %o: f32):
    linalg.yield %in : f32
  }
  %c = memref.collapse_shape %t [[0], [1, 2]] : memref<16x2x2xf32> into memref<16x4xf32>
  snug_nn.contract ins(%c, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%out : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  return
}
}

// -----

// Somebody looks at what was computed before it is sent: the chain stays as it is.
// CHECK-LABEL: func.func @looked_at(
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @looked_at(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %own: memref<16x6xf32> {snug.output}, %out: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%out : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  linalg.exp ins(%out : memref<16x6xf32>) outs(%own : memref<16x6xf32>)
  snug_mesh.all_reduce sum axes [0] ins(%out : memref<16x6xf32>) outs(%out : memref<16x6xf32>)
  return
}
}

// -----

// What is sent is one row of what is computed.
// CHECK-LABEL: func.func @no_rows(
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @no_rows(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %out: memref<6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %y = memref.alloc() : memref<16x6xf32>
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  %s = memref.subview %y[3, 0] [1, 6] [1, 1] : memref<16x6xf32> to memref<6xf32, strided<[1], offset: 18>>
  snug_mesh.all_reduce sum axes [0] ins(%s : memref<6xf32, strided<[1], offset: 18>>) outs(%out : memref<6xf32>)
  return
}
}

// -----

// Where the result would have to be there while the kernel's operand still is, and that is the most that is live, nothing is done
// unless that much is allowed.
// ROOM-LABEL: func.func @costs_memory(
// ROOM: snug_mesh.wait
// CHECK-LABEL: func.func @costs_memory(
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @costs_memory(%x: memref<16x4xf32>, %w: memref<4x4xf32>, %out: memref<16x4xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %a = memref.alloc() : memref<16x4xf32>
  linalg.exp ins(%x : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  %y = memref.alloc() : memref<16x4xf32>
  snug_nn.contract ins(%a, %w : memref<16x4xf32>, memref<4x4xf32>) outs(%y : memref<16x4xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  %r = memref.alloc() : memref<16x4xf32>
  snug_mesh.all_reduce sum axes [0] ins(%y : memref<16x4xf32>) outs(%r : memref<16x4xf32>)
  linalg.exp ins(%r : memref<16x4xf32>) outs(%out : memref<16x4xf32>)
  return
}
}

// -----

// In a loop, each iteration by itself.
// CHECK-LABEL: func.func @in_a_loop(
// CHECK: scf.for
// CHECK: snug_mesh.all_reduce sum start
// CHECK: snug_mesh.all_reduce sum start
// CHECK: snug_mesh.wait
// CHECK: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @in_a_loop(%x: memref<64x4xf32>, %w: memref<4x6xf32>, %out: memref<64x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  scf.for %i = %c0 to %c64 step %c16 {
    %a = memref.subview %x[%i, 0] [16, 4] [1, 1] : memref<64x4xf32> to memref<16x4xf32, strided<[4, 1], offset: ?>>
    %y = memref.alloc() : memref<16x6xf32>
    snug_nn.contract ins(%a, %w : memref<16x4xf32, strided<[4, 1], offset: ?>>, memref<4x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
    ^bb0(%v: f32):
      snug_nn.yield %v : f32
    }
    snug_mesh.all_reduce sum axes [0] ins(%y : memref<16x6xf32>) outs(%y : memref<16x6xf32>)
    %o = memref.subview %out[%i, 0] [16, 6] [1, 1] : memref<64x6xf32> to memref<16x6xf32, strided<[6, 1], offset: ?>>
    linalg.exp ins(%y : memref<16x6xf32>) outs(%o : memref<16x6xf32, strided<[6, 1], offset: ?>>)
  }
  return
}
}

// -----

// The kernel's operand becomes something else before the sum is sent.
// CHECK-LABEL: func.func @overwritten(
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @overwritten(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %own: memref<16x4xf32> {snug.output}, %out: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %a = memref.alloc() : memref<16x4xf32>
  linalg.exp ins(%x : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  snug_nn.contract ins(%a, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%out : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  linalg.abs ins(%x : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  linalg.exp ins(%a : memref<16x4xf32>) outs(%own : memref<16x4xf32>)
  snug_mesh.all_reduce sum axes [0] ins(%out : memref<16x6xf32>) outs(%out : memref<16x6xf32>)
  return
}
}

// -----

// What depends on the number of a row still does.
// CHECK-LABEL: func.func @knows_its_row(
// CHECK: linalg.generic
// CHECK: snug_mesh.all_reduce sum start
// CHECK: %[[EIGHT:.*]] = arith.constant 8 : index
// CHECK: linalg.generic
// CHECK: %[[ROW:.*]] = linalg.index 0
// CHECK: arith.addi %[[ROW]], %[[EIGHT]]
// CHECK: snug_mesh.all_reduce sum start
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @knows_its_row(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %out: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %y = memref.alloc() : memref<16x6xf32>
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  linalg.generic {indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]} ins(%y : memref<16x6xf32>) outs(%out : memref<16x6xf32>) {
  ^bb0(%in: f32, %o: f32):
    %row = linalg.index 0 : index
    %i = arith.index_cast %row : index to i64
    %f = arith.sitofp %i : i64 to f32
    %s = arith.addf %in, %f : f32
    linalg.yield %s : f32
  }
  snug_mesh.all_reduce sum axes [0] ins(%out : memref<16x6xf32>) outs(%out : memref<16x6xf32>)
  return
}
}
