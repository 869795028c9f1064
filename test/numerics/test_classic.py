# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Classic machine learning (ai.onnx.ml), against ONNX Runtime."""
import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper

import snug
from ops import ML, Graph, against_onnxruntime, compiled

TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]
ROWS = np.array([[0.2, -1, 3], [1.5, 0, -2], [-0.7, 2, 0.1], [0, 0, 0.3]], np.float32)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("labels", [{"classlabels_ints": [4, 2, 9]}, {"classlabels_strings": ["a", "b", "c"]}])
def test_linear_classifier(labels, transform, tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    chosen, scores = graph.node("LinearClassifier", x, outputs=2, domain=ML, post_transform=transform, multi_class=1,
                                coefficients=[0.1, 0.7, -0.4, 0.5, -1.0, 0.3, 0.2, 0.2, 0.9], intercepts=[0.5, -0.25, 0.0], **labels)
    graph.output(chosen, 1, TensorProto.INT64 if "classlabels_ints" in labels else TensorProto.STRING)
    graph.output(scores, 2)
    against_onnxruntime(graph, tmp_path, {"rows": "1..5"})


def trees(prefix, ids):
    """Two trees of depth 2 and 1, over three features; each leaf adds to one or two ids."""
    return {"nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1], "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
            "nodes_modes": ["BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"],
            "nodes_featureids": [0, 2, 0, 0, 0, 1, 0, 0], "nodes_values": [0.5, 0.1, 0.0, 0.0, 0.0, -0.5, 0.0, 0.0],
            "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0], "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
            f"{prefix}_treeids": [0, 0, 0, 0, 1, 1], f"{prefix}_nodeids": [2, 3, 3, 4, 1, 2], f"{prefix}_ids": ids,
            f"{prefix}_weights": [0.5, 0.25, 1.0, -0.5, 0.75, 0.125]}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_trees_add_up(aggregate, tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    result = graph.node("TreeEnsembleRegressor", x, domain=ML, n_targets=1, aggregate_function=aggregate,
                        base_values=[0.5], **trees("target", [0] * 6))
    graph.output(result, 2)
    against_onnxruntime(graph, tmp_path, {"rows": "1..5"})


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_trees_choose_a_class(transform, tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    label, scores = graph.node("TreeEnsembleClassifier", x, outputs=2, domain=ML, post_transform=transform,
                               classlabels_strings=["a", "b", "c"], **trees("class", [0, 1, 2, 2, 1, 0]))
    graph.output(label, 1, TensorProto.STRING)
    graph.output(scores, 2)
    against_onnxruntime(graph, tmp_path, {"rows": "1..5"})


@pytest.mark.parametrize("transform", TRANSFORMS[:-1])  # PROBIT of 0 is what it likes
def test_trees_of_one_class_choose_of_two(transform, tmp_path):
    graph = Graph()
    x = graph.input("x", np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32), ("rows", 3))
    for weights in ([-0.5, 0.25, 1.0, 0.5, -0.75, 0.125], [0.1, 0.2, 0.3, 0.05, 0.4, 0.15]):
        for which, base in ((0, []), (0, [0.25]), (1, [])):
            attributes = {**trees("class", [which] * 6), "class_weights": weights, **({"base_values": base} if base else {})}
            label, scores = graph.node("TreeEnsembleClassifier", x, outputs=2, domain=ML, post_transform=transform,
                                       classlabels_int64s=[4, -4], **attributes)
            graph.output(label, 1, TensorProto.INT64)
            graph.output(scores, 2)
    against_onnxruntime(graph, tmp_path, {"rows": "1..12"})


@pytest.mark.parametrize("kind", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_support_vectors(kind, tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    result = graph.node("SVMRegressor", x, domain=ML, kernel_type=kind, kernel_params=[0.5, 0.25, 3.0], n_supports=2,
                        coefficients=[0.5, -1.5], support_vectors=[0.1, 0.2, 0.3, -1.0, 0.5, 2.0], rho=[0.75])
    graph.output(result, 2)
    against_onnxruntime(graph, tmp_path, {"rows": "1..5"})



def machine(classes, strings, signs=1, seed=0, probabilities=False, **attributes):
    """Attributes of a classifier with three or so support vectors a class. `signs`: -1 for coefficients that are positive."""
    random = np.random.default_rng([seed, classes])
    per_class = [3, 2, 4, 2][:classes]
    pairs, vectors = classes * (classes - 1) // 2, sum(per_class)
    numbers = lambda count: random.standard_normal(count).astype(np.float32)  # noqa: E731
    made = {"vectors_per_class": per_class, "support_vectors": numbers(3 * vectors), "rho": numbers(pairs),
            "coefficients": numbers((classes - 1) * vectors), "kernel_params": [0.5, 0.25, 3.0], **attributes}
    if signs < 0:
        made["coefficients"] = abs(made["coefficients"])
    if probabilities:
        made.update(prob_a=-abs(numbers(pairs)), prob_b=numbers(pairs))
    labels = {"classlabels_strings": ["ä", "", "c", "dd"][:classes]} if strings else {"classlabels_ints": [7, -2, 4, 1][:classes]}
    return {**made, **labels}


def add_classifiers(graph, x, forms):
    for form in forms:
        label, scores = graph.node("SVMClassifier", x, outputs=2, domain=ML, **form)
        graph.output(label, 1, TensorProto.STRING if "classlabels_strings" in form else TensorProto.INT64)
        graph.output(scores, 2)


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("kind", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_support_vectors_choose_a_class(kind, probabilities, tmp_path):
    graph = Graph()
    x = graph.input("x", np.random.default_rng(3).standard_normal((9, 3)).astype(np.float32), ("rows", 3))
    add_classifiers(graph, x, [machine(classes, strings, signs, kernel_type=kind, probabilities=probabilities)
                               for classes in (2, 3, 4) for strings, signs in ((True, 1), (False, -1))])
    against_onnxruntime(graph, tmp_path, {"rows": "1..12"})


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_scores_of_support_vectors(transform, tmp_path):
    graph = Graph()
    x = graph.input("x", np.random.default_rng(4).standard_normal((9, 3)).astype(np.float32), ("rows", 3))
    forms = [machine(3, False, kernel_type="RBF", probabilities=True, post_transform=transform)]
    if transform != "PROBIT":  # whose scores are no probabilities
        forms += [machine(classes, False, kernel_type="RBF", post_transform=transform) for classes in (2, 3)]
    add_classifiers(graph, x, forms)
    against_onnxruntime(graph, tmp_path, {"rows": "1..12"})


@pytest.mark.parametrize("signs", [1, -1])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_classifier_without_support_vectors(classes, signs, tmp_path):
    random = np.random.default_rng([classes, signs + 1])
    graph = Graph()
    x = graph.input("x", random.standard_normal((9, 3)).astype(np.float32), ("rows", 3))
    coefficients = random.standard_normal(3 * classes).astype(np.float32)
    forms = [{"coefficients": coefficients if signs > 0 else abs(coefficients), "rho": [0.25], "kernel_type": "LINEAR",
              "kernel_params": [0.0, 0.0, 0.0], "post_transform": transform,
              "classlabels_ints": [7, -2, 4][:classes]} for transform in ("NONE", "LOGISTIC", "SOFTMAX")]
    add_classifiers(graph, x, forms)
    against_onnxruntime(graph, tmp_path, {"rows": "1..12"})


def test_features_side_by_side(tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    whole = graph.input("whole", np.arange(8).reshape(4, 2), ("rows", 2))
    one = graph.input("one", ROWS[:, 1:2], ("rows", 1))
    graph.output(graph.node("FeatureVectorizer", x, one, domain=ML, inputdimensions=[3, 1]), 2)
    graph.output(graph.node("Imputer", whole, domain=ML, imputed_value_int64s=[9, 8], replaced_value_int64=4), 2,
                 TensorProto.INT64)
    against_onnxruntime(graph, tmp_path, {"rows": "1..5"})


def add_map(graph, name, key_type):
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(key_type, value))
    graph.outputs.append(helper.make_value_info(name, kind))


def test_maps_keep_their_name_and_have_keys(tmp_path):
    graph = Graph()
    x = graph.input("x", ROWS, ("rows", 3))
    words, numbers = ["ja", "", "ä\n'"], [5, -1, 2**40]
    first = graph.node("ZipMap", x, domain=ML, classlabels_strings=words)
    second = graph.node("ZipMap", graph.node("Neg", x), domain=ML, classlabels_int64s=numbers)
    add_map(graph, first, TensorProto.STRING)
    add_map(graph, second, TensorProto.INT64)
    add_map(graph, graph.node("ZipMap", graph.input("row", ROWS[1]), domain=ML, classlabels_strings=words), TensorProto.STRING)
    model = compiled(graph, tmp_path, {"rows": "1..5"})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    for name, maps in snug.reference(model, graph.values).items():
        keys = numbers if name == second else words
        assert sorted(maps[0]) == sorted(keys)
        assert got[name].tolist() == [[row[key] for key in keys] for row in maps]
    said = subprocess.run([snug.tool("SNUG_RUN"), tmp_path / "ops.so", "--info"], capture_output=True, text=True, check=True)
    assert f"keys    {first}: 'ja', '', 'ä\\x0a''\n" in said.stdout
    assert f"keys    {second}: 5, -1, {2**40}\n" in said.stdout
