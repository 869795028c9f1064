// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=n=4" -verify-diagnostics

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: has neither classlabels_ints nor classlabels_strings}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: 3 classes need 3 numbers in rho, and as many or none in prob_a and prob_b, which have 1, 0 and 0}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2, 3>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: 2 classes need 1 numbers in rho, and as many or none in prob_a and prob_b, which have 1, 1 and 0}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, prob_a = array<f32: 1.0>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: 2 coefficients of 3 support vectors of 2 classes do not fit each other or 2 labels}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 2>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: vectors_per_class has -1}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, -1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: vectors_per_class has 2147483647}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 2147483647, 2147483647>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: support_vectors, 2 of 3 elements in all, do not fit an input of shape [4, 2]}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: kernel_type 'COSINE' with 3 kernel_params is none that the standard knows}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, kernel_type = "COSINE", classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: post_transform PROBIT of two classes is supported with prob_a and prob_b only}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0>, vectors_per_class = array<i64: 1, 1>, support_vectors = array<f32: 1.0, 2.0, 3.0, 4.0>, rho = array<f32: 0.5>, post_transform = "PROBIT", classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{SVMClassifier: coefficients or intercepts do not fit an input of shape [4, 2]}}
    %y, %z = snug_onnx.node "SVMClassifier"(%x) {coefficients = array<f32: 1.0, 2.0, 3.0>, rho = array<f32: 0.5>, classlabels_ints = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TreeEnsembleRegressor: node 0 is reached twice}}
    %y = snug_onnx.node "TreeEnsembleRegressor"(%x) {n_targets = 1 : i64, nodes_treeids = array<i64: 0, 0>, nodes_nodeids = array<i64: 0, 1>, nodes_featureids = array<i64: 0, 0>, nodes_modes = ["BRANCH_LEQ", "LEAF"], nodes_values = array<f32: 0.0, 0.0>, nodes_truenodeids = array<i64: 0, 0>, nodes_falsenodeids = array<i64: 1, 0>, target_treeids = array<i64: 0>, target_nodeids = array<i64: 1>, target_ids = array<i64: 0>, target_weights = array<f32: 1.0>} opset 3 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (!snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>> {snug.name = "y"}) {
    // expected-error @+1 {{ZipMap: needs either classlabels_strings or classlabels_int64s}}
    %y = snug_onnx.node "ZipMap"(%x) {} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
    return %y : !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (!snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>> {snug.name = "y"}) {
    // expected-error @+1 {{ZipMap: needs either classlabels_strings or classlabels_int64s}}
    %y = snug_onnx.node "ZipMap"(%x) {classlabels_strings = ["a", "b"], classlabels_int64s = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
    return %y : !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (!snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>> {snug.name = "y"}) {
    // expected-error @+1 {{ZipMap: an input of shape [4, 2] has not one value for each of 3 keys}}
    %y = snug_onnx.node "ZipMap"(%x) {classlabels_int64s = array<i64: 1, 2, 3>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
    return %y : !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<i64> {snug.name = "y"}) {
    // expected-error @+1 {{ZipMap: maps are supported as outputs of the model only, and node 'the length' reads these}}
    %y = snug_onnx.node "ZipMap"(%x) {classlabels_int64s = array<i64: 1, 2>} opset 1 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> !snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>
    %z = snug_onnx.node "SequenceLength"(%y) {} opset 20 : (!snug_onnx.sequence<!snug_onnx.map<i64, tensor<f32>>>) -> tensor<i64> loc("the length")
    return %z : tensor<i64>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TreeEnsembleRegressor: 1 base_values for 2 targets}}
    %y = snug_onnx.node "TreeEnsembleRegressor"(%x) {nodes_treeids = array<i64: 0, 0, 0>, nodes_nodeids = array<i64: 0, 1, 2>, nodes_featureids = array<i64: 0, 0, 0>, nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = array<f32: 0.0, 0.0, 0.0>, nodes_truenodeids = array<i64: 1, 0, 0>, nodes_falsenodeids = array<i64: 2, 0, 0>, target_treeids = array<i64: 0, 0>, target_nodeids = array<i64: 1, 2>, target_ids = array<i64: 0, 0>, target_weights = array<f32: 1.0, 2.0>, n_targets = 2 : i64, base_values = array<f32: 1.0>} opset 3 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TreeEnsembleClassifier: all leafs are of class 0 of two: 2 base_values with post_transform NONE are not supported}}
    %l, %y = snug_onnx.node "TreeEnsembleClassifier"(%x) {nodes_treeids = array<i64: 0, 0, 0>, nodes_nodeids = array<i64: 0, 1, 2>, nodes_featureids = array<i64: 0, 0, 0>, nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values = array<f32: 0.0, 0.0, 0.0>, nodes_truenodeids = array<i64: 1, 0, 0>, nodes_falsenodeids = array<i64: 2, 0, 0>, class_treeids = array<i64: 0, 0>, class_nodeids = array<i64: 1, 2>, class_ids = array<i64: 0, 0>, class_weights = array<f32: 1.0, 2.0>, classlabels_int64s = array<i64: 1, 2>, base_values = array<f32: 1.0, 2.0>} opset 3 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
    return %y : tensor<*xf32>
  }
}

// -----

// Numbers that name nodes may be any.
module {
  func.func @main(%x: tensor<?x2xf32> {snug.name = "x", snug.dims = ["n", "2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{TreeEnsembleRegressor: node 9223372036854775807 of tree -9223372036854775808 is there twice}}
    %y = snug_onnx.node "TreeEnsembleRegressor"(%x) {n_targets = 1 : i64, nodes_treeids = array<i64: 9223372036854775807, -9223372036854775808, -9223372036854775808>, nodes_nodeids = array<i64: 9223372036854775807, 9223372036854775807, 9223372036854775807>, nodes_featureids = array<i64: 0, 0, 0>, nodes_modes = ["LEAF", "LEAF", "LEAF"], nodes_values = array<f32: 0.0, 0.0, 0.0>, nodes_truenodeids = array<i64: 0, 0, 0>, nodes_falsenodeids = array<i64: 1, 0, 0>, target_treeids = array<i64: 0>, target_nodeids = array<i64: 1>, target_ids = array<i64: 0>, target_weights = array<f32: 1.0>} opset 3 domain "ai.onnx.ml" : (tensor<?x2xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
