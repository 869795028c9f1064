# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs kernels of compiled models on the simulator, by themselves or behind what stands in for a driver."""
import contextlib
import ctypes as C
import os
import pathlib
import subprocess

BUILD = os.environ["SNUG_GPU_SIM_BUILD"]
SIMULATOR = C.CDLL(os.environ["SNUG_GPU_SIM"])
SIMULATOR.snug_sim_report.restype = C.c_char_p
SIMULATOR.snug_sim_num_params.argtypes = [C.c_void_p]
built = {}


class View(C.Structure):
    _fields_ = [("base", C.c_void_p), ("bytes", C.c_size_t), ("writable", C.c_int), ("name", C.c_char_p), ("param", C.c_int)]


class Stats(C.Structure):
    _fields_ = [(name, C.c_uint64) for name in ("live_bytes", "peak_bytes", "pinned_bytes", "peak_pinned_bytes", "allocations", "frees",
                                                "waits", "launches", "copies", "faults", "handles")]


def host_code(kernels, path):
    """Writes the kernels of an .mlir file as host code. An error says what the tool says."""
    done = subprocess.run([BUILD, kernels, path], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stderr[-4000:]}")


class Gpu:
    """What stands in for a GPU, in this process. A context of a model is made within a `with` of it. Without `kernels`, the .mlir file of
    the model's, nothing is computed."""

    def __init__(self, kernels=None):
        self.kernels = kernels and kernels.with_suffix(".so")
        if kernels:
            host_code(kernels, self.kernels)
        # Whoever asks for libcuda.so.1 gets it, now that it is there, and so with the libraries.
        self.driver = C.CDLL(os.environ["SNUG_FAKE_CUDA"])
        names = ("libcublasLt.so.13", "libcudnn.so.9", "libnccl.so.2")
        self.libraries = [C.CDLL(str(pathlib.Path(os.environ["SNUG_FAKE_CUDA"]).with_name(name))) for name in names]

    def __enter__(self):
        os.environ["SNUG_SIM_KERNELS"] = str(self.kernels or "")
        os.environ["SNUG_FAKE_CUDA_COMPUTES"] = str(int(bool(self.kernels)))
        self.driver.snug_fake_cuda_reset()
        return self

    def __exit__(self, kind, *_):
        assert kind is not None or self.stats().faults == 0, "the simulator has found faults: see stderr"

    @contextlib.contextmanager
    def log(self, path):
        """Calls of the driver are written to a file, a line of JSON each."""
        os.environ["SNUG_FAKE_CUDA_LOG"] = str(path)
        yield
        del os.environ["SNUG_FAKE_CUDA_LOG"]

    def device_bytes(self, device):
        """(live, peak) of one device."""
        live, peak = C.c_uint64(), C.c_uint64()
        self.driver.snug_fake_cuda_get_device_bytes(device, C.byref(live), C.byref(peak))
        return live.value, peak.value

    def stats(self):
        stats = Stats()
        self.driver.snug_fake_cuda_get_stats(C.byref(stats))
        return stats


def library(kernels):
    """Host code of the kernels in an .mlir file, loaded."""
    key = kernels, kernels.stat().st_mtime_ns
    if key not in built:
        path = kernels.with_suffix(f".{len(built)}.so")  # a path is loaded once
        host_code(kernels, path)
        built[key] = C.CDLL(str(path))
    return built[key]


def run(kernels, name, blocks, threads, shared, arguments, memory):
    """Runs kernel `name` of that file; `memory`: (array, whether it may be written), which any pointer may point into. Returns the
    reports' lines."""
    if not blocks:
        return []
    entry = C.cast(getattr(library(kernels), name + "_entry"), C.c_void_p)
    assert SIMULATOR.snug_sim_num_params(entry) == len(arguments)
    values = (C.c_int64 * len(arguments))(*arguments)
    pointers = (C.c_void_p * len(arguments))(*[C.addressof(values) + 8 * i for i in range(len(arguments))])
    views = [View(array.ctypes.data, array.nbytes, writable, None, -1) for array, writable in memory if array.nbytes]
    return start(entry, [blocks], [threads], shared, pointers, views)


def start(entry, grid, block, dynamic, pointers, views):
    """A launch, with what it was given as the simulator takes it. Returns the reports' lines."""
    three = lambda extents: (C.c_uint32 * 3)(*(tuple(extents) + (1, 1))[:3])
    faults = SIMULATOR.snug_sim_launch(entry, three(grid), three(block), C.c_uint32(dynamic), pointers, (View * len(views))(*views),
                                       len(views))
    reports = [SIMULATOR.snug_sim_report(i).decode() for i in range(SIMULATOR.snug_sim_num_reports())]
    assert (faults == 0) == (not reports)
    return reports
