// RUN: snug-opt %s -verify-diagnostics -snug-select-chunks="activation-budget=1500000"

// The tensors %a and %r have the same extents where n is at its bound only, so %r must not take the buffer of the dying
// %a: both are needed whole, beside a slice of %b.
#ij = affine_map<(i, j, c) -> (i, j, c)>
#cij = affine_map<(i, j, c) -> (c, i, j)>
#ji = affine_map<(i, j, c) -> (j, i, c)>
module attributes {snug.dims = [{name = "n", min = 1 : i64, max = 64 : i64, step = 1 : i64}]} {
  func.func @equal_at_the_bound(%x: tensor<?x?x64xf32> {snug.dims = ["n", "n", "64"]},
                                %o: tensor<64x?x?xf32> {snug.dims = ["64", "n", "n"], snug.output}) -> tensor<64x?x?xf32> {
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x?x64xf32>
    %one = arith.constant 1.0 : f32
    %ea = tensor.empty(%n, %n) : tensor<?x?x64xf32>
    %a = scf.for %i = %c0 to %n step %n iter_args(%t = %ea) -> tensor<?x?x64xf32> { // no rule: stays whole
      %f = linalg.fill ins(%one : f32) outs(%t : tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
      scf.yield %f : tensor<?x?x64xf32>
    }
    %eb = tensor.empty(%n, %n) : tensor<?x?x64xf32>
    // expected-error @+1 {{cannot chunk to 1500000 bytes: the least peak that can be reached is 2097152 bytes}}
    %b = linalg.generic {indexing_maps = [#ji, #ij], iterator_types = ["parallel", "parallel", "parallel"]}
        ins(%a : tensor<?x?x64xf32>) outs(%eb : tensor<?x?x64xf32>) {
    ^bb0(%in: f32, %out: f32):
      %e = math.exp %in : f32
      linalg.yield %e : f32
    } -> tensor<?x?x64xf32>
    %er = tensor.empty(%n, %n) : tensor<64x?x?xf32>
    %r = linalg.generic {indexing_maps = [#ij, #cij], iterator_types = ["parallel", "parallel", "parallel"]}
        ins(%b : tensor<?x?x64xf32>) outs(%er : tensor<64x?x?xf32>) {
    ^bb0(%in: f32, %out: f32):
      linalg.yield %in : f32
    } -> tensor<64x?x?xf32>
    %z = scf.for %i = %c0 to %n step %n iter_args(%t = %o) -> tensor<64x?x?xf32> {
      %f = linalg.copy ins(%r : tensor<64x?x?xf32>) outs(%t : tensor<64x?x?xf32>) -> tensor<64x?x?xf32>
      scf.yield %f : tensor<64x?x?xf32>
    }
    return %z : tensor<64x?x?xf32>
  }
}
