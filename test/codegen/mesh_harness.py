# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles tensor programs that are cut for a mesh through fuse, schedule, chunk and memory to a library, and runs all of
its ranks in this process, a thread each, with numpy as the transport."""
import ctypes as C
import itertools
import os
import subprocess
import threading

import numpy as np

from harness import COLLECTIVE, DTYPES, WAIT, Model, build

OPT = os.environ["SNUG_OPT"]
REDUCE = [np.add, np.maximum, np.minimum, np.multiply]


class Group:
    """Devices that wait for each other."""

    def __init__(self, ranks):
        self.ranks = ranks
        self.barrier = threading.Barrier(len(ranks), timeout=60)
        self.given = {}

    def exchange(self, rank, what):
        self.given[rank] = what
        self.barrier.wait()
        all_given = [self.given[r] for r in self.ranks]
        self.barrier.wait()
        return all_given


class MeshModel(Model):
    abi = 3

    def __init__(self, path):
        super().__init__(path)
        h = self.header
        assert not h.weights_data and not h.weights_file, "the weights of a mesh are by rank"
        self.mesh = tuple(h.mesh)
        self.ranks = list(itertools.product(*map(range, self.mesh)))  # rank r is at ranks[r]
        self.rank_weights = []
        for rank in range(len(self.ranks)) if h.memory.weights else ():
            info = h.rank_weights[rank]
            assert info.file == f"{self.path.name}.rank{rank}.safetensors".encode()
            self.rank_weights.append(self.read_weights(info.file, info.offset, info.id))

    def run_mesh(self, inputs, dims=()):
        """inputs: for each rank its arrays. Returns the outputs of each rank, and the calls (number, count) of rank 0."""
        h, groups, errors, calls = self.header, {}, [], [[] for _ in self.ranks]
        for axes in (1, 2, 3):
            for place in self.ranks:
                same = tuple(p for axis, p in enumerate(place) if not axes >> axis & 1)
                groups.setdefault((axes, same), []).append(self.ranks.index(place))
        groups = {key: Group(ranks) for key, ranks in groups.items()}

        def collective_of(rank):
            def collective(state, number, send, recv, count):
                try:
                    calls[rank].append((number, count))
                    info = h.collectives[number]
                    place = self.ranks[rank]
                    group = groups[info.axes, tuple(p for axis, p in enumerate(place) if not info.axes >> axis & 1)]
                    g, dtype = len(group.ranks), np.dtype(DTYPES[info.dtype.code, info.dtype.bits])

                    def at(address, parts):
                        size = parts * count * dtype.itemsize
                        return np.frombuffer((C.c_char * size).from_address(address), dtype).reshape(parts, count)
                    sent = at(send, g if info.kind in (1, 3) else 1).copy()
                    given = group.exchange(rank, (number, count, sent))
                    assert all(other[:2] == (number, count) for other in given), "ranks disagree"
                    parts, here = [other[2] for other in given], group.ranks.index(rank)
                    if info.kind == 2:
                        result = np.concatenate(parts)
                    elif info.kind == 4:
                        result = parts[here - 1]
                    elif info.kind == 3:
                        result = np.stack([p[here] for p in parts])
                    else:
                        result = parts[0]
                        for other in parts[1:]:
                            result = REDUCE[info.reduction](result, other)
                        result = result[here:here + 1] if info.kind == 1 else result
                    at(recv, len(result))[:] = result
                except Exception as error:  # ctypes would only print it
                    errors.append(error)
            # What is in flight is done at its wait, so who looks too early, or writes too early, is found out.
            in_flight = {}

            def start(state, number, *what):
                if number in in_flight:
                    errors.append(AssertionError(f"{number} is in flight already"))
                in_flight[number] = what
            self.most_in_flight = 0

            def wait(state, number):
                self.most_in_flight = max(self.most_in_flight, len(in_flight))
                collective(state, number, *in_flight.pop(number))
            return {"collective": COLLECTIVE(collective), "start": COLLECTIVE(start), "wait": WAIT(wait)}

        results = [None] * len(self.ranks)

        def run(rank):
            try:
                weights = self.rank_weights[rank][1].ctypes.data if self.rank_weights else None
                results[rank] = self.run(*inputs[rank], dims=dims, weights=weights, mesh_index=self.ranks[rank],
                                         **collective_of(rank))
            except Exception as error:
                errors.append(error)
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(self.ranks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results, calls[0]


class OverlappedModel(MeshModel):
    abi = 4


def plan(text, chunk=None, pieces=1):
    """The planned program of a tensor program. chunk: options of snug-select-chunks; pieces of kernels and their collectives."""
    chunks = f"snug-select-chunks{{{chunk}}}," if chunk is not None else ""
    pipeline = ("builtin.module(func.func(snug-fuse,snug-verify-kernels),snug-schedule," + chunks +
                f"snug-place-parts,snug-bufferize,snug-overlap-collectives{{pieces={pieces}}},snug-plan-arena,snug-verify-plan)")
    result = subprocess.run([OPT, "--pass-pipeline=" + pipeline, "--mlir-print-debuginfo"], input=text, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:] + "\n" + text
    return result.stdout


def build_mesh(folder, text, chunk=None, name="m", data=".", pieces=1):
    planned = plan(text, chunk, pieces)
    model = build(folder, planned, name, data, model_class=OverlappedModel if "snug_mesh.wait" in planned else MeshModel)
    model.plan = planned
    return model
