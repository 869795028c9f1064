# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tests that come with the `onnx` package, as a list of cases."""
import dataclasses
import hashlib
import pathlib
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.runner import Runner

DATA = pathlib.Path(loader.DATA_DIR)
SUITES = ("node", "simple", "light", "pytorch-converted", "pytorch-operator")


@dataclasses.dataclass(eq=False)
class Case:
    name: str
    suite: str
    model: onnx.ModelProto
    data_sets: list  # (inputs, outputs) each; NumPy arrays, or what numpy_helper makes of sequences and optionals
    rtol: float
    atol: float

    def digest(self):
        """Of all that decides how the case ends, but for the program under test."""
        digest = hashlib.sha256(self.model.SerializeToString(deterministic=True))
        digest.update(repr((self.rtol, self.atol)).encode())
        for value in numpy_values(self.data_sets):
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
        return digest.hexdigest()

    def ops(self):
        """Op types of all nodes, those of subgraphs and functions included."""
        found = set()
        for nodes in (self.model.graph.node, *(function.node for function in self.model.functions)):
            collect_ops(nodes, found)
        return found


def collect_ops(nodes, found):
    for node in nodes:
        found.add(f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                collect_ops(graph.node, found)


def numpy_values(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from numpy_values(item)
    elif value is not None:
        yield numpy.asarray(value)


def flat(values):
    """The arrays of outputs, in front of those of a sequence their number; ONNX's own comparison takes no sequences of
    scalars."""
    found = []
    for value in values:
        found += [numpy.array(len(value)), *flat(value)] if isinstance(value, (list, tuple)) else [value]
    return found


def plain(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def stored(path, type_proto):
    data = path.read_bytes()
    if type_proto.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if type_proto.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def node_cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about what the cases overflow on purpose
        for case in loader.load_model_tests(kind="node"):
            yield Case(case.name, "node", case.model,
                       [([plain(v) for v in inputs], [plain(v) for v in outputs]) for inputs, outputs in case.data_sets],
                       case.rtol, case.atol)


def folder_cases(suite):
    for case in loader.load_model_tests(kind=suite):
        folder = pathlib.Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        data_sets = []
        for data in sorted(folder.glob("test_data_set*")):
            sides = []
            for side, infos in (("input", model.graph.input), ("output", model.graph.output)):
                count = len(list(data.glob(f"{side}_*.pb")))
                sides.append([stored(data / f"{side}_{i}.pb", infos[i].type) for i in range(count)])
            data_sets.append(tuple(sides))
        yield Case(case.name, suite, model, data_sets, case.rtol, case.atol)


def light_cases():
    """The package's real models, whose weights are computed; those that need a download are no part of it."""
    for case in loader.load_model_tests(kind="real"):
        path = DATA.parents[2].parent / (case.url or "")
        if not path.is_file():
            continue
        model = onnx.load(path)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [Runner.generate_dummy_data(info, name=case.name) for info in model.graph.input
                  if info.name not in constants]
        outputs = [stored(path.with_name(f"{path.stem}_output_{i}.pb"), info.type)
                   for i, info in enumerate(model.graph.output)]
        yield Case(case.name, "light", model, [(inputs, outputs)], case.rtol, case.atol)


def load(suites=SUITES):
    """All cases of the suites, in a fixed order."""
    found = []
    for suite in suites:
        made = node_cases() if suite == "node" else light_cases() if suite == "light" else folder_cases(suite)
        found += sorted(made, key=lambda case: case.name)
    return found
