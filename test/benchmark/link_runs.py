# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the modes of links.py share: the model that they run, and how it is compiled and started on all devices of a cluster."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
from graph_builder import GraphBuilder, noise  # noqa: E402
import shaped_links  # noqa: E402


def gpt(path, tokens, layers, hidden, heads=8, ways_up=4, batch=1):
    """A GPT without embeddings: [batch, tokens, hidden] -> the same."""
    graph = GraphBuilder()
    c = graph.constant
    graph.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, tokens, hidden)))

    def norm(value):
        return graph.node("LayerNormalization", value, c(np.ones(hidden, np.float32)), c(np.zeros(hidden, np.float32)))

    def linear(value, into, out, seed):
        product = graph.node("MatMul", value, c(noise(into, out, seed=seed) / np.float32(np.sqrt(into))))
        return graph.node("Add", product, c(noise(out, seed=seed) * np.float32(0.1)))

    def heads_of(value, perm):
        split = graph.node("Reshape", value, c(np.array([batch, tokens, heads, hidden // heads])))
        return graph.node("Transpose", split, perm=perm)

    value = "x"
    for layer in range(layers):
        q, k, v = graph.node("Split", linear(norm(value), hidden, 3 * hidden, 4 * layer), outputs=3, axis=2, num_outputs=3)
        scores = graph.node("MatMul", heads_of(q, [0, 2, 1, 3]), heads_of(k, [0, 2, 3, 1]))
        scores = graph.node("Mul", scores, c(np.float32((hidden / heads) ** -0.5)))
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), heads_of(v, [0, 2, 1, 3]))
        mixed = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), c(np.array([batch, tokens, hidden])))
        value = graph.node("Add", value, linear(mixed, hidden, hidden, 4 * layer + 1))
        up = graph.node("Gelu", linear(norm(value), hidden, ways_up * hidden, 4 * layer + 2))
        value = graph.node("Add", value, linear(up, ways_up * hidden, hidden, 4 * layer + 3))
    graph.outputs.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, (batch, tokens, hidden)))
    return graph.save(path, 20)


class Runner:
    """Starts programs on all devices of a cluster."""

    def __init__(self, cluster, args, work):
        self.cluster, self.mpirun = cluster, args.mpirun
        if not shutil.which(self.mpirun):
            raise shaped_links.CannotShape(f"no '{self.mpirun}' here: install Open MPI")
        # mpirun starts its daemon on each host by this: the host's address ends with the device's number + 1.
        self.agent = work / "agent.sh"
        self.agent.write_text("#!/bin/sh\naddress=$1; shift\nexec ip netns exec $SNUG_CLUSTER-$((${address##*.} - 1)) "
                              "unshare --uts sh -c \"hostname device${address##*.}; $*\"\n")
        self.agent.chmod(0o755)

    def __call__(self, *command, limit=600):
        hosts = ",".join(f"{self.cluster.address(device)}:1" for device in range(self.cluster.size))
        environment = {**os.environ, "SNUG_CLUSTER": self.cluster.name, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                       "OMPI_MCA_plm": "rsh", "OMPI_MCA_plm_rsh_agent": str(self.agent), "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
                       "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": shaped_links.PORT,
                       "OMPI_MCA_oob_tcp_if_include": shaped_links.PORT}
        words = [*self.cluster.inside(0), "unshare", "--uts", "sh", "-c", 'hostname device1; exec "$@"', "sh", self.mpirun, "--host", hosts,
                 "-n", self.cluster.size, *command]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment,
                              timeout=limit)
        if done.returncode:
            sys.exit(f"links: {' '.join(map(str, command))} ended with exit code {done.returncode}\n{done.stderr}")
        return done.stderr


def compile_candidate(args, model, library, topology, mesh, family, overlap="auto"):
    """What the report says of the mesh."""
    report = library.with_suffix(".json")
    done = subprocess.run([str(word) for word in (args.bin / "snugc", model, "-o", library, "--threads", 1, "--mesh", mesh, "--mesh-family",
                                                  family, "--overlap", overlap, "--topology", topology, "--report", report)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"links: {mesh} {family}, --overlap {overlap}: snugc ended with exit code {done.returncode}\n{done.stderr}")
    return json.loads(report.read_text())["mesh"]
