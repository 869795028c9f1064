// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// Convolution, bias, relu and a norm over channels, of several images and of one; what is printed is the same with and
// without loops.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-chunks{exact})' -o %t.chunked.mlir 2> %t.remarks
// RUN: FileCheck %s < %t.chunked.mlir
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: cat %t.chunked.mlir | %run_upstream > %t.chunked
// RUN: cat %s | %run_upstream > %t.whole
// RUN: grep -c "sizes = .6, 8.\|sizes = .1, 12, 12, 8." %t.whole | FileCheck %s --check-prefix=TWO
// RUN: diff %t.whole %t.chunked
// TWO: 2
// REMARK: remark: chunk loop over dim 0 of extent 6,

// CHECK-LABEL: func.func @images
// CHECK: scf.for
// CHECK: linalg.conv_2d_nhwc_hwcf
// CHECK-SAME: -> tensor<1x12x12x8xf32>
// CHECK-LABEL: func.func @image
#image = affine_map<(n, h, w, c) -> (n, h, w, c)>
#channel = affine_map<(n, h, w, c) -> (c)>
#pixel = affine_map<(n, h, w, c) -> (n, h, w)>
module {
  func.func @images(%x: tensor<6x14x14x3xf32>, %k: tensor<3x3x3x8xf32>, %b: tensor<8xf32>) -> tensor<6x8xf32> {
    %lowest = arith.constant -1.0e30 : f32
    %zero = arith.constant 0.0 : f32
    %eighth = arith.constant 0.125 : f32
    %e0 = tensor.empty() : tensor<6x12x12x8xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<6x12x12x8xf32>) -> tensor<6x12x12x8xf32>
    %y = linalg.conv_2d_nhwc_hwcf {dilations = dense<1> : tensor<2xi64>, strides = dense<1> : tensor<2xi64>}
        ins(%x, %k : tensor<6x14x14x3xf32>, tensor<3x3x3x8xf32>) outs(%f0 : tensor<6x12x12x8xf32>) -> tensor<6x12x12x8xf32>
    %e1 = tensor.empty() : tensor<6x12x12x8xf32>
    %r = linalg.generic {indexing_maps = [#image, #channel, #image], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
        ins(%y, %b : tensor<6x12x12x8xf32>, tensor<8xf32>) outs(%e1 : tensor<6x12x12x8xf32>) {
    ^bb0(%in: f32, %bias: f32, %out: f32):
      %s = arith.addf %in, %bias : f32
      %m = arith.maximumf %s, %zero : f32
      linalg.yield %m : f32
    } -> tensor<6x12x12x8xf32>
    %e2 = tensor.empty() : tensor<6x12x12xf32>
    %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<6x12x12xf32>) -> tensor<6x12x12xf32>
    %sum = linalg.reduce { arith.addf } ins(%r : tensor<6x12x12x8xf32>) outs(%f2 : tensor<6x12x12xf32>) dimensions = [3]
    %e3 = tensor.empty() : tensor<6x12x12x8xf32>
    %z = linalg.generic {indexing_maps = [#image, #pixel, #image], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
        ins(%r, %sum : tensor<6x12x12x8xf32>, tensor<6x12x12xf32>) outs(%e3 : tensor<6x12x12x8xf32>) {
    ^bb0(%in: f32, %total: f32, %out: f32):
      %mean = arith.mulf %total, %eighth : f32
      %d = arith.subf %in, %mean : f32
      linalg.yield %d : f32
    } -> tensor<6x12x12x8xf32>
    %e4 = tensor.empty() : tensor<6x8xf32>
    %f4 = linalg.fill ins(%lowest : f32) outs(%e4 : tensor<6x8xf32>) -> tensor<6x8xf32>
    %best = linalg.reduce { arith.maximumf } ins(%z : tensor<6x12x12x8xf32>) outs(%f4 : tensor<6x8xf32>) dimensions = [1, 2]
    return %best : tensor<6x8xf32>
  }
  func.func @image(%x: tensor<1x12x12x3xf32>, %k: tensor<3x3x3x8xf32>, %d: tensor<3x3x8xf32>) -> tensor<1x12x12x8xf32> {
    %zero = arith.constant 0.0 : f32
    %lowest = arith.constant -1.0e30 : f32
    %p = tensor.pad %x low[0, 1, 1, 0] high[0, 1, 1, 0] {
    ^bb0(%i0: index, %i1: index, %i2: index, %i3: index):
      tensor.yield %zero : f32
    } : tensor<1x12x12x3xf32> to tensor<1x14x14x3xf32>
    %e0 = tensor.empty() : tensor<1x12x12x8xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %y = linalg.conv_2d_nhwc_hwcf {dilations = dense<1> : tensor<2xi64>, strides = dense<1> : tensor<2xi64>}
        ins(%p, %k : tensor<1x14x14x3xf32>, tensor<3x3x3x8xf32>) outs(%f0 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %e1 = tensor.empty() : tensor<1x12x12x8xf32>
    %t = linalg.tanh ins(%y : tensor<1x12x12x8xf32>) outs(%e1 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %q = tensor.pad %t low[0, 1, 1, 0] high[0, 1, 1, 0] {
    ^bb0(%i0: index, %i1: index, %i2: index, %i3: index):
      tensor.yield %lowest : f32
    } : tensor<1x12x12x8xf32> to tensor<1x14x14x8xf32>
    %w = tensor.empty() : tensor<3x3xf32>
    %e2 = tensor.empty() : tensor<1x12x12x8xf32>
    %f2 = linalg.fill ins(%lowest : f32) outs(%e2 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %m = linalg.pooling_nhwc_max {dilations = dense<1> : tensor<2xi64>, strides = dense<1> : tensor<2xi64>}
        ins(%q, %w : tensor<1x14x14x8xf32>, tensor<3x3xf32>) outs(%f2 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %r = tensor.pad %m low[0, 1, 1, 0] high[0, 1, 1, 0] {
    ^bb0(%i0: index, %i1: index, %i2: index, %i3: index):
      tensor.yield %zero : f32
    } : tensor<1x12x12x8xf32> to tensor<1x14x14x8xf32>
    %e3 = tensor.empty() : tensor<1x12x12x8xf32>
    %f3 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    %z = linalg.depthwise_conv_2d_nhwc_hwc {dilations = dense<1> : tensor<2xi64>, strides = dense<1> : tensor<2xi64>}
        ins(%r, %d : tensor<1x14x14x8xf32>, tensor<3x3x8xf32>) outs(%f3 : tensor<1x12x12x8xf32>) -> tensor<1x12x12x8xf32>
    return %z : tensor<1x12x12x8xf32>
  }
  func.func private @printMemrefF32(tensor<*xf32>)
  func.func private @value(%i: index, %j: index, %k: index) -> f32 {
    %c31 = arith.constant 31 : index
    %c7 = arith.constant 7 : index
    %step = arith.constant 0.37 : f32
    %a = arith.muli %i, %c31 : index
    %b = arith.muli %j, %c7 : index
    %s0 = arith.addi %a, %b : index
    %s1 = arith.addi %s0, %k : index
    %n = arith.index_cast %s1 : index to i32
    %f = arith.sitofp %n : i32 to f32
    %g = arith.mulf %f, %step : f32
    %h = math.sin %g : f32
    return %h : f32
  }
  func.func @main() {
    %x = tensor.generate {
    ^bb0(%n: index, %i: index, %j: index, %c: index):
      %m = arith.addi %n, %i : index
      %v = func.call @value(%m, %j, %c) : (index, index, index) -> f32
      tensor.yield %v : f32
    } : tensor<6x14x14x3xf32>
    %k = tensor.generate {
    ^bb0(%i: index, %j: index, %c: index, %f: index):
      %m = arith.addi %i, %f : index
      %v = func.call @value(%m, %c, %j) : (index, index, index) -> f32
      tensor.yield %v : f32
    } : tensor<3x3x3x8xf32>
    %d = tensor.generate {
    ^bb0(%i: index, %j: index, %c: index):
      %v = func.call @value(%c, %i, %j) : (index, index, index) -> f32
      tensor.yield %v : f32
    } : tensor<3x3x8xf32>
    %b = tensor.extract_slice %d[1, 1, 0] [1, 1, 8] [1, 1, 1] : tensor<3x3x8xf32> to tensor<8xf32>
    %one = tensor.extract_slice %x[2, 1, 1, 0] [1, 12, 12, 3] [1, 1, 1, 1] : tensor<6x14x14x3xf32> to tensor<1x12x12x3xf32>
    %y = func.call @images(%x, %k, %b) : (tensor<6x14x14x3xf32>, tensor<3x3x3x8xf32>, tensor<8xf32>) -> tensor<6x8xf32>
    %z = func.call @image(%one, %k, %d) : (tensor<1x12x12x3xf32>, tensor<3x3x3x8xf32>, tensor<3x3x8xf32>) -> tensor<1x12x12x8xf32>
    %u = tensor.cast %y : tensor<6x8xf32> to tensor<*xf32>
    %w = tensor.cast %z : tensor<1x12x12x8xf32> to tensor<*xf32>
    func.call @printMemrefF32(%u) : (tensor<*xf32>) -> ()
    func.call @printMemrefF32(%w) : (tensor<*xf32>) -> ()
    return
  }
}
