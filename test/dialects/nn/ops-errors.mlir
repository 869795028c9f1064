// RUN: snug-opt %s -verify-diagnostics -split-input-file

// Each operand has a map.
func.func @attention_maps(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{has 4 operands but 3 indexing maps}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// Rows, keys, head size and value size are iterated.
func.func @attention_dims(%q: tensor<4x8xf32>, %k: tensor<6x8xf32>, %v: tensor<6x8xf32>, %o: tensor<4x8xf32>) {
  // expected-error @+1 {{has 3 iteration dims, wants (batch..., s, t, d, e)}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<4x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>) outs(%o : tensor<4x8xf32>)
      attributes {indexing_maps = [affine_map<(s, t, d) -> (s, d)>, affine_map<(s, t, d) -> (t, d)>, affine_map<(s, t, d) -> (t, d)>, affine_map<(s, t, d) -> (s, d)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<4x8xf32>
  return
}

// -----

// A map has a result for each dim of its operand.
func.func @attention_rank(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{indexing map 1 does not map (batch..., s, t, d, e) to the operand's dims}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// Only batch dims are computed with.
func.func @attention_computed(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{indexing map 0 does not map (batch..., s, t, d, e) to the operand's dims}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s + 1, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// No other constant than 0.
func.func @attention_constant(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{indexing map 2 does not map (batch..., s, t, d, e) to the operand's dims}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, 1, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// Queries do not have the key dim.
func.func @attention_has(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{indexing map 0 has dim t}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (t, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// Values have the value size.
func.func @attention_lacks(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{indexing map 2 lacks dim e}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, 0)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// The destination has all batch dims.
func.func @attention_batch(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{batch dim 1 is not in the destination}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, 0, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// The score's block takes one scalar a score input.
func.func @attention_arguments(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %s: tensor<4x6xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{score block has 1 arguments, wants q k^T and one a score input}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) score(%s : tensor<4x6xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (s, t)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// And of its type.
func.func @attention_argument_type(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %s: tensor<4x6xi1>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{score block takes 'f32' of an input of 'tensor<4x6xi1>'}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) score(%s : tensor<4x6xi1>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (s, t)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32, %b: f32):
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// The score is one scalar of the destination's type.
func.func @attention_yield(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  // expected-error @+1 {{score block takes and yields one 'f32'}}
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk, %qk : f32, f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// A score has a place along batch dims, rows and keys.
func.func @index_dim(%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x6x8xf32>, %v: tensor<1x2x6x8xf32>, %o: tensor<1x2x4x8xf32>) {
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x2x4x8xf32>, tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%o : tensor<1x2x4x8xf32>)
      attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, d)>, affine_map<(b, h, s, t, d, e) -> (b, h, t, e)>, affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>]} {
  ^bb0(%qk: f32):
    // expected-error @+1 {{asks for dim 4, a score has 4}}
    %d = snug_nn.index 4
    snug_nn.yield %qk : f32
  } -> tensor<1x2x4x8xf32>
  return
}

// -----

// Each operand has a map.
func.func @contract_maps(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{has 3 operands but 2 indexing maps}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// Dims stand bare, but for what a convolution reads of its input.
func.func @contract_window(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{indexing map 1 is no projected permutation of 3 dims}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k + n, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// A map has a result for each dim of its operand.
func.func @contract_rank(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{indexing map 0 has 1 results for an operand of rank 2}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// A weight in panels has a dim more than its map.
func.func @contract_packed(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{indexing map 1 has 2 results for an operand of rank 1}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {packed, indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// Dims are parallel or summed.
func.func @contract_iterator(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{iterator type 'window' is neither parallel nor reduction}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "window"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// What is summed is not in the destination.
func.func @contract_reduction_in_result(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{dim 1 is reduction but in the destination's map}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "reduction", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// What is not summed is.
func.func @contract_parallel_not_in_result(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{dim 2 is parallel but not in the destination's map}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "parallel"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// There is something to sum.
func.func @contract_no_sum(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{has 0 reduction dims, wants at least one}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n) -> (m, 0)>, affine_map<(m, n) -> (0, n)>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// Each dim has an extent.
func.func @contract_no_extent(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{dim 3 is the extent of no operand}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k, r) -> (m + r, k)>, affine_map<(m, n, k, r) -> (k, n)>, affine_map<(m, n, k, r) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// A sum is made in f32, however narrow its factors are stored.
func.func @contract_sum(%a: tensor<4x8xf16>, %b: tensor<8x6xf16>, %o: tensor<4x6xf16>) {
  // expected-error @+1 {{epilogue takes a sum of type 'f16', which is made in 'f32'}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf16>, tensor<8x6xf16>) outs(%o : tensor<4x6xf16>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f16):
    snug_nn.yield %acc : f16
  } -> tensor<4x6xf16>
  return
}

// -----

// The epilogue's block takes one scalar an input.
func.func @contract_arguments(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %e: tensor<6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{epilogue block has 1 arguments, wants the sum and one an epilogue input}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) epilogue(%e : tensor<6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x6xf32>
  return
}

// -----

// And yields one.
func.func @contract_yield(%a: tensor<4x8xf32>, %b: tensor<8x6xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{epilogue yields one value}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8xf32>, tensor<8x6xf32>) outs(%o : tensor<4x6xf32>)
      attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc, %acc : f32, f32
  } -> tensor<4x6xf32>
  return
}

// -----

// A softmax's rows are written as they are read.
func.func @softmax_shape(%x: tensor<4x8xf32>, %o: tensor<4x6xf32>) {
  // expected-error @+1 {{writes rows of 'tensor<4x8xf32>' to 'tensor<4x6xf32>'}}
  %r = snug_nn.softmax ins(%x : tensor<4x8xf32>) outs(%o : tensor<4x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

// There is a row.
func.func @softmax_scalar(%x: tensor<f32>, %o: tensor<f32>) {
  // expected-error @+1 {{writes rows of 'tensor<f32>' to 'tensor<f32>'}}
  %r = snug_nn.softmax ins(%x : tensor<f32>) outs(%o : tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @norm_type(%x: tensor<?x8xf32>, %o: tensor<4x?xf64>) {
  // expected-error @+1 {{writes rows of 'tensor<?x8xf32>' to 'tensor<4x?xf64>'}}
  %r = snug_nn.norm layer ins(%x : tensor<?x8xf32>) outs(%o : tensor<4x?xf64>) {epsilon = 1.0e-5 : f32} -> tensor<4x?xf64>
  return
}

// -----

// Scale and shift are a row long.
func.func @norm_scale(%x: tensor<4x8xf32>, %w: tensor<4xf32>, %o: tensor<4x8xf32>) {
  // expected-error @+1 {{scales or shifts rows of 'tensor<4x8xf32>' by 'tensor<4xf32>'}}
  %r = snug_nn.norm rms ins(%x : tensor<4x8xf32>) scale(%w : tensor<4xf32>) outs(%o : tensor<4x8xf32>)
      {epsilon = 1.0e-5 : f32} -> tensor<4x8xf32>
  return
}

// -----

func.func @gather_axis(%x: tensor<9x8xf32>, %i: tensor<3xi64>, %o: tensor<9x8x3xf32>) {
  // expected-error @+1 {{gathers along dim 2 of 'tensor<9x8xf32>'}}
  %r = snug_nn.gather ins(%x, %i : tensor<9x8xf32>, tensor<3xi64>) outs(%o : tensor<9x8x3xf32>) axis = 2 -> tensor<9x8x3xf32>
  return
}

// -----

// Each index has a weight of its own, which elements can be multiplied by.
func.func @gather_weights(%x: tensor<9x8xf32>, %i: tensor<3x4xi64>, %w: tensor<3x5xf32>, %o: tensor<3x8xf32>) {
  // expected-error @+1 {{weighs elements of 'tensor<9x8xf32>' at 'tensor<3x4xi64>' by 'tensor<3x5xf32>'}}
  %r = snug_nn.gather ins(%x, %i : tensor<9x8xf32>, tensor<3x4xi64>) weights(%w : tensor<3x5xf32>) outs(%o : tensor<3x8xf32>) axis = 0 -> tensor<3x8xf32>
  return
}

// -----

// The dims of the indices stand where the gathered dim was.
func.func @gather_shape(%x: tensor<9x8xf32>, %i: tensor<3xi64>, %o: tensor<3x9xf32>) {
  // expected-error @+1 {{gathers from 'tensor<9x8xf32>' at 'tensor<3xi64>' into 'tensor<3x9xf32>'}}
  %r = snug_nn.gather ins(%x, %i : tensor<9x8xf32>, tensor<3xi64>) outs(%o : tensor<3x9xf32>) axis = 0 -> tensor<3x9xf32>
  return
}

// -----

func.func @gather_index(%x: tensor<9x8xf32>, %i: tensor<3xf32>, %o: tensor<3x8xf32>) {
  // expected-error @+1 {{takes 'f32' as an index}}
  %r = snug_nn.gather ins(%x, %i : tensor<9x8xf32>, tensor<3xf32>) outs(%o : tensor<3x8xf32>) axis = 0 -> tensor<3x8xf32>
  return
}

// -----

// Panels have one dim that is summed.
func.func @contract_packed_sums(%a: tensor<4x8x2xf32>, %b: tensor<1x8x16xf32>, %o: tensor<4x16xf32>) {
  // expected-error @+1 {{has 2 reduction dims, wants one}}
  %r = snug_nn.contract ins(%a, %b : tensor<4x8x2xf32>, tensor<1x8x16xf32>) outs(%o : tensor<4x16xf32>)
      attributes {packed, indexing_maps = [affine_map<(m, n, k, l) -> (m, k, l)>, affine_map<(m, n, k, l) -> (k, n)>,
                                           affine_map<(m, n, k, l) -> (m, n)>],
                  iterator_types = ["parallel", "parallel", "reduction", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x16xf32>
  return
}

// -----

func.func @scalar_writes_input(%x: tensor<4xf32>, %o: tensor<4xf32>) {
  %r = snug_nn.scalar_kernel ins(%x : tensor<4xf32>) outs(%o : tensor<4xf32>)
      attributes {indexing_maps = [affine_map<(n) -> (n)>, affine_map<(n) -> (n)>]} {
  ^bb0(%i: index):
    %v = snug_nn.load 0[%i] : f32
    // expected-error @+1 {{writes operand 0, which is no destination}}
    snug_nn.store %v, 0[%i] : f32
    snug_nn.yield
  } -> tensor<4xf32>
  return
}

// -----

// Narrow floats are computed with in f32.
func.func @scalar_element(%x: tensor<4xf16>, %o: tensor<4xf16>) {
  %r = snug_nn.scalar_kernel ins(%x : tensor<4xf16>) outs(%o : tensor<4xf16>)
      attributes {indexing_maps = [affine_map<(n) -> (n)>, affine_map<(n) -> (n)>]} {
  ^bb0(%i: index):
    // expected-error @+1 {{takes an element of 'tensor<4xf16>' by 1 indices as 'f16'}}
    %v = snug_nn.load 0[%i] : f16
    snug_nn.yield
  } -> tensor<4xf16>
  return
}

// -----

func.func @scalar_maps(%x: tensor<4xf32>, %o: tensor<4xf32>) {
  // expected-error @+1 {{indexing map 0 is no projected permutation of 1 dims}}
  %r = snug_nn.scalar_kernel ins(%x : tensor<4xf32>) outs(%o : tensor<4xf32>)
      attributes {indexing_maps = [affine_map<(n) -> (n + 1)>, affine_map<(n) -> (n)>]} {
  ^bb0(%i: index):
    snug_nn.yield
  } -> tensor<4xf32>
  return
}

// -----

func.func @scalar_parallel_nested(%o: tensor<4xindex>, %n: index) {
  %r = snug_nn.scalar_kernel outs(%o : tensor<4xindex>) attributes {indexing_maps = [affine_map<(n) -> (n)>]} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    scf.parallel (%i) = (%c0) to (%n) step (%c1) {
      // expected-error @+1 {{stands in another parallel loop of a scalar kernel}}
      scf.parallel (%j) = (%c0) to (%n) step (%c1) {
        scf.reduce
      }
      scf.reduce
    }
    snug_nn.yield
  } -> tensor<4xindex>
  return
}

// -----

func.func @scalar_parallel_kind(%o: tensor<4xindex>, %n: index, %f: f32) {
  %r = snug_nn.scalar_kernel outs(%o : tensor<4xindex>) attributes {indexing_maps = [affine_map<(n) -> (n)>]} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{reduces by what is neither the largest or smallest of f32, i32 or i64 nor the sum of i32 or i64}}
    %s = scf.parallel (%i) = (%c0) to (%n) step (%c1) init (%f) -> f32 {
      scf.reduce(%f : f32) {
      ^bb0(%x: f32, %y: f32):
        %z = arith.addf %x, %y : f32
        scf.reduce.return %z : f32
      }
    }
    snug_nn.yield
  } -> tensor<4xindex>
  return
}

// -----

func.func @scalar_parallel_dims(%o: tensor<4xindex>, %n: index) {
  %r = snug_nn.scalar_kernel outs(%o : tensor<4xindex>) attributes {indexing_maps = [affine_map<(n) -> (n)>]} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{has 2 dims; in a scalar kernel it has one}}
    scf.parallel (%i, %j) = (%c0, %c0) to (%n, %n) step (%c1, %c1) {
      scf.reduce
    }
    snug_nn.yield
  } -> tensor<4xindex>
  return
}

// -----

func.func @scalar_parallel_overwrites(%x: tensor<4xf32>, %o: tensor<4xf32>, %n: index) {
  %r = snug_nn.scalar_kernel ins(%x : tensor<4xf32>) outs(%o : tensor<4xf32>)
      attributes {indexing_maps = [affine_map<(n) -> (n)>, affine_map<(n) -> (n)>], overwrites = array<i64: 0>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{stands in a scalar kernel that overwrites an input}}
    scf.parallel (%i) = (%c0) to (%n) step (%c1) {
      scf.reduce
    }
    snug_nn.yield
  } -> tensor<4xf32>
  return
}

// -----

func.func @scalar_place(%o: tensor<4xindex>) {
  %r = snug_nn.scalar_kernel outs(%o : tensor<4xindex>) attributes {indexing_maps = [affine_map<(n) -> (n)>]} {
  ^bb0(%i: index):
    // expected-error @+1 {{asks for dim 1 of 1 parallel ones}}
    %p = snug_nn.index 1
    snug_nn.store %p, 0[%i] : index
    snug_nn.yield
  } -> tensor<4xindex>
  return
}

// -----

func.func @scalar_extent(%o: tensor<4xindex>) {
  %r = snug_nn.scalar_kernel outs(%o : tensor<4xindex>) attributes {indexing_maps = [affine_map<(n) -> (n)>]} {
  ^bb0(%i: index):
    // expected-error @+1 {{asks for dim 1 of operand 0, which the enclosing kernel lacks}}
    %p = snug_nn.extent 0, 1
    snug_nn.yield
  } -> tensor<4xindex>
  return
}

// -----

func.func @partial_reduce_parts(%x: tensor<4x8xf32>, %o: tensor<4x3xf32>) {
  // expected-error @+1 {{indexing map 1 does not have the parts as its first dim alone}}
  %r = snug_nn.partial_reduce ins(%x : tensor<4x8xf32>) outs(%o : tensor<4x3xf32>)
      attributes {indexing_maps = [affine_map<(i, j, p) -> (i, j)>, affine_map<(i, j, p) -> (i, p)>], iterator_types = ["parallel", "reduction", "parallel"]} {
  ^bb0(%a: f32, %s: f32):
    %n = arith.addf %a, %s fastmath<reassoc> : f32
    linalg.yield %n : f32
  } -> tensor<4x3xf32>
  return
}

// -----

func.func @scan_dim(%x: tensor<4x8xf32>, %o: tensor<4x8xf32>) {
  // expected-error @+1 {{goes along dim 2 of 'tensor<4x8xf32>'}}
  %r = snug_nn.scan sum ins(%x : tensor<4x8xf32>) outs(%o : tensor<4x8xf32>) dim = 2 -> tensor<4x8xf32>
  return
}

// -----

func.func @scan_shape(%x: tensor<4x8xf32>, %o: tensor<4x7xf32>) {
  // expected-error @+1 {{writes what becomes of 'tensor<4x8xf32>' to 'tensor<4x7xf32>'}}
  %r = snug_nn.scan sum ins(%x : tensor<4x8xf32>) outs(%o : tensor<4x7xf32>) dim = 1 -> tensor<4x7xf32>
  return
}

// -----

func.func @top_k_places(%x: tensor<4x8xf32>, %v: tensor<4x3xf32>, %p: tensor<4x3xi32>) {
  // expected-error @+1 {{writes elements of 'tensor<4x8xf32>' to 'tensor<4x3xf32>' and their places to 'tensor<4x3xi32>'}}
  %r:2 = snug_nn.top_k ins(%x : tensor<4x8xf32>) outs(%v, %p : tensor<4x3xf32>, tensor<4x3xi32>) dim = 1 -> tensor<4x3xf32>, tensor<4x3xi32>
  return
}
