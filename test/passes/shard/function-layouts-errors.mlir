// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-select-layouts='mesh=4,1'

// expected-error @+1 {{a tensor 'tensor<6x16xf32>' cannot lie as array<i64: 0, -1> says on 4x1 devices: the 6 of dim 0 do not divide by 4}}
func.func @uneven(%x: tensor<6x16xf32> {snug.pin = array<i64: 0, -1>}) -> tensor<6x16xf32> {
  return %x : tensor<6x16xf32>
}

// -----

// expected-error @+1 {{dim 1 is open, and only dims of one extent are cut}}
func.func @open(%x: tensor<8x?xf32>) -> (tensor<8x?xf32> {snug.pin = array<i64: 1, -1>}) {
  return %x : tensor<8x?xf32>
}

// -----

// expected-error @+1 {{it has no dim 2}}
func.func @no_such_dim(%x: tensor<8x4xf32> {snug.pin = array<i64: 2, -1>}) {
  return
}

// -----

// expected-error @+1 {{it is no array of two dims, as array<i64: 1, -1>}}
func.func @no_layout(%x: tensor<8x4xf32> {snug.pin = array<i64: 1>}) {
  return
}
