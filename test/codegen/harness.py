# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles planned programs with snug-codegen-test and runs them through the model ABI, with numpy arrays."""
import concurrent.futures
import ctypes as C
import json
import os
import pathlib
import struct
import subprocess

import ml_dtypes
import numpy as np

COMPILER = os.environ["SNUG_CODEGEN_TEST"]
TARGET = os.environ.get("SNUG_TARGET", "cpu")  # of a GPU kernels run on the simulator
DTYPES = {(2, 16): np.float16, (2, 32): np.float32, (2, 64): np.float64, (0, 64): np.int64, (0, 32): np.int32, (6, 8): np.bool_,
          (0, 8): np.int8, (0, 16): np.int16, (4, 16): ml_dtypes.bfloat16}


class Dtype(C.Structure):
    _fields_ = [("code", C.c_uint8), ("bits", C.c_uint8), ("lanes", C.c_uint16)]


class DimInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("min", C.c_int64), ("max", C.c_int64), ("step", C.c_int64)]


class Extent(C.Structure):
    _fields_ = [("symbol", C.c_int32), ("reserved", C.c_int32), ("scale", C.c_int64), ("offset", C.c_int64),
                ("text", C.c_char_p)]


class ValueInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("kind", C.c_uint32), ("dtype", Dtype), ("rank", C.c_int32),
                ("flags", C.c_uint32), ("extents", C.POINTER(Extent))]


KERNEL = C.CFUNCTYPE(None, C.c_void_p, C.c_int64, C.c_int64, C.c_int64)
PARALLEL_FOR = C.CFUNCTYPE(None, C.c_void_p, KERNEL, C.c_void_p, C.c_int64, C.c_int64)
COLLECTIVE = C.CFUNCTYPE(None, C.c_void_p, C.c_int64, C.c_void_p, C.c_void_p, C.c_int64)
WAIT = C.CFUNCTYPE(None, C.c_void_p, C.c_int64)
READ = C.CFUNCTYPE(C.c_int64, C.c_void_p, C.c_void_p, C.c_int64)
LAUNCH = C.CFUNCTYPE(None, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, C.POINTER(C.c_int64))


class RuntimeTable(C.Structure):
    _fields_ = [("abi_version", C.c_uint32), ("struct_size", C.c_uint32), ("parallel_for", PARALLEL_FOR),
                ("text", C.c_void_p), ("text_state", C.c_void_p), ("collective", COLLECTIVE), ("comm_state", C.c_void_p),
                ("start", COLLECTIVE), ("wait", WAIT), ("launch", LAUNCH), ("device_state", C.c_void_p), ("read", READ),
                ("contract", C.c_void_p)]


class RunArgs(C.Structure):
    _fields_ = [("runtime", C.POINTER(RuntimeTable)), ("state", C.c_void_p), ("arena", C.c_void_p),
                ("weights", C.c_void_p), ("dims", C.c_void_p), ("inputs", C.c_void_p), ("outputs", C.c_void_p),
                ("mesh_index", C.c_void_p)]


class Memory(C.Structure):
    _fields_ = [(n, C.c_uint64) for n in ("weights", "arena", "alignment", "library", "inputs", "outputs")]


class LaunchInfo(C.Structure):
    _fields_ = [("kernel", C.c_char_p), ("nodes", C.c_char_p)]


class CollectiveInfo(C.Structure):
    _fields_ = [("kind", C.c_uint32), ("axes", C.c_uint32), ("reduction", C.c_uint32), ("dtype", Dtype),
                ("nodes", C.c_char_p)]


class RankWeights(C.Structure):
    _fields_ = [("file", C.c_char_p), ("offset", C.c_uint64), ("id", C.c_char_p)]


class GpuKernel(C.Structure):
    _fields_ = [("name", C.c_char_p), ("threads", C.c_uint32), ("shared", C.c_uint32), ("num_args", C.c_uint32),
                ("reserved", C.c_uint32)]


