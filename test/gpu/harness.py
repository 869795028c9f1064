# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Builds kernels with snug-gpu-sim-build and runs them on the simulator, with numpy arrays."""
import ctypes as C
import hashlib
import pathlib
import tempfile

import numpy as np
from simulator import BUILD, SIMULATOR, View, host_code, start

KERNELS = pathlib.Path(__file__).parent / "kernels"
folder = tempfile.TemporaryDirectory(prefix="snug-gpu-")
built = {}


def build(text):
    """The library of a module's kernels; the same text is built once. RuntimeError: what the tool says."""
    key = hashlib.sha256(text.encode()).hexdigest()
    if key not in built:
        path = pathlib.Path(folder.name) / key[:16]
        path.with_suffix(".mlir").write_text(text)
        host_code(path.with_suffix(".mlir"), path.with_suffix(".so"))
        built[key] = C.CDLL(str(path.with_suffix(".so")))
    return built[key]


def source(name):
    return (KERNELS / f"{name}.mlir").read_text()


def aligned(array, multiple=256):
    """The array in memory that starts at a multiple of `multiple` bytes, as the arena's buffers do."""
    array = np.ascontiguousarray(array)
    room = np.empty(array.nbytes + multiple, np.uint8)
    start = -room.ctypes.data % multiple
    copy = room[start:start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def launch(text, kernel, grid, block, arguments, dynamic=0, writable=None, views=None):
    """Runs a kernel and returns the reports' lines. Arguments are arrays (addresses), ints (i64) and np.float32. `writable`: the
    indices of arrays that may be written, all where it is not given; `views`: instead of one a parameter."""
    library = build(text)
    entry = C.cast(getattr(library, kernel + "_entry"), C.c_void_p)
    values, own = [], []
    for index, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray):
            values.append(C.c_void_p(argument.ctypes.data))
            own.append(View(argument.ctypes.data, argument.nbytes, writable is None or index in writable, None, index))
        else:
            values.append(C.c_float(argument) if isinstance(argument, np.float32) else C.c_int64(argument))
    assert SIMULATOR.snug_sim_num_params(entry) == len(values)
    own = own if views is None else views
    pointers = (C.c_void_p * len(values))(*[C.addressof(value) for value in values])
    return start(entry, grid, block, dynamic, pointers, own)
