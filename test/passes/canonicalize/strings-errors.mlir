// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=n=4" -verify-diagnostics

// What computes takes no strings.
module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    // expected-error @+1 {{Relu: input 0 of element type string is not supported}}
    %y = snug_onnx.node "Relu"(%x) {} opset 20 : (tensor<?x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %y : tensor<*x!snug_onnx.string>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{LabelEncoder: the input has elements of type string, the keys are of type int64}}
    %y = snug_onnx.node "LabelEncoder"(%x) {keys_int64s = array<i64: 1>, values_int64s = array<i64: 5>} opset 2 domain "ai.onnx.ml" : (tensor<?x!snug_onnx.string>) -> tensor<*xi64>
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TfIdfVectorizer: there is no pool of the input's element type, string}}
    %y = snug_onnx.node "TfIdfVectorizer"(%x) {mode = "TF", ngram_counts = array<i64: 0>, ngram_indexes = array<i64: 0>, pool_int64s = array<i64: 3>, min_gram_length = 1 : i64, max_gram_length = 1 : i64, max_skip_count = 0 : i64} opset 9 : (tensor<?x!snug_onnx.string>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TfIdfVectorizer: ngram_indexes has fewer elements than there are n-grams}}
    %y = snug_onnx.node "TfIdfVectorizer"(%x) {mode = "TF", ngram_counts = array<i64: 0>, ngram_indexes = array<i64: 0>, pool_strings = ["a", "b"], min_gram_length = 1 : i64, max_gram_length = 1 : i64, max_skip_count = 0 : i64} opset 9 : (tensor<?x!snug_onnx.string>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TfIdfVectorizer: ngram_counts do not fit a pool of 2 members}}
    %y = snug_onnx.node "TfIdfVectorizer"(%x) {mode = "TF", ngram_counts = array<i64: 0, 3>, ngram_indexes = array<i64: 0>, pool_strings = ["a", "b"], min_gram_length = 1 : i64, max_gram_length = 1 : i64, max_skip_count = 0 : i64} opset 9 : (tensor<?x!snug_onnx.string>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    // expected-error @+1 {{Tokenizer: tokens are supported as what tokenexp matches, without separators and marks}}
    %y = snug_onnx.node "Tokenizer"(%x) {tokenexp = "a", mark = 1 : i64, pad_value = "#", mincharnum = 1 : i64} opset 1 domain "com.microsoft" : (tensor<?x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %y : tensor<*x!snug_onnx.string>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    // expected-error @+1 {{Tokenizer: tokens are supported as what tokenexp matches, without separators and marks}}
    %y = snug_onnx.node "Tokenizer"(%x) {separators = [" "], pad_value = "#", mincharnum = 1 : i64} opset 1 domain "com.microsoft" : (tensor<?x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %y : tensor<*x!snug_onnx.string>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    // expected-error @+1 {{Tokenizer: tokens are supported as what tokenexp matches, without separators and marks}}
    %y = snug_onnx.node "Tokenizer"(%x) {tokenexp = "a", separators = [" "], pad_value = "#", mincharnum = 1 : i64} opset 1 domain "com.microsoft" : (tensor<?x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %y : tensor<*x!snug_onnx.string>
  }
}