class Header(C.Structure):
    _fields_ = [("abi_version", C.c_uint32), ("struct_size", C.c_uint32), ("snug_version", C.c_char_p),
                ("model_name", C.c_char_p), ("target", C.c_char_p), ("num_dims", C.c_uint32),
                ("num_inputs", C.c_uint32), ("num_outputs", C.c_uint32), ("num_threads", C.c_uint32),
                ("dims", C.POINTER(DimInfo)), ("inputs", C.POINTER(ValueInfo)), ("outputs", C.POINTER(ValueInfo)),
                ("memory", Memory), ("weights_data", C.c_void_p), ("weights_file", C.c_char_p),
                ("weights_offset", C.c_uint64), ("weights_id", C.c_char_p),
                ("shapes", C.CFUNCTYPE(None, C.c_void_p, C.c_void_p)),
                ("run", C.CFUNCTYPE(None, C.POINTER(RunArgs))),
                ("num_launches", C.c_uint32), ("num_requirements", C.c_uint32), ("launches_table", C.POINTER(LaunchInfo)),
                ("arena_need", C.c_void_p), ("requirements", C.POINTER(C.c_char_p)), ("unmet", C.c_void_p),
                ("num_data_shapes", C.c_uint32), ("num_value_dims", C.c_uint32), ("data_shapes", C.c_void_p),
                ("value_dims", C.c_void_p), ("text_bytes", C.c_uint64), ("num_maps", C.c_uint32),
                ("reserved", C.c_uint32), ("maps", C.c_void_p), ("mesh", C.c_uint32 * 2),
                ("num_collectives", C.c_uint32), ("reserved_mesh", C.c_uint32),
                ("collectives", C.POINTER(CollectiveInfo)), ("rank_weights", C.POINTER(RankWeights)),
                ("input_cuts", C.c_void_p), ("output_cuts", C.c_void_p), ("device", C.c_uint32), ("num_gpu_kernels", C.c_uint32),
                ("gpu_kernels", C.POINTER(GpuKernel)), ("gpu_image", C.c_void_p), ("gpu_image_bytes", C.c_uint64),
                ("workspace_bytes", C.c_uint64), ("num_contractions", C.c_uint32), ("reserved_contractions", C.c_uint32),
                ("contractions", C.c_void_p), ("precision", C.c_char_p)]


