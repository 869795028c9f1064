// RUN: snug-opt %s -snug-bufferize -split-input-file -verify-diagnostics

// The first kernel's result is read after it was written over.
func.func @overwritten_too_early(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8xf32> attributes {snug.num_inputs = 1 : i64} {
  %e = tensor.empty() : tensor<8xf32>
  %0 = linalg.exp ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  // expected-error @below {{internal fault: the schedule does not hold in memory: 'linalg.abs' cannot write in place and needs a copy of 'tensor<8xf32>'}}
  %1 = linalg.abs ins(%0 : tensor<8xf32>) outs(%0 : tensor<8xf32>) -> tensor<8xf32>
  %2 = linalg.sub ins(%0, %1 : tensor<8xf32>, tensor<8xf32>) outs(%out : tensor<8xf32>) -> tensor<8xf32>
  return %2 : tensor<8xf32>
}

// -----

// The same with a kernel of ours.
func.func @softmax_too_early(%x: tensor<8x8xf32>, %out: tensor<8x8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8x8xf32> attributes {snug.num_inputs = 1 : i64} {
  %e = tensor.empty() : tensor<8x8xf32>
  %0 = linalg.exp ins(%x : tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) -> tensor<8x8xf32>
  // expected-error @below {{'snug_nn.softmax' cannot write in place and needs a copy of 'tensor<8x8xf32>'}}
  %1 = snug_nn.softmax ins(%0 : tensor<8x8xf32>) outs(%0 : tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = linalg.sub ins(%0, %1 : tensor<8x8xf32>, tensor<8x8xf32>) outs(%out : tensor<8x8xf32>) -> tensor<8x8xf32>
  return %2 : tensor<8x8xf32>
}

// -----

// A softmax that reads what an earlier in-place kernel has destroyed.
func.func @softmax_reads_the_overwritten(%x: tensor<8x8xf32>, %out: tensor<8x8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8x8xf32> attributes {snug.num_inputs = 1 : i64} {
  %e = tensor.empty() : tensor<8x8xf32>
  %0 = linalg.exp ins(%x : tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) -> tensor<8x8xf32>
  // expected-error @below {{needs a copy of 'tensor<8x8xf32>'}}
  %1 = linalg.abs ins(%x : tensor<8x8xf32>) outs(%0 : tensor<8x8xf32>) -> tensor<8x8xf32>
  %f = tensor.empty() : tensor<8x8xf32>
  %2 = linalg.floor ins(%1 : tensor<8x8xf32>) outs(%f : tensor<8x8xf32>) -> tensor<8x8xf32>
  %3 = snug_nn.softmax ins(%0 : tensor<8x8xf32>) outs(%0 : tensor<8x8xf32>) -> tensor<8x8xf32>
  %4 = linalg.sub ins(%2, %3 : tensor<8x8xf32>, tensor<8x8xf32>) outs(%out : tensor<8x8xf32>) -> tensor<8x8xf32>
  return %4 : tensor<8x8xf32>
}

// -----

// A chunk loop that reads the residual past its iter_arg: all of it would have to be copied.
func.func @residual_past_the_iter_arg(%x: tensor<64x8xf32>, %out: tensor<64x8xf32> {bufferization.writable = true, snug.output})
    -> tensor<64x8xf32> attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c8 = arith.constant 8 : index
  %c64 = arith.constant 64 : index
  %r = linalg.exp ins(%x : tensor<64x8xf32>) outs(%out : tensor<64x8xf32>) -> tensor<64x8xf32>
  // expected-error @below {{'scf.for' cannot write in place and needs a copy of 'tensor<64x8xf32>'}}
  %y = scf.for %i = %c0 to %c64 step %c8 iter_args(%acc = %r) -> (tensor<64x8xf32>) {
    %rows = tensor.extract_slice %r[%i, 0] [8, 8] [1, 1] : tensor<64x8xf32> to tensor<8x8xf32>
    %to = tensor.extract_slice %acc[%i, 0] [8, 8] [1, 1] : tensor<64x8xf32> to tensor<8x8xf32>
    %c = linalg.abs ins(%rows : tensor<8x8xf32>) outs(%to : tensor<8x8xf32>) -> tensor<8x8xf32>
    %next = tensor.insert_slice %c into %acc[%i, 0] [8, 8] [1, 1] : tensor<8x8xf32> into tensor<64x8xf32>
    scf.yield %next : tensor<64x8xf32>
  }
  return %y : tensor<64x8xf32>
}

// -----

// A kernel that has no destination makes a buffer that nobody has planned.
func.func @no_destination(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8xf32> attributes {snug.num_inputs = 1 : i64} {
  %zero = arith.constant 0.0 : f32
  // expected-error @below {{bufferization adds a buffer of 'memref<10xf32>'}}
  %p = tensor.pad %x low[1] high[1] {
  ^bb0(%i: index):
    tensor.yield %zero : f32
  } : tensor<8xf32> to tensor<10xf32>
  %s = tensor.extract_slice %p[2] [8] [1] : tensor<10xf32> to tensor<8xf32>
  %0 = linalg.exp ins(%s : tensor<8xf32>) outs(%out : tensor<8xf32>) -> tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

func.func @result_elsewhere(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8xf32> attributes {snug.num_inputs = 1 : i64} {
  %0 = linalg.exp ins(%x : tensor<8xf32>) outs(%out : tensor<8xf32>) -> tensor<8xf32>
  // expected-error @below {{result 0 is not in its destination, argument 1}}
  return %x : tensor<8xf32>
}

// -----

func.func @input_is_read_only(%x: tensor<8xf32>, %out: tensor<8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8xf32> attributes {snug.num_inputs = 1 : i64} {
  // expected-error @below {{'linalg.exp' cannot write in place and needs a copy of 'tensor<8xf32>'}}
  %0 = linalg.exp ins(%x : tensor<8xf32>) outs(%x : tensor<8xf32>) -> tensor<8xf32>
  %1 = linalg.abs ins(%0 : tensor<8xf32>) outs(%out : tensor<8xf32>) -> tensor<8xf32>
  return %1 : tensor<8xf32>
}
