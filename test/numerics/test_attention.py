# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention and rotary positions, against the reference of ONNX: ONNX Runtime lacks some of their forms."""
import numpy as np
import pytest

from ops import noise, operator


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


@pytest.mark.parametrize("attributes", [{}, {"interleaved": 1}, {"rotary_embedding_dim": 4}])
def test_rotary_embedding(attributes, tmp_path):
    half = attributes.get("rotary_embedding_dim", 8) // 2
    tables = [(noise(10, half, seed=i), None) for i in (1, 2)]
    places = (np.array([[3, 1, 0, 9, 2], [0, 1, 2, 3, 4]]), None)
    operator("RotaryEmbedding", [(noise(2, 3, 5, 8), None), *tables, places], tmp_path, [4], **attributes)
    tables = [(noise(2, 5, half, seed=i), None) for i in (1, 2)]
    operator("RotaryEmbedding", [(noise(2, 5, 24), None), *tables], tmp_path, [3], num_heads=3, **attributes)
