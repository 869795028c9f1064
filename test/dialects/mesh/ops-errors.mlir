// RUN: snug-opt %s -verify-diagnostics -split-input-file

// A program for one device has no collectives.
func.func @no_mesh(%x: tensor<4xf32>, %e: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{stands in a program for one device: its module has no snug.mesh = array<i64: d1, d2>}}
  %r = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}

// -----

module attributes {snug.mesh = array<i64: 2, 0>} {
func.func @empty_mesh() -> index {
  // expected-error @+1 {{stands in a module whose snug.mesh is not array<i64: d1, d2>, two numbers of devices from 1 on}}
  %r = snug_mesh.index 0
  return %r : index
}
}

// -----

module attributes {snug.mesh = [2, 2]} {
func.func @other_mesh() -> index {
  // expected-error @+1 {{stands in a module whose snug.mesh is not array<i64: d1, d2>}}
  %r = snug_mesh.index 0
  return %r : index
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @third_axis() -> index {
  // expected-error @+1 {{asks for the place along axis 2, a mesh has axes 0 and 1}}
  %r = snug_mesh.index 2
  return %r : index
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @falling_axes(%x: tensor<4xf32>, %e: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{goes along axes [1, 0], wants [0], [1] or [0, 1]}}
  %r = snug_mesh.all_reduce sum axes [1, 0] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 2>} {
func.func @no_axes(%x: tensor<4xf32>, %e: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{goes along axes [], wants [0], [1] or [0, 1]}}
  %r = snug_mesh.all_reduce sum axes [] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
}

// -----

// The group's dim has as many elements as the group devices.
module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @wrong_group(%x: tensor<2x4xf32>, %e: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{of 6 devices does not make 'tensor<4xf32>' of 'tensor<2x4xf32>'}}
  %r = snug_mesh.reduce_scatter sum axes [0, 1] ins(%x : tensor<2x4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @group_behind(%x: tensor<4xf32>, %e: tensor<4x2xf32>) -> tensor<4x2xf32> {
  // expected-error @+1 {{of 2 devices does not make 'tensor<4x2xf32>' of 'tensor<4xf32>'}}
  %r = snug_mesh.all_gather axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<4x2xf32>) -> tensor<4x2xf32>
  return %r : tensor<4x2xf32>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @open_group(%x: tensor<?x4xf32>, %e: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{of 2 devices does not make 'tensor<?x4xf32>' of 'tensor<?x4xf32>'}}
  %r = snug_mesh.all_to_all axes [0] ins(%x : tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @other_size(%x: tensor<4xf32>, %e: tensor<5xf32>) -> tensor<5xf32> {
  // expected-error @+1 {{of 2 devices does not make 'tensor<5xf32>' of 'tensor<4xf32>'}}
  %r = snug_mesh.shift axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<5xf32>) -> tensor<5xf32>
  return %r : tensor<5xf32>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @other_type(%x: tensor<4xf32>, %e: tensor<4xf16>) -> tensor<4xf16> {
  // expected-error @+1 {{of 2 devices does not make 'tensor<4xf16>' of 'tensor<4xf32>'}}
  %r = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf16>) -> tensor<4xf16>
  return %r : tensor<4xf16>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @sum_of_bits(%x: tensor<4xi1>, %e: tensor<4xi1>) -> tensor<4xi1> {
  // expected-error @+1 {{combines elements of type 'i1', wants f16, bf16, f32, f64 or integers of 8, 16, 32 or 64 bits}}
  %r = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4xi1>) outs(%e : tensor<4xi1>) -> tensor<4xi1>
  return %r : tensor<4xi1>
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @scattered(%x: memref<4x8xf32, strided<[16, 1]>>, %e: memref<4x8xf32>) {
  // expected-error @+1 {{wants memory that is contiguous, operand 0 is 'memref<4x8xf32, strided<[16, 1]>>'}}
  snug_mesh.all_reduce sum axes [0] ins(%x : memref<4x8xf32, strided<[16, 1]>>) outs(%e : memref<4x8xf32>)
  return
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @starts_on_tensors(%x: tensor<4xf32>, %e: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{starts on tensors: what is in flight is memory}}
  %r = snug_mesh.all_reduce sum start axes [0] ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
}

// -----

// One that was started with other operands, one that is done already, and one that ended before.
module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @waits_for_nothing(%x: memref<4xf32>, %y: memref<4xf32>, %e: memref<4xf32>) {
  snug_mesh.all_reduce sum start axes [0] ins(%y : memref<4xf32>) outs(%e : memref<4xf32>)
  snug_mesh.all_reduce sum axes [0] ins(%x : memref<4xf32>) outs(%e : memref<4xf32>)
  // expected-error @+1 {{waits for a collective that was not started in its block with these operands}}
  snug_mesh.wait ins(%x : memref<4xf32>) outs(%e : memref<4xf32>)
  return
}
}

// -----

module attributes {snug.mesh = array<i64: 2, 3>} {
func.func @waits_twice(%x: memref<4xf32>, %e: memref<4xf32>) {
  snug_mesh.all_reduce sum start axes [0] ins(%x : memref<4xf32>) outs(%e : memref<4xf32>)
  snug_mesh.wait ins(%x : memref<4xf32>) outs(%e : memref<4xf32>)
  // expected-error @+1 {{waits for a collective that was not started in its block with these operands}}
  snug_mesh.wait ins(%x : memref<4xf32>) outs(%e : memref<4xf32>)
  return
}
}
