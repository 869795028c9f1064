// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-select-layouts='mesh=4,1'

// expected-error @+1 {{'argument 0' of shape 6x16 cannot be in parts of dim 0 along axis 0 on 4x1 devices: the 6 of dim 0 do not divide by 4}}
module {
  func.func @uneven(%x: tensor<6x16xf32> {snug.pin = array<i64: 0, -1>}) -> tensor<6x16xf32> {
    return %x : tensor<6x16xf32>
  }
}

// -----

// expected-error @+1 {{'y' of shape 8x? cannot be in parts of dim 1 along axis 0 on 4x1 devices: dim 1 is open, and only dims of one extent are cut}}
module {
  func.func @open(%x: tensor<8x?xf32>) -> (tensor<8x?xf32> {snug.name = "y", snug.pin = array<i64: 1, -1>}) {
    return %x : tensor<8x?xf32>
  }
}

// -----

// expected-error @+1 {{'argument 0' of shape 8x4 cannot be in parts of dim 2 along axis 0 on 4x1 devices: it has no dim 2}}
module {
  func.func @no_such_dim(%x: tensor<8x4xf32> {snug.pin = array<i64: 2, -1>}) {
    return
  }
}

// -----

// expected-error @+1 {{'argument 0' has a pin that is no array of two dims, as array<i64: 1, -1>}}
module {
  func.func @no_layout(%x: tensor<8x4xf32> {snug.pin = array<i64: 1>}) {
    return
  }
}

// -----

// expected-error @+1 {{a value of shape 6 cannot be in parts of dim 0 along axis 0 on 4x1 devices: the 6 of dim 0 do not divide by 4}}
module {
  func.func @value(%x: tensor<6xf32>) -> tensor<6xf32> {
    %p = snug_mesh.pin %x along [0, -1] : tensor<6xf32>
    return %p : tensor<6xf32>
  }
}

// -----

// expected-error @+1 {{'w' cannot be in parts of dim 0 along axis 0: it is read in another shape, which has no such dim}}
module {
  snug_nn.data @weight_w : tensor<8x16xf32> {file = "w", offset = 0 : i64, length = 512 : i64, snug.pin = array<i64: 0, -1>}
  func.func @another_shape() -> tensor<128xf32> {
    %w = snug_nn.weight @weight_w recipe [#snug_nn.reshape<[128]>] : tensor<128xf32>
    return %w : tensor<128xf32>
  }
}

// -----

module {
  snug_nn.data @weight_w : tensor<8x16xf32> {file = "w", offset = 0 : i64, length = 512 : i64, snug.pin = array<i64: 0, -1>}
  func.func @read_as_a_whole() -> tensor<8x16xf32> {
    %w = snug_nn.weight @weight_w : tensor<8x16xf32>
    // expected-error @+1 {{reads 'w' as a whole, which is pinned to be in parts}}
    return %w : tensor<8x16xf32>
  }
}

// -----

// A softmax's rows are computed together, what is cumulated along them is not.
module {
  snug_nn.data @weight_w : tensor<8x16xf32> {file = "w", offset = 0 : i64, length = 512 : i64, snug.pin = array<i64: 1, -1>}
  func.func @no_part(%i: tensor<4xi64>) -> tensor<4x16xf32> {
    %w = snug_nn.weight @weight_w : tensor<8x16xf32>
    %e = tensor.empty() : tensor<8x16xf32>
    // expected-error @+1 {{cannot be cut so that it reads 'w' in the parts that were asked for on 4x1 devices}}
    %c = snug_nn.scalar_kernel ins(%w : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>)
        attributes {indexing_maps = [affine_map<(b, n) -> (b, n)>, affine_map<(b, n) -> (b, n)>]} {
    ^bb0(%b: index):
      %n = snug_nn.extent 0, 1
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %zero = arith.constant 0.0 : f32
      %sum = scf.for %k = %c0 to %n step %c1 iter_args(%s = %zero) -> f32 {
        %v = snug_nn.load 0[%b, %k] : f32
        %next = arith.addf %s, %v : f32
        snug_nn.store %next, 1[%b, %k] : f32
        scf.yield %next : f32
      }
      snug_nn.yield
    } -> tensor<8x16xf32>
    %y = tensor.extract_slice %c[0, 0] [4, 16] [1, 1] : tensor<8x16xf32> to tensor<4x16xf32>
    return %y : tensor<4x16xf32>
  }
}

// -----

// expected-error @+1 {{'argument 0' cannot be in parts: its function has control flow between blocks, and is not cut}}
module {
  func.func @blocks(%x: tensor<8xf32> {snug.pin = array<i64: 0, -1>}, %c: i1) -> tensor<8xf32> {
    cf.cond_br %c, ^one, ^other
  ^one:
    return %x : tensor<8xf32>
  ^other:
    %e = tensor.empty() : tensor<8xf32>
    return %e : tensor<8xf32>
  }
}

// -----

// expected-error @+1 {{a value cannot be in parts: it is in a loop or branch, which each device does as a whole}}
module {
  func.func @body(%x: tensor<8xf32>, %c: i1) -> tensor<8xf32> {
    %y = scf.if %c -> tensor<8xf32> {
      %p = snug_mesh.pin %x along [0, -1] : tensor<8xf32>
      scf.yield %p : tensor<8xf32>
    } else {
      scf.yield %x : tensor<8xf32>
    }
    return %y : tensor<8xf32>
  }
}