def tf32(x):
    """f32 rounded as cvt.rna.tf32 does it: to 10 bits of mantissa, to nearest, ties away from zero."""
    return ((np.ascontiguousarray(x, np.float32).view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def aligned(num_bytes, fill=0):
    raw = np.full(num_bytes + 64, fill, np.uint8)
    shift = -raw.ctypes.data % 64
    return raw[shift:shift + num_bytes]


def pointers(arrays):
    return (C.c_void_p * max(len(arrays), 1))(*[a.ctypes.data for a in arrays])


class Model:
    abi = 1 if TARGET == "cpu" else 5  # the oldest that serves it

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.library = C.CDLL(str(path))
        self.library.snug_model_query.restype = C.POINTER(Header)
        assert not self.library.snug_model_query(C.c_uint32(self.abi - 1)), "a reader of an older ABI gets nothing"
        self.header = self.library.snug_model_query(C.c_uint32(self.abi)).contents
        assert self.header.abi_version == self.abi
        h = self.header
        assert h.struct_size == C.sizeof(Header)
        self.weights_address = h.weights_data
        if h.weights_file:
            self.safetensors, self.weights = self.read_weights(h.weights_file, h.weights_offset, h.weights_id)
            self.weights_address = self.weights.ctypes.data

    def read_weights(self, file, offset, weights_id):
        data = (self.path.parent / file.decode()).read_bytes()
        length, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + length])
        assert offset == 8 + length and offset % 64 == 0
        assert header["__metadata__"]["snug_weights_id"] == weights_id.decode()
        assert len(data) == offset + self.header.memory.weights
        weights = aligned(self.header.memory.weights)
        weights[:] = np.frombuffer(data, np.uint8)[offset:]
        return header, weights

    def shapes(self, dims):
        h = self.header
        values = [h.inputs[i] for i in range(h.num_inputs)] + [h.outputs[i] for i in range(h.num_outputs)]
        d, out = np.array(list(dims) + [0], np.int64), np.zeros(sum(v.rank for v in values) + 1, np.int64)
        h.shapes(d.ctypes.data, out.ctypes.data)
        result, at = [], 0
        for v in values:
            result.append(tuple(out[at:at + v.rank]))
            at += v.rank
        return result[:h.num_inputs], result[h.num_inputs:]

    def run(self, *inputs, dims=(), split=None, threads=0, weights=None, collective=COLLECTIVE(), mesh_index=None,
            start=COLLECTIVE(), wait=WAIT()):
        """split: None runs each launch as one range; n cuts it in n, in reverse order, heeding its grain if n > 0.
        threads: run the ranges at the same time."""
        h = self.header
        in_shapes, out_shapes = self.shapes(dims)
        arrays = []
        for i, (value, shape) in enumerate(zip(inputs, in_shapes)):
            dtype = h.inputs[i].dtype
            arrays.append(np.array(value, DTYPES[dtype.code, dtype.bits], order="C"))
            assert arrays[-1].shape == shape, (arrays[-1].shape, shape)
        outputs = []
        for i, shape in enumerate(out_shapes):
            dtype = DTYPES[h.outputs[i].dtype.code, h.outputs[i].dtype.bits]
            guard = aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize + 128, 0xA5)  # sectors that a store touches are the same each time
            outputs.append((guard, guard[64:-64].view(dtype).reshape(shape)))
        arena = aligned(h.memory.arena + 64, 0xFF)  # NaN: reading what was not written shows

        def parallel_for(state, kernel, args, extent, grain):
            self.launches.append((extent, grain))
            index = C.cast(args, C.POINTER(C.c_int64))[-1]
            assert 0 <= index < h.num_launches and h.launches_table[index].kernel
            step = extent if split is None else -(-extent // abs(split))
            if split is not None and split > 0:
                step = -(-step // grain) * grain
            ranges = [(lo, min(lo + step, extent)) for lo in range(0, extent, max(step, 1))]
            if threads:  # ctypes lets go of Python's lock, so these run side by side
                with concurrent.futures.ThreadPoolExecutor(threads) as pool:
                    list(pool.map(lambda r: kernel(args, r[0], r[1], 0), ranges))
                return
            for lo, hi in reversed(ranges):
                kernel(args, lo, hi, 0)

        memory = [(arena[:h.memory.arena], True), *((array, False) for array in arrays), *((array, True) for _, array in outputs)]

        def launch(state, number, kernel, blocks, args):
            self.launches.append((blocks, 1))
            assert 0 <= number < h.num_launches and h.launches_table[number].kernel == h.gpu_kernels[kernel].name
            self.simulate(h.gpu_kernels[kernel], blocks, args, memory)

        self.launches, self.faults = [], []  # of the last run
        table = RuntimeTable(self.abi, C.sizeof(RuntimeTable), PARALLEL_FOR(parallel_for), None, None, collective, None, start, wait,
                             LAUNCH(launch), None, READ(lambda _, address, count: int.from_bytes(C.string_at(address, count), "little", signed=count == 8)))
        d = np.array(list(dims) + [0], np.int64)
        ins, outs = pointers(arrays), pointers([o for _, o in outputs])
        place = None if mesh_index is None else np.array(mesh_index, np.int64)
        h.run(C.byref(RunArgs(C.pointer(table), None, arena.ctypes.data, weights or self.weights_address, d.ctypes.data,
                              C.addressof(ins), C.addressof(outs), None if place is None else place.ctypes.data)))
        assert not self.faults, self.faults
        for guard, _ in outputs:
            assert (guard[:64] == 0xA5).all() and (guard[-64:] == 0xA5).all(), "written outside of an output"
        assert (arena[h.memory.arena:] == 0xFF).all(), "written behind the arena"
        results = [o.copy() for _, o in outputs]
        return results[0] if len(results) == 1 else results


    def simulate(self, kernel, blocks, args, memory):
        """Runs a kernel that the compiler has left in the folder of the model. An exception here would go nowhere."""
        import simulator  # of test/gpu
        try:
            views = [*memory, *([(self.weights, False)] if self.header.memory.weights and not self.header.weights_data else [])]
            if self.header.weights_data:
                embedded = (C.c_uint8 * self.header.memory.weights).from_address(self.header.weights_data)
                views.append((np.frombuffer(embedded, np.uint8), False))
            self.faults += simulator.run(self.path.parent / "kernels.mlir", kernel.name.decode(), blocks, kernel.threads, kernel.shared,
                                         [args[i] for i in range(kernel.num_args)], views)
        except Exception as error:
            self.faults.append(repr(error))


def build(folder, text, name="m", data=".", dump=False, model_class=None):
    source, library = pathlib.Path(folder) / (name + ".mlir"), pathlib.Path(folder) / (name + ".so")
    source.write_text(text)
    command = [COMPILER, str(source), str(library), str(data)] + ([str(folder)] if dump or TARGET != "cpu" else [])
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:] + "\n" + text
    model = (model_class or Model)(library)
    model.report = json.loads(result.stdout)
    return model


def memref(shape, dtype="f32"):
    return "memref<" + "".join(f"{'?' if s is None or isinstance(s, str) else s}x" for s in shape) + dtype + ">"


def program(inputs, outputs, body, dims=(), arena=64, prologue="", name="test", precision=None):
    """inputs, outputs: (name, shape, dtype); a shape's text entries are extents over dims, (name, max) each."""
    said = f'snug.precision = "{precision}", ' if precision else ""
    def argument(value):
        n, shape, dtype = value
        texts = ", ".join(f'"{s}"' for s in shape)
        return f'%{n}: {memref(shape, dtype)} {{snug.name = "{n}", snug.dims = [{texts}]}}'
    dim_attrs = ", ".join(f'{{name = "{n}", min = 1 : i64, max = {m} : i64, step = 1 : i64}}' for n, m in dims)
    return f'''module attributes {{{said}snug.model_name = "{name}", snug.threads = 2 : i64, snug.dims = [{dim_attrs}]}} {{
{prologue}
func.func @main({", ".join(argument(v) for v in list(inputs) + list(outputs))}) attributes {{snug.num_inputs = {len(inputs)} : i64}} {{
  %arena = snug_plan.arena align 64 : memref<{arena}xi8>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
{body}
  return
}}
}}
'''
