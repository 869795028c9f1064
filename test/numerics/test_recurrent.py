# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RNN, GRU and LSTM in all their variants against ONNX Runtime; their states are carried in place."""
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import snug
from ops import noise

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
BATCH, INPUTS, HIDDEN = 3, 8, 20


def recurrent(path, kind, time, directions=1, optional=(), opset=20, **attributes):
    """A model of one such node and its inputs; `optional` names those beyond X, W, R."""
    rows = GATES[kind] * HIDDEN
    constants = {"W": noise(directions, rows, INPUTS, seed=1) * 0.5, "R": noise(directions, rows, HIDDEN, seed=2) * 0.3,
                 "B": noise(directions, 2 * rows, seed=3) * 0.3, "P": noise(directions, 3 * HIDDEN, seed=4) * 0.3}
    values = {"X": noise(time, BATCH, INPUTS, seed=5)}
    if "sequence_lens" in optional:
        values["sequence_lens"] = np.array([time, 1, (time + 1) // 2], np.int32)
    for seed, name in enumerate(("initial_h", "initial_c"), 6):
        if name in optional:
            values[name] = noise(directions, BATCH, HIDDEN, seed=seed) * 0.5
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = [name if name in ("X", "W", "R") or name in optional else "" for name in order]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h"] + ["Y_c"] * (kind == "LSTM")
    node = helper.make_node(kind, names, outputs, name="cell", hidden_size=HIDDEN, **attributes)
    types = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(name, types[str(value.dtype)],
                                            ["time" if name == "X" and i == 0 else n for i, n in enumerate(value.shape)])
              for name, value in values.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "g", inputs, made,
                              [numpy_helper.from_array(value, name) for name, value in constants.items() if name in names])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path, values


def check(model, values, library, dims, reference=None):
    _, report = snug.compile_model(model, library, dims)
    got, stats = snug.run_model(library, values)
    assert stats["measured"]["arena_high_water"] <= report["memory"]["arena"]
    for name, value in (reference or snug.reference(model, values)).items():
        assert snug.relative_error(got[name], value) < 1e-6, name
    return report, got


ALL = ("B", "sequence_lens", "initial_h", "initial_c")
VARIANTS = {
    "rnn": ("RNN", {}),
    "rnn-relu-clip": ("RNN", dict(optional=("B",), activations=["Relu"], clip=0.4)),
    "rnn-both-functions": ("RNN", dict(directions=2, optional=ALL[:3], direction="bidirectional",
                                       activations=["LeakyRelu", "HardSigmoid"], activation_alpha=[0.1, 0.3],
                                       activation_beta=[0.4])),
    "gru": ("GRU", dict(optional=("B",))),
    "gru-reset-last": ("GRU", dict(optional=ALL[:3], linear_before_reset=1, direction="reverse")),
    "gru-both": ("GRU", dict(directions=2, optional=ALL[:3], direction="bidirectional", clip=0.7)),
    "gru-softsign": ("GRU", dict(activations=["Sigmoid", "Softsign"])),
    "lstm-none": ("LSTM", {}),
    "lstm-peepholes": ("LSTM", dict(optional=("B", "P"), clip=0.6)),
    "lstm-both": ("LSTM", dict(directions=2, optional=ALL, direction="bidirectional")),
    "lstm-coupled": ("LSTM", dict(optional=ALL, input_forget=1, direction="reverse")),
    "lstm-functions": ("LSTM", dict(optional=("B",), activations=["HardSigmoid", "ScaledTanh", "Softplus"],
                                    activation_alpha=[0.3, 1.2], activation_beta=[0.4, 0.7])),
}


@pytest.mark.parametrize("time", [1, 6])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant, time, tmp_path):
    kind, options = VARIANTS[variant]
    model, values = recurrent(tmp_path / "m.onnx", kind, time, **options)
    check(model, values, tmp_path / "m.so", {"time": "1..9"})


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind, tmp_path):
    """A layout that ONNX Runtime does not have: the same as the other one, turned around."""
    model, values = recurrent(tmp_path / "m.onnx", kind, 5, optional=("B", "initial_h"), opset=14)
    want = snug.reference(model, values)
    turned, _ = recurrent(tmp_path / "t.onnx", kind, 5, optional=("B", "initial_h"), opset=14, layout=1)
    import onnx
    graph = onnx.load(turned)
    for info, dims in zip(graph.graph.input, [[BATCH, 5, INPUTS], [BATCH, 1, HIDDEN]]):
        info.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, dims))
    save(graph, turned)
    values = {name: np.ascontiguousarray(np.swapaxes(value, 0, 1)) for name, value in values.items()}
    reference = {name: value.transpose(2, 0, 1, 3) if name == "Y" else np.swapaxes(value, 0, 1)
                 for name, value in want.items()}
    check(turned, values, tmp_path / "t.so", {}, reference)


def test_states_are_carried_in_place(tmp_path):
    """Hidden and cell state are in their outputs all the time, and Y is written step by step: what is left are the gates of
    one step, however long the sequence is."""
    model, values = recurrent(tmp_path / "m.onnx", "LSTM", 40, optional=("B",))
    report, _ = check(model, values, tmp_path / "m.so", {"time": "1..40"})
    assert report["memory"]["arena"] == -(-BATCH * 4 * HIDDEN * 4 // 64) * 64
    creating, running, allocations = snug.outside_memory(tmp_path / "m.so", {"time": 40})
    assert running <= snug.MIB and allocations == 0
