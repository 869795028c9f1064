// RUN: snug-opt %s -snug-verify-plan -split-input-file -verify-diagnostics

module attributes {snug.arena_bytes = 128 : i64} {
  func.func @overlap(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %arena = snug_plan.arena align 64 : memref<128xi8>
    // expected-note @below {{the other value, bytes 0 to 64}}
    %a = memref.view %arena[%c0][] : memref<128xi8> to memref<16xf32>
    // expected-error @below {{the memory plan is wrong: bytes 0 to 64 hold another value at the same time}}
    %b = memref.view %arena[%c0][] : memref<128xi8> to memref<16xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    linalg.abs ins(%a : memref<16xf32>) outs(%b : memref<16xf32>)
    linalg.tanh ins(%b : memref<16xf32>) outs(%out : memref<16xf32>)
    return
  }
}

// -----

// %a is read in each iteration, so its last read in the text is not its last read.
module attributes {snug.arena_bytes = 64 : i64} {
  func.func @overlap_in_next_iteration(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %arena = snug_plan.arena align 64 : memref<64xi8>
    // expected-note @below {{the other value}}
    %a = memref.view %arena[%c0][] : memref<64xi8> to memref<16xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    scf.for %i = %c0 to %c4 step %c1 {
      linalg.abs ins(%a : memref<16xf32>) outs(%out : memref<16xf32>)
      // expected-error @below {{hold another value at the same time}}
      %b = memref.view %arena[%c0][] : memref<64xi8> to memref<16xf32>
      linalg.exp ins(%out : memref<16xf32>) outs(%b : memref<16xf32>)
      linalg.tanh ins(%b : memref<16xf32>) outs(%out : memref<16xf32>)
    }
    return
  }
}

// -----

module attributes {snug.arena_bytes = 128 : i64} {
  func.func @bounds_and_alignment() attributes {snug.num_inputs = 0 : i64} {
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %arena = snug_plan.arena align 64 : memref<128xi8>
    // expected-error @below {{offset 32 is no multiple of 64}}
    %a = memref.view %arena[%c32][] : memref<128xi8> to memref<16xf32>
    // expected-error @below {{bytes 64 to 132 are not in the arena of 128}}
    %b = memref.view %arena[%c64][] : memref<128xi8> to memref<17xf32>
    return
  }
}

// -----

module attributes {snug.arena_bytes = 64 : i64} {
  func.func @stated_bytes() attributes {snug.num_inputs = 0 : i64} {
    // expected-error @below {{the arena has 128 bytes, snug.arena_bytes says 64}}
    %arena = snug_plan.arena align 64 : memref<128xi8>
    return
  }
}

// -----

func.func @left_over(%x: memref<4xf32>, %out: memref<4xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
  // expected-error @below {{'memref.alloc' is left}}
  %a = memref.alloc() : memref<4xf32>
  // expected-error @below {{'memref.copy' is left}}
  memref.copy %x, %out : memref<4xf32> to memref<4xf32>
  // expected-error @below {{a tensor is left}}
  %t = tensor.empty() : tensor<4xf32>
  return
}

// -----

// A view whose size depends on a dim reaches as far as the dim's bound.
module attributes {snug.arena_bytes = 64 : i64, snug.dims = [{name = "n", min = 1 : i64, max = 17 : i64, step = 1 : i64}]} {
  func.func @dynamic(%x: memref<?xf32> {snug.dims = ["n"]}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %d = memref.dim %x, %c0 : memref<?xf32>
    %arena = snug_plan.arena align 64 : memref<64xi8>
    // expected-error @below {{bytes 0 to 68 are not in the arena of 64}}
    %a = memref.view %arena[%c0][%d] : memref<64xi8> to memref<?xf32>
    return
  }
}

// -----

// An input is the caller's: only one that was donated may be written to, in a loop or not.
module {
  func.func @writes_to_an_input(%x: memref<16xf32>, %y: memref<16xf32> {snug.donated}, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
    linalg.exp ins(%x : memref<16xf32>) outs(%y : memref<16xf32>)
    %half = memref.subview %x[0] [8] [1] : memref<16xf32> to memref<8xf32, strided<[1]>>
    // expected-error @below {{the memory plan is wrong: writes to argument 0, an input that is not donated}}
    linalg.exp ins(%half : memref<8xf32, strided<[1]>>) outs(%half : memref<8xf32, strided<[1]>>)
    linalg.tanh ins(%y : memref<16xf32>) outs(%out : memref<16xf32>)
    return
  }
}

// -----

// The plan of each bucket is checked with its own offsets, sizes and arena: here %b of up to 16 elements starts where %a
// does not yet end.
module attributes {snug.arena_bytes = 192 : i64, snug.dims = [{name = "n", min = 1 : i64, max = 32 : i64}],
                   snug.buckets = {bounds = [array<i64: 16, 32>], arenas = array<i64: 128, 192>}} {
  func.func @overlap_in_a_bucket(%x: memref<16xf32>, %y: memref<?xf32> {snug.dims = ["n"], snug.donated}, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
    %c0 = arith.constant 0 : index
    %n = memref.dim %y, %c0 : memref<?xf32>
    %arena = snug_plan.arena align 64 : memref<192xi8>
    // expected-note @below {{the other value, bytes 0 to 64}}
    %a = memref.view %arena[%c0][] : memref<192xi8> to memref<16xf32>
    %at = snug_plan.offset [0, 64]
    // expected-error @below {{the memory plan is wrong: bytes 0 to 64 hold another value at the same time}}
    %b = memref.view %arena[%at][%n] : memref<192xi8> to memref<?xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    linalg.exp ins(%y : memref<?xf32>) outs(%b : memref<?xf32>)
    linalg.exp ins(%a : memref<16xf32>) outs(%out : memref<16xf32>)
    linalg.abs ins(%b : memref<?xf32>) outs(%y : memref<?xf32>)
    return
  }
}

