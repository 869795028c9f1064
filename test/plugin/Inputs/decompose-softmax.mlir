module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%m: !transform.any_op {transform.readonly}) {
    %s = transform.structured.match ops{["linalg.softmax"]} in %m : (!transform.any_op) -> !transform.any_op
    transform.foreach %s : !transform.any_op {
    ^bb0(%one: !transform.any_op):
      %p = transform.structured.decompose_interface %one : (!transform.any_op) -> !transform.any_op
    }
    transform.yield
  }
}
