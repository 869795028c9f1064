# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs models that snugc compiled, on NumPy arrays, and on arrays of other libraries on a GPU.

    import snug
    model = snug.load("model.so")
    outputs = model(input_ids=ids)      # or model(ids): the model's order; outputs by name

The runtime library is the one that the environment variable SNUG_RUNTIME names, else libsnug_runtime.so beside this
package or in the lib folder of the tree that it is installed in, else the one that the system finds.
"""

import ctypes
import math
import os

import numpy

from . import _abi, _arrays
from ._abi import Error, check as _check, library as _library

__all__ = ["load", "Model", "Comm", "Error", "version"]


def version():
    """The version of the runtime."""
    return _library.snug_version().decode()


class Comm:
    """The communicator of one rank of a model that is cut for a mesh of devices (snugc --mesh), for load(..., comm=...). It is used by
    one thread at a time. All ranks load the model and call it, with inputs of the same shapes; what fails on one fails on all."""

    def __init__(self, handle):
        self._handle = handle

    @staticmethod
    def mpi(timeout_ms=0, start_timeout_ms=0):
        """That of this process, over MPI (MPI_COMM_WORLD). Times as snug_comm_options in snug/Runtime.h has them."""
        handle, options = ctypes.c_void_p(), _abi.CommOptions(ctypes.sizeof(_abi.CommOptions), timeout_ms, start_timeout_ms)
        _check(_library.snug_comm_create_mpi(None, ctypes.byref(options), ctypes.byref(handle)))
        return Comm(handle)

    @staticmethod
    def loopback(size, timeout_ms=0, start_timeout_ms=0):
        """Those of `size` threads of this process, a list."""
        handles, options = (ctypes.c_void_p * size)(), _abi.CommOptions(ctypes.sizeof(_abi.CommOptions), timeout_ms, start_timeout_ms)
        _check(_library.snug_comm_create_loopback(size, ctypes.byref(options), handles))
        return [Comm(ctypes.c_void_p(handle)) for handle in handles]

    def __del__(self):
        _library.snug_comm_destroy(self._handle)

    @property
    def rank(self):
        return _library.snug_comm_rank(self._handle)

    @property
    def size(self):
        return _library.snug_comm_size(self._handle)


class Model:
    """A compiled model with one context. Calls take turns; load it again for calls that run at the same time."""

    def __init__(self, path, num_threads=0, dims=None, profile=False, parallel_for=None, donate=False, device=0, stream=None,
                 device_tensors=False, cuda_graph=False, comm=None):
        self._donate, self._comm = donate, comm  # which outlives the context
        self._model, self._context = ctypes.c_void_p(), ctypes.c_void_p()
        _check(_library.snug_model_load(os.fsencode(path), ctypes.byref(self._model)))
        flags = (_abi.DEVICE_TENSORS if device_tensors else 0) | (_abi.GRAPH if cuda_graph else 0)
        options = _abi.Options(struct_size=ctypes.sizeof(_abi.Options), num_threads=num_threads, flags=flags, device=device)
        if comm is not None:
            options.comm = comm._handle
        if stream is not None:
            options.stream = stream or 1  # CUDA's legacy stream
        self._device = f"cuda:{device}" if _library.snug_model_device(self._model) else "cpu"
        self._launches = [(info.kernel.decode(), info.nodes.decode()) for info in self._all("launch")] if profile else []
        if parallel_for:
            self._parallel_for = parallel_for  # it must live as long as the context
            options.parallel_for = ctypes.cast(parallel_for, ctypes.c_void_p)
        if profile:
            self._launch_ns = (ctypes.c_uint64 * max(1, len(self._launches)))()
            options.launch_ns = self._launch_ns
        _check(_library.snug_context_create(self._model, ctypes.byref(options), ctypes.byref(self._context)))
        self._inputs, self._outputs = self._values("input"), self._values("output")
        self._overwritten = [value.name.decode() for value in self._all("input") if value.flags & _abi.OVERWRITTEN]
        self._data_shapes = [value.name.decode() for value in self._all("output") if value.flags & _abi.DATA_SHAPE]
        self._maps = {name: _arrays.keys_of(found.contents) for index, name in enumerate(self._outputs)
                      if (found := _library.snug_model_output_keys(self._model, index))}
        self._dims = [dim.name.decode() for dim in self._all("dim")]
        self._fixed = dict(dims or {})
        for name, value in self._fixed.items():
            _check(_library.snug_context_set_dim(self._context, name.encode(), value))

    def __del__(self):
        if getattr(self, "_context", None):
            _library.snug_context_destroy(self._context)
        if getattr(self, "_model", None):
            _library.snug_model_release(self._model)

    def _all(self, kind):
        index, get = 0, getattr(_library, f"snug_model_{kind}")
        while info := get(self._model, index):
            yield info.contents
            index += 1

    def _values(self, kind):
        return {value.name.decode(): (value.dtype, value.rank) for value in self._all(kind)}

    @property
    def inputs(self):
        """Names of the inputs, in the model's order."""
        return list(self._inputs)

    @property
    def outputs(self):
        """Names of the outputs, in the model's order."""
        return list(self._outputs)

    @property
    def overwritten(self):
        """Names of the inputs that runs overwrite (snugc --donate)."""
        return list(self._overwritten)

    @property
    def device(self):
        """Where the model runs: "cpu", or "cuda:N"."""
        return self._device

    @property
    def stream(self):
        """The CUDA stream that calls run on, as an int; None on the CPU."""
        return _library.snug_context_stream(self._context)

    @property
    def maps(self):
        """Keys, as lists, of the outputs that are sequences of maps, by their names."""
        return {name: list(keys) for name, keys in self._maps.items()}

    def memory(self):
        """What the model needs for its largest dims, in bytes."""
        need = _abi.Need()
        _check(_library.snug_model_memory(self._model, None, ctypes.byref(need)))
        return {name: getattr(need, name) for name, _ in _abi.Need._fields_}

    def profile(self):
        """Of each launch, in the program's order, (kernel, ONNX nodes, nanoseconds in all calls since the last time that
        this was asked); one inside of a loop counts all iterations. Only of a model that was loaded with profile=True."""
        found = [(*launch, ns) for launch, ns in zip(self._launches, getattr(self, "_launch_ns", ()))]
        ctypes.memset(getattr(self, "_launch_ns", (ctypes.c_uint64 * 0)()), 0, 8 * len(found))
        return found

    def __call__(self, *arrays, out=None, **named):
        """Runs the model and returns its outputs by name: arrays, and for a sequence of maps a list of dicts. An array that is not C-contiguous is copied, and so is one that
        the model overwrites, unless it was loaded with donate=True (a read-only array even then); a wrong dtype or shape
        is an Error, never converted.

        A model for a GPU takes arrays on its device as they are (of any library with DLPack: torch, CuPy), and NumPy arrays,
        which are copied. Where one of the inputs is on the device, outputs are arrays of its library there, else NumPy arrays;
        `out` may have, by name, arrays on the device to write to instead. With a stream of the caller's they are there in its
        order."""
        names = list(self._inputs)
        if len(arrays) > len(names):
            raise TypeError(f"the model takes {len(names)} inputs, got {len(arrays)}")
        given = dict(zip(names, arrays))
        for name, array in named.items():
            if name not in self._inputs or name in given:
                problem = "is given twice" if name in given else f"is no input of the model ({', '.join(names)})"
                raise TypeError(f"'{name}' {problem}")
            given[name] = array
        missing = [name for name in names if name not in given]
        if missing:
            raise TypeError(f"missing inputs: {', '.join(missing)}")
        kept, values = [], []  # what is kept alive until the run has begun: bytes of strings, views of arrays on the device
        sample = next((given[name] for name in names if _arrays.is_on_gpu(given[name])), None)
        # ascontiguousarray makes a scalar one-dimensional, so it only sees what needs it.
        for name in names:
            if _arrays.is_on_gpu(given[name]):
                if name in self._overwritten and not self._donate:
                    raise Error(1, f"the model overwrites '{name}': load it with donate=True, and give it an array that need not be kept")
                values.append(_arrays.dltensor(given[name], self.stream, kept))
                continue
            value = numpy.asarray(given[name])
            value = value if value.flags.c_contiguous else numpy.ascontiguousarray(value)
            if name in self._overwritten and not (self._donate and value.flags.writeable):
                value = value.copy()
            values.append(_arrays.words_of(value, kept) if value.dtype.kind in "OSU" else value)
        in_views, in_pointers = _arrays.tensors(values)

        dims = (ctypes.c_int64 * max(1, len(self._dims)))(*[self._fixed.get(name, -1) for name in self._dims])
        _check(_library.snug_model_bind_dims(self._model, in_pointers, len(values), dims))
        results, out = {}, dict(out or {})
        unknown = [name for name in out if name not in self._outputs]
        if unknown:
            raise TypeError(f"'{unknown[0]}' is no output of the model ({', '.join(self._outputs)})")
        for index, (name, (dtype, rank)) in enumerate(self._outputs.items()):
            shape = (ctypes.c_int64 * max(1, rank))()
            _check(_library.snug_model_output_shape(self._model, index, dims, shape))
            shape = tuple(shape[:rank])
            if name in out:
                results[name] = out[name]
            elif sample is not None:
                results[name] = _arrays.empty(sample, shape, dtype, name)
            else:
                results[name] = numpy.empty(shape, _arrays.numpy_dtype(dtype, name))
        places = [_arrays.dltensor(array, self.stream, kept) if _arrays.is_on_gpu(array) else array for array in results.values()]
        out_views, out_pointers = _arrays.tensors(places)
        _check(_library.snug_run(self._context, in_pointers, len(values), out_pointers, len(results)))
        for name in self._data_shapes:
            shape = (ctypes.c_int64 * max(1, results[name].ndim))()
            _check(_library.snug_context_output_shape(self._context, self.outputs.index(name), shape))
            shape = tuple(shape[:results[name].ndim])
            results[name] = results[name].reshape(-1)[:math.prod(shape)].reshape(shape)
        strings = [name for name, (dtype, _) in self._outputs.items() if (dtype.code, dtype.bits) == _arrays.STRING]
        outputs = {name: _arrays.strings_of(array) if name in strings else array for name, array in results.items()}
        for name, keys in self._maps.items():
            outputs[name] = [dict(zip(keys, row)) for row in outputs[name].tolist()]
        return outputs


def load(path, num_threads=0, dims=None, profile=False, parallel_for=None, donate=False, device=0, stream=None,
         device_tensors=False, cuda_graph=False, comm=None):
    """Loads a compiled model. num_threads: at most the planned number, 0 for just that. dims: values of dims that no
    input's shape determines. profile: count where the time goes, for Model.profile(). parallel_for: a ctypes function of
    the type snug_parallel_for_fn (snug/Runtime.h), to run kernels on threads of the caller's. donate: arrays for inputs that the model overwrites need not
    be kept.

    Of a model for a GPU: device, its number. stream: the CUDA stream to run on, as an int (of torch:
    torch.cuda.current_stream().cuda_stream); calls then return before the run is done, unless an output is a NumPy array. Without
    it, calls return when it is done. device_tensors: all inputs and outputs are on the device; the model then needs no memory there
    for copies of others. cuda_graph: replay runs that have the same shapes and addresses as the one before as a CUDA graph.

    Of a model that is cut for a mesh: comm, this rank's Comm; of one for GPUs each rank takes another device. What a rank has parts of
    it gives and takes as such."""
    return Model(path, num_threads, dims, profile, parallel_for, donate, device, stream, device_tensors, cuda_graph, comm)
