# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention and rotary positions, against the reference of ONNX: ONNX Runtime lacks some of their forms."""
import importlib

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.backend.test.case import node as standard

import snug
from ops import Graph, noise, operator, run

EMPTY = [None, None]  # no past


def test_attention_of_flat_heads(tmp_path):
    operator("Attention", [(noise(2, 9, 32), (2, "s", 32)), (noise(2, 9, 16, seed=1), (2, "s", 16)),
                           (noise(2, 9, 16, seed=2), (2, "s", 16))], tmp_path, [3], {"s": "1..20"},
             q_num_heads=4, kv_num_heads=2, is_causal=1)


def test_attention_with_a_mask_and_another_scale(tmp_path):
    mask = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.7
    mask[..., 0] = True
    operator("Attention", [(noise(2, 4, 5, 8), None), (noise(2, 4, 7, 8, seed=1), None), (noise(2, 4, 7, 6, seed=2), None),
                           (mask, None)], tmp_path, [4], scale=0.5)
    operator("Attention", [(noise(2, 4, 5, 8), None), (noise(2, 4, 7, 8, seed=1), None), (noise(2, 4, 7, 6, seed=2), None),
                           (noise(5, 7), None)], tmp_path, [4])


def test_causal_attention_of_fewer_rows_than_keys(tmp_path):
    operator("Attention", [(noise(1, 2, 5, 8), None), (noise(1, 2, 7, 8, seed=1), None), (noise(1, 2, 7, 8, seed=2), None)],
             tmp_path, [4], is_causal=1)


@pytest.mark.parametrize("flat", [False, True])
def test_attention_grows_its_caches(flat, tmp_path):
    shape = (1, 3, 16) if flat else (1, 2, 3, 8)
    mask = np.ones((3, 7), bool)
    mask[0, 5] = mask[2, 1] = False
    operator("Attention", [*((noise(*shape, seed=i), None) for i in range(3)), (mask, None),
                           (noise(1, 2, 4, 8), (1, 2, "p", 8)), (noise(1, 2, 4, 8, seed=1), (1, 2, "p", 8))], tmp_path,
             [len(shape), 4, 4], {"p": "4"}, **(dict(q_num_heads=2, kv_num_heads=2) if flat else {}))


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("kind", [bool, np.float32])
def test_keys_behind_the_end_of_a_mask_are_hidden(kind, length, tmp_path):
    mask = noise(5, length)
    if kind is bool:
        mask = mask > 0
        mask[1] = False  # a row without any key
    operator("Attention", [(noise(2, 4, 5, 8), None), (noise(2, 4, 7, 8, seed=1), (2, 4, "t", 8)),
                           (noise(2, 4, 7, 6, seed=2), (2, 4, "t", 6)), (mask, None)], tmp_path, [4], {"t": "4..9"})


def test_present_keys_are_all_of_them_whatever_the_mask_hides(tmp_path):
    operator("Attention", [*((noise(1, 2, 3, 8, seed=i), None) for i in range(3)), (noise(3, 5), None),
                           (noise(1, 2, 4, 8, seed=3), None), (noise(1, 2, 4, 8, seed=4), None)], tmp_path, [4, 4, 4],
             is_causal=1)


@pytest.mark.parametrize("attributes", [{}, {"is_causal": 1}])
@pytest.mark.parametrize("flat", [False, True])
def test_counted_keys(flat, attributes, tmp_path):
    """Rows end where the keys that count end: with fewer keys than rows the first rows have none."""
    shapes = [(4, 5, 16), (4, 9, 16), (4, 9, 16)] if flat else [(4, 2, 5, 8), (4, 2, 9, 8), (4, 2, 9, 8)]
    values = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    names = [(4, "s", 16) if flat else (4, 2, "s", 8)]
    inputs = [(values[0], names[0]), (values[1], None), (values[2], None), (noise(5, 9) > -1, ("s", 9)),
              *EMPTY, (np.array([9, 5, 6, 2]), None)]
    operator("Attention", inputs, tmp_path, [3 if flat else 4], {"s": "2..7"}, opset=24, **attributes,
             **(dict(q_num_heads=2, kv_num_heads=2) if flat else {}))


def official():
    """The cases of the standard, but those where a function of other ops stands for the op."""
    np.random.seed(0)  # their values are random
    importlib.import_module(standard.__name__ + ".attention")  # makes them; collect_testcases makes those of all ops
    return [case for case in standard._NodeTestCases if "_expanded" not in case.name]


CASES = official()


# A sample is in tier 1.
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=[] if number % 4 == 0 else pytest.mark.long)
                                  for number, case in enumerate(CASES)])
def test_cases_of_the_standard(case, tmp_path):
    graph, (inputs, wants) = case.model.graph, case.data_sets[0]
    model, library = tmp_path / "m.onnx", tmp_path / "m.so"
    onnx.save(case.model, model)
    snug.compile_model(model, library, {})
    got, _ = snug.run_model(library, {value.name: x for value, x in zip(graph.input, inputs)})
    for value, want in zip(graph.output, wants):
        # The standard rounds each step of narrow floats, a kernel the result only.
        rounding = 4 * ml_dtypes.finfo(want.dtype).eps if want.dtype.itemsize == 2 else 0
        x = got[value.name].view(want.dtype) if want.dtype == ml_dtypes.bfloat16 else got[value.name]
        np.testing.assert_allclose(x.astype(np.float32), want.astype(np.float32), rtol=max(1e-3, rounding),
                                   atol=max(1e-6, rounding), err_msg=value.name)


def test_cases_of_the_standard_are_many():
    assert len(CASES) >= 90


def test_a_bias_that_is_a_product_of_pairs(tmp_path):
    """Attention among the neighbours of each residue: no tensor of residues, rows and keys is left."""
    n, heads, size, width = 48, 4, 8, 16
    graph = Graph()
    c, z = graph.constant, graph.input("z", noise(n, n, width))
    q, k, v = (graph.node("Transpose", graph.node("Reshape", graph.node("MatMul", z, c(noise(width, heads * size, seed=i))),
                                                  c(np.array([n, n, heads, size]))), perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3]) for i in range(3))
    bias = graph.node("Transpose", graph.node("MatMul", z, c(noise(width, heads, seed=5))), perm=[2, 0, 1])
    bias = graph.node("Reshape", graph.node("Expand", graph.node("Unsqueeze", bias, c(np.array([0]))), c(np.array([n, heads, n, n]))), c(np.array([n, heads, n, n])))
    scores = graph.node("Add", bias, graph.node("MatMul", q, k))
    graph.output(graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v), 4)
    model = graph.save(tmp_path / "ops.onnx")
    _, report = snug.compile_model(model, tmp_path / "ops.so", {})
    assert report["memory"]["arena"] < n * heads * n * n * 4
    run(graph, model, tmp_path, 2e-6)


@pytest.mark.parametrize("attributes", [{}, {"interleaved": 1}, {"rotary_embedding_dim": 4}])
def test_rotary_embedding(attributes, tmp_path):
    half = attributes.get("rotary_embedding_dim", 8) // 2
    tables = [(noise(10, half, seed=i), None) for i in (1, 2)]
    places = (np.array([[3, 1, 0, 9, 2], [0, 1, 2, 3, 4]]), None)
    operator("RotaryEmbedding", [(noise(2, 3, 5, 8), None), *tables, places], tmp_path, [4], **attributes)
    tables = [(noise(2, 5, half, seed=i), None) for i in (1, 2)]
    operator("RotaryEmbedding", [(noise(2, 5, 24), None), *tables], tmp_path, [3], num_heads=3, **attributes)
