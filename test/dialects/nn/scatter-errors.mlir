// RUN: snug-opt %s -verify-diagnostics -split-input-file

func.func @scatter_indices(%i: tensor<5x3xi64>, %u: tensor<5x4xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{takes 1 indices an update from 'tensor<5x3xi64>'}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x3xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

func.func @scatter_index_map(%i: tensor<5x1xi64>, %u: tensor<5x4xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{index_map does not map the 2 dims of updates to all dims but the last of 'tensor<5x1xi64>'}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e, n)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

func.func @scatter_place(%i: tensor<5x1xi64>, %u: tensor<5x4xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{place of dim 0 is no dim of updates and no index of its own}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i + e, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

func.func @scatter_rank(%i: tensor<5x1xi64>, %u: tensor<5x4xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{place does not map the 2 dims of updates to the 2 of the destination}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

func.func @scatter_unused_index(%i: tensor<5x1xi64>, %u: tensor<5x4xf32>, %x: tensor<5x4xf32>) {
  // expected-error @+1 {{index 0 chooses along no dim}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<5x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (e, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<5x4xf32>
  return
}

// -----

func.func @scatter_uneven(%i: tensor<5x1xi64>, %u: tensor<5x4xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{uneven dim 0 is none that updates and the destination share}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x4xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>, uneven = array<i64: 0>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

func.func @scatter_extents(%i: tensor<5x1xi64>, %u: tensor<5x3xf32>, %x: tensor<6x4xf32>) {
  // expected-error @+1 {{scatters 'tensor<5x3xf32>' at 'tensor<5x1xi64>' into 'tensor<6x4xf32>'}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5x3xf32>) outs(%x : tensor<6x4xf32>)
      attributes {index_map = affine_map<(e, n) -> (e)>, place = affine_map<(e, n)[i] -> (i, n)>} {
  ^bb0(%old: f32, %new: f32):
    snug_nn.yield %new : f32
  } -> tensor<6x4xf32>
  return
}

// -----

// Narrow floats are combined in f32.
func.func @scatter_region(%i: tensor<5x1xi64>, %u: tensor<5xf16>, %x: tensor<6xf16>) {
  // expected-error @+1 {{has a region that does not make one 'f32' of two}}
  %r = snug_nn.scatter ins(%i, %u : tensor<5x1xi64>, tensor<5xf16>) outs(%x : tensor<6xf16>)
      attributes {index_map = affine_map<(e) -> (e)>, place = affine_map<(e)[i] -> (i)>} {
  ^bb0(%old: f16, %new: f16):
    snug_nn.yield %new : f16
  } -> tensor<6xf16>
  return
}
