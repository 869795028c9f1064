# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Outputs that are sequences of maps are lists of dicts in Python, as ONNX Runtime makes them."""
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import backend
import snug.onnx_backend
from contrib import ML, GraphBuilder


def model(key_type, **keys):
    """Probabilities of the rows that are chosen, as maps, beside the labels of all."""
    graph = GraphBuilder()
    label, scores = graph.node("LinearClassifier", "x", outputs=2, domain=ML, post_transform="SOFTMAX", classlabels_ints=[4, 2, 9],
                               coefficients=[0.1, 0.7, -0.4, 0.5, -1.0, 0.3], intercepts=[0.5, 0.0, -0.25])
    rows = graph.node("ZipMap", graph.node("Compress", scores, "keep", axis=0), domain=ML, **keys)
    maps = helper.make_map_type_proto(key_type, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [helper.make_value_info(rows, helper.make_sequence_type_proto(maps)),
               helper.make_tensor_value_info(label, TensorProto.INT64, ["rows"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2]),
              helper.make_tensor_value_info("keep", TensorProto.BOOL, ["rows"])]
    return graph.model(20, inputs, outputs)


@pytest.mark.parametrize("keys", [{"classlabels_strings": ["a", "", "ü"]}, {"classlabels_int64s": [7, -5, 2**50]}])
def test_lists_of_dicts(keys):
    made = model(TensorProto.STRING if "classlabels_strings" in keys else TensorProto.INT64, **keys)
    x = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    loaded = backend.compile_model(made.SerializeToString(), (("rows", "1..8"),), ())
    rows, label = (output.name for output in made.graph.output)
    assert loaded.outputs == [rows, label] and loaded.maps == {rows: [*keys.values()][0]}
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for keep in ([True] * 5, [False, True, False, True, True], [False] * 5):
        inputs = {"x": x, "keep": np.array(keep)}
        want, labels = session.run(None, inputs)
        got = loaded(**inputs)
        assert len(got[rows]) == len(want)
        for row, other in zip(got[rows], want):
            assert row == pytest.approx(other, abs=1e-6) and {type(value) for value in row.values()} == {float}
        assert got[label].tolist() == labels.tolist()
        outputs = snug.onnx_backend.run_model(made, [x, np.array(keep)])
        assert outputs[0] == got[rows] and outputs[1].tolist() == labels.tolist()
