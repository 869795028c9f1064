// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-select-layouts

// expected-error @+1 {{a mesh has one or two axes, of a number of devices that is known}}
shard.grid @grid(shape = 2x2x2)

// -----

// expected-error @+1 {{a mesh has one or two axes, of a number of devices that is known}}
shard.grid @grid(shape = 2x?)

// -----

shard.grid @grid(shape = 2x2)
// expected-error @+1 {{is another mesh than the grid before it; a program is cut for one}}
shard.grid @other(shape = 4)

// -----

shard.grid @grid(shape = 2x2)
func.func @halo(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %s = shard.sharding @grid split_axes = [[0]] halo_sizes = [1, 1] : !shard.sharding
  // expected-error @+1 {{parts with halos are not supported}}
  %a = shard.shard %x to %s : tensor<8x8xf32>
  return %a : tensor<8x8xf32>
}

// -----

shard.grid @grid(shape = 2)
func.func @sizes(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %s = shard.sharding @grid split_axes = [[0]] sharded_dims_offsets = [0, 2, 8] : !shard.sharding
  // expected-error @+1 {{parts of given sizes are not supported: all devices have equal ones}}
  %a = shard.shard %x to %s : tensor<8x8xf32>
  return %a : tensor<8x8xf32>
}

// -----

shard.grid @grid(shape = 2x2)
func.func @order(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %s = shard.sharding @grid split_axes = [[1, 0]] : !shard.sharding
  // expected-error @+1 {{dim 0 is cut along axis 1 first, and then along axis 0; only the other order is supported}}
  %a = shard.shard %x to %s : tensor<8x8xf32>
  return %a : tensor<8x8xf32>
}

// -----

// expected-error @+1 {{'argument 0' of shape 7x8 cannot be in parts of dim 0 along axis 0 on 2x1 devices: the 7 of dim 0 do not divide by 2}}
module {
  shard.grid @grid(shape = 2)
  func.func @uneven(%x: tensor<7x8xf32>) -> tensor<7x8xf32> {
    %s = shard.sharding @grid split_axes = [[0]] : !shard.sharding
    %a = shard.shard %x to %s : tensor<7x8xf32>
    return %a : tensor<7x8xf32>
  }
}

// -----

shard.grid @grid(shape = 2)
func.func @others(%x: tensor<8x8xf32>) -> index {
  // expected-error @+1 {{'shard.process_linear_index' is not understood: only shard.grid, shard.sharding and shard.shard are}}
  %i = shard.process_linear_index on @grid : index
  return %i : index
}
