// RUN: snug-opt %s -snug-overlap-collectives -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-overlap-collectives -snug-plan-arena -snug-verify-plan -split-input-file | FileCheck %s --check-prefix=SOUND
// SOUND-COUNT-3: func.func

#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>

// What goes round is sent beside the kernel that does without it: the last one before what came is read, wherever the shift stood.
// CHECK-LABEL: func.func @ring(
// CHECK: linalg.exp {{.*}} outs(%[[A:.*]] :
// CHECK: %[[B:.*]] = memref.alloc
// CHECK: snug_mesh.shift start axes [0] ins(%[[A]] : {{.*}}) outs(%[[B]] :
// CHECK-NEXT: snug_nn.contract ins(%[[A]],
// CHECK: snug_mesh.wait ins(%[[A]] : {{.*}}) outs(%[[B]] :
// CHECK-NEXT: snug_mesh.shift start axes [0] ins(%[[B]] : {{.*}}) outs(%[[C:.*]] :
// CHECK-NEXT: snug_nn.contract ins(%[[B]],
// CHECK: snug_mesh.wait ins(%[[B]] : {{.*}}) outs(%[[C]] :
// CHECK-NEXT: linalg.exp ins(%[[C]] :
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @ring(%x: memref<16x4xf32>, %w: memref<4x6xf32>, %out: memref<16x6xf32> {snug.output}, %out2: memref<16x6xf32> {snug.output},
                %out3: memref<16x4xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %a = memref.alloc() : memref<16x4xf32>
  linalg.exp ins(%x : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  snug_nn.contract ins(%a, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%out : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  %b = memref.alloc() : memref<16x4xf32>
  snug_mesh.shift axes [0] ins(%a : memref<16x4xf32>) outs(%b : memref<16x4xf32>)
  %c = memref.alloc() : memref<16x4xf32>
  snug_mesh.shift axes [0] ins(%b : memref<16x4xf32>) outs(%c : memref<16x4xf32>)
  snug_nn.contract ins(%b, %w : memref<16x4xf32>, memref<4x6xf32>) outs(%out2 : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  linalg.exp ins(%c : memref<16x4xf32>) outs(%out3 : memref<16x4xf32>)
  return
}
}

// -----

// No kernel does without it: what is sent is made by the one before, and what comes is read by the one behind.
// CHECK-LABEL: func.func @between(
// CHECK: snug_mesh.shift axes [0]
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @between(%x: memref<16x4xf32>, %w: memref<4x4xf32>, %out: memref<16x4xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %a = memref.alloc() : memref<16x4xf32>
  snug_nn.contract ins(%x, %w : memref<16x4xf32>, memref<4x4xf32>) outs(%a : memref<16x4xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  %b = memref.alloc() : memref<16x4xf32>
  snug_mesh.shift axes [0] ins(%a : memref<16x4xf32>) outs(%b : memref<16x4xf32>)
  snug_nn.contract ins(%b, %w : memref<16x4xf32>, memref<4x4xf32>) outs(%out : memref<16x4xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  return
}
}

// -----

// What was sent is written over behind the kernel: it is waited for before that.
// CHECK-LABEL: func.func @written_over(
// CHECK: snug_mesh.shift start axes [0] ins(%[[A:.*]] : {{.*}}) outs(%[[B:.*]] :
// CHECK-NEXT: snug_nn.contract
// CHECK: snug_mesh.wait ins(%[[A]] : {{.*}}) outs(%[[B]] :
// CHECK-NEXT: linalg.exp ins(%{{.*}} outs(%[[A]] :
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @written_over(%x: memref<16x4xf32>, %w: memref<4x4xf32>, %out: memref<16x4xf32> {snug.output}, %out2: memref<16x4xf32> {snug.output},
                        %out3: memref<16x4xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  %a = memref.alloc() : memref<16x4xf32>
  linalg.exp ins(%x : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  %b = memref.alloc() : memref<16x4xf32>
  snug_mesh.shift axes [0] ins(%a : memref<16x4xf32>) outs(%b : memref<16x4xf32>)
  snug_nn.contract ins(%a, %w : memref<16x4xf32>, memref<4x4xf32>) outs(%out : memref<16x4xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  linalg.exp ins(%out : memref<16x4xf32>) outs(%a : memref<16x4xf32>)
  linalg.tanh ins(%a : memref<16x4xf32>) outs(%out2 : memref<16x4xf32>)
  linalg.tanh ins(%b : memref<16x4xf32>) outs(%out3 : memref<16x4xf32>)
  return
}
}