// -----

module attributes {snug.arena_bytes = 64 : i64, snug.dims = [{name = "n", min = 1 : i64, max = 32 : i64}],
                   snug.buckets = {bounds = [array<i64: 16, 32>], arenas = array<i64: 128, 64>}} {
  // expected-error @below {{the memory plan is wrong: bucket 0 needs more than bucket 1, which has larger dims}}
  func.func @not_monotone(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %arena = snug_plan.arena align 64 : memref<64xi8>
    %a = memref.view %arena[%c0][] : memref<64xi8> to memref<16xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    linalg.exp ins(%a : memref<16xf32>) outs(%out : memref<16xf32>)
    return
  }
}

// -----

// Halves of a tensor: one is written while the other is in flight, but not the one that is.
module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @touches_what_is_in_flight(%x: memref<8xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %first = memref.subview %out[0] [8] [1] : memref<16xf32> to memref<8xf32, strided<[1]>>
    %second = memref.subview %out[8] [8] [1] : memref<16xf32> to memref<8xf32, strided<[1], offset: 8>>
    linalg.exp ins(%x : memref<8xf32>) outs(%first : memref<8xf32, strided<[1]>>)
    // expected-note @below {{started here}}
    snug_mesh.all_reduce sum start axes [0] ins(%first : memref<8xf32, strided<[1]>>) outs(%first : memref<8xf32, strided<[1]>>)
    linalg.exp ins(%x : memref<8xf32>) outs(%second : memref<8xf32, strided<[1], offset: 8>>)
    // expected-error @below {{the memory plan is wrong: it touches what is in flight}}
    linalg.exp ins(%x : memref<8xf32>) outs(%first : memref<8xf32, strided<[1]>>)
    snug_mesh.wait ins(%first : memref<8xf32, strided<[1]>>) outs(%first : memref<8xf32, strided<[1]>>)
    linalg.exp ins(%x : memref<8xf32>) outs(%first : memref<8xf32, strided<[1]>>)
    return
  }
}

// -----

// What is sent may be read, but not written; what is received neither. Also in a body, and through a view.
module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @reads_and_writes(%x: memref<4x4xf32>, %in: memref<4x4xf32> {snug.output}, %out: memref<4x4xf32> {snug.output}, %other: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %flat = memref.collapse_shape %out [[0, 1]] : memref<4x4xf32> into memref<16xf32>
    linalg.exp ins(%x : memref<4x4xf32>) outs(%in : memref<4x4xf32>)
    // expected-note @below {{started here}}
    snug_mesh.all_reduce sum start axes [0] ins(%in : memref<4x4xf32>) outs(%out : memref<4x4xf32>)
    %sent = memref.collapse_shape %in [[0, 1]] : memref<4x4xf32> into memref<16xf32>
    linalg.abs ins(%sent : memref<16xf32>) outs(%other : memref<16xf32>)
    // expected-error @below {{it touches what is in flight}}
    linalg.abs ins(%x : memref<4x4xf32>) outs(%in : memref<4x4xf32>)
    // expected-error @below {{it touches what is in flight}}
    scf.for %i = %c0 to %c1 step %c1 {
      linalg.abs ins(%flat : memref<16xf32>) outs(%other : memref<16xf32>)
    }
    snug_mesh.wait ins(%in : memref<4x4xf32>) outs(%out : memref<4x4xf32>)
    return
  }
}

// -----

module attributes {snug.mesh = array<i64: 2, 1>} {
  func.func @nobody_waits(%out: memref<8xf32> {snug.output}) attributes {snug.num_inputs = 0 : i64} {
    // expected-error @below {{nobody waits for what is started here}}
    snug_mesh.all_reduce sum start axes [0] ins(%out : memref<8xf32>) outs(%out : memref<8xf32>)
    return
  }
}

// -----

// Libraries write to the last 256 bytes whenever they like.
module attributes {snug.arena_bytes = 512 : i64, snug.workspace_bytes = 256 : i64} {
  func.func @in_the_workspace() attributes {snug.num_inputs = 0 : i64} {
    %c192 = arith.constant 192 : index
    %arena = snug_plan.arena align 64 : memref<512xi8>
    // expected-error @below {{bytes 192 to 320 are not in the arena of 256}}
    %a = memref.view %arena[%c192][] : memref<512xi8> to memref<32xf32>
    return
  }
}

// -----

module attributes {snug.arena_bytes = 320 : i64, snug.workspace_bytes = 256 : i64} {
  func.func @no_place_for_a_workspace() attributes {snug.num_inputs = 0 : i64} {
    // expected-error @below {{the last 256 bytes of an arena of 320 cannot be a workspace}}
    %arena = snug_plan.arena align 64 : memref<320xi8>
    return
  }
}
