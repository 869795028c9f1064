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
import pathlib
import sys

import numpy

__all__ = ["load", "Model", "Comm", "Error", "version"]


class _DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):  # DLTensor
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Dim(ctypes.Structure):  # snug_dim_info
    _fields_ = [("name", ctypes.c_char_p), ("min", ctypes.c_int64), ("max", ctypes.c_int64), ("step", ctypes.c_int64)]


class _Value(ctypes.Structure):  # snug_value_info
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("dtype", _DType),
        ("rank", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("extents", ctypes.c_void_p),
    ]


class _Keys(ctypes.Structure):  # snug_map_keys
    _fields_ = [
        ("output", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
        ("ints", ctypes.POINTER(ctypes.c_int64)),
        ("strings", ctypes.c_void_p),
    ]


class _Need(ctypes.Structure):  # snug_memory_need
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("weights", "arena", "arena_alignment", "library", "inputs", "outputs", "total")
    ]


class _Options(ctypes.Structure):  # snug_context_options
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_uint64),
        ("num_threads", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("parallel_for", ctypes.c_void_p),
        ("parallel_for_state", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("comm", ctypes.c_void_p),
        ("launch_ns", ctypes.POINTER(ctypes.c_uint64)),
        ("max_dims", ctypes.POINTER(ctypes.c_int64)),
        ("device", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _CommOptions(ctypes.Structure):  # snug_comm_options
    _fields_ = [("struct_size", ctypes.c_size_t), ("timeout_ms", ctypes.c_uint32), ("start_timeout_ms", ctypes.c_uint32)]


class _Launch(ctypes.Structure):  # snug_launch_info
    _fields_ = [("kernel", ctypes.c_char_p), ("nodes", ctypes.c_char_p)]


_KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}  # NumPy's kind to DLPack's code
_DTYPES = {0: "int", 1: "uint", 2: "float", 5: "complex"}
# What NumPy has of the package ml_dtypes: name to DLPack's code and bits. One of less than 8 bits takes a byte.
_NARROW = {"bfloat16": (4, 16), "int4": (0, 4), "uint4": (1, 4), "int2": (0, 2), "uint2": (1, 2),
           "float8_e4m3fn": (10, 8), "float8_e4m3fnuz": (11, 8), "float8_e5m2": (12, 8), "float8_e5m2fnuz": (13, 8),
           "float8_e8m0fnu": (14, 8), "float6_e2m3fn": (15, 6), "float6_e3m2fn": (16, 6), "float4_e2m1fn": (17, 4)}
_STRING = (3, 128)  # DLPack's code and bits of a string
_WORDS = numpy.dtype([("data", "u8"), ("size", "u8")])  # snug_string
_CPU, _CUDA, _CUDA_MANAGED = 1, 2, 13  # DLPack's devices
_DEVICE_TENSORS, _GRAPH = 1, 2  # of snug_context_flags
_OVERWRITTEN, _DATA_SHAPE = 1, 2  # of snug_value_flags


class Error(RuntimeError):
    """A failure that the runtime reports; `code` is one of Snug's exit codes."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def _find(variable, name):
    """Path of one of Snug's libraries, or its name for the system to find."""
    package = pathlib.Path(__file__).resolve().parent
    folders = [package] + [parent / "lib" for parent in package.parents[:4]]
    paths = [os.environ[variable]] if variable in os.environ else []
    paths += [str(folder / name) for folder in folders if not paths and (folder / name).exists()]
    return (paths + [name])[0]


def _open():
    library = ctypes.CDLL(_find("SNUG_RUNTIME", "libsnug_runtime.so"))
    pointer, u32, dims = ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int64)
    tensors = ctypes.POINTER(ctypes.POINTER(_Tensor))
    signatures = {
        "snug_version": (ctypes.c_char_p,),
        "snug_error_code": (ctypes.c_int, pointer),
        "snug_error_message": (ctypes.c_char_p, pointer),
        "snug_error_destroy": (None, pointer),
        "snug_model_load": (pointer, ctypes.c_char_p, ctypes.POINTER(pointer)),
        "snug_model_release": (None, pointer),
        "snug_model_device": (ctypes.c_int, pointer),
        "snug_model_dim": (ctypes.POINTER(_Dim), pointer, u32),
        "snug_model_input": (ctypes.POINTER(_Value), pointer, u32),
        "snug_model_output": (ctypes.POINTER(_Value), pointer, u32),
        "snug_model_output_keys": (ctypes.POINTER(_Keys), pointer, u32),
        "snug_model_launch": (ctypes.POINTER(_Launch), pointer, u32),
        "snug_model_memory": (pointer, pointer, dims, ctypes.POINTER(_Need)),
        "snug_model_bind_dims": (pointer, pointer, tensors, u32, dims),
        "snug_model_output_shape": (pointer, pointer, u32, dims, dims),
        "snug_comm_create_loopback": (pointer, u32, ctypes.POINTER(_CommOptions), ctypes.POINTER(pointer)),
        "snug_comm_create_mpi": (pointer, pointer, ctypes.POINTER(_CommOptions), ctypes.POINTER(pointer)),
        "snug_comm_destroy": (None, pointer),
        "snug_comm_rank": (u32, pointer),
        "snug_comm_size": (u32, pointer),
        "snug_context_create": (pointer, pointer, ctypes.POINTER(_Options), ctypes.POINTER(pointer)),
        "snug_context_destroy": (None, pointer),
        "snug_context_stream": (pointer, pointer),
        "snug_context_set_dim": (pointer, pointer, ctypes.c_char_p, ctypes.c_int64),
        "snug_context_output_shape": (pointer, pointer, u32, dims),
        "snug_run": (pointer, pointer, tensors, u32, tensors, u32),
    }
    for function, (result, *arguments) in signatures.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


_library = _open()


def version():
    """The version of the runtime."""
    return _library.snug_version().decode()


def _check(error):
    if error:
        code, message = _library.snug_error_code(error), _library.snug_error_message(error).decode()
        _library.snug_error_destroy(error)
        raise Error(code, message)


def _words(array, kept):
    """An array of strings as the runtime takes it, whose bytes are in what is appended to `kept`."""
    texts = [text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape") for text in array.ravel()]
    blob = ctypes.create_string_buffer(b"".join(texts))
    kept.append(blob)
    words = numpy.zeros(len(texts), _WORDS)
    words["size"] = [len(text) for text in texts]
    words["data"] = ctypes.addressof(blob) + numpy.cumsum(words["size"]) - words["size"]
    return words.reshape(array.shape)


def _strings(words):
    """An array of str, of what the runtime wrote. Bytes that are no UTF-8 become surrogates, as with os.fsdecode."""
    texts = numpy.empty(words.shape, object)
    for index in numpy.ndindex(words.shape):
        data, size = words[index]
        texts[index] = ctypes.string_at(int(data), int(size)).decode("utf-8", "surrogateescape") if size else ""
    return texts


def _keys(found):
    """The keys of a map, as a list, of what the runtime knows of them."""
    if found.ints:
        return found.ints[:found.count]
    words = ctypes.string_at(found.strings, found.count * _WORDS.itemsize)
    return _strings(numpy.frombuffer(words, _WORDS)).tolist()


def _is_on_gpu(array):
    return hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in (_CUDA, _CUDA_MANAGED)


def _dltensor(array, stream, kept):
    """The DLTensor of an array on a GPU, once what writes to it is in order with `stream`; it is valid as long as `kept` is."""
    capsule = array.__dlpack__(stream=stream)
    kept.append(capsule)  # which frees what it holds, as nobody consumes it
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(get(capsule, b"dltensor"), ctypes.POINTER(_Tensor))


def _dtype_name(dtype):
    if dtype.code == 6:
        return "bool"
    narrow = next((known for known, key in _NARROW.items() if key == (dtype.code, dtype.bits)), None)
    return narrow or f"{_DTYPES.get(dtype.code, 'opaque')}{dtype.bits}"


def _empty(sample, shape, dtype, name):
    """An array of the library of `sample`, and on its device."""
    library = sys.modules[type(sample).__module__.partition(".")[0]]
    try:
        kind = getattr(library, _dtype_name(dtype))
        try:
            return library.empty(shape, dtype=kind, device=sample.device)
        except TypeError:  # one without that parameter, as CuPy
            return library.empty(shape, dtype=kind)
    except (AttributeError, TypeError) as error:
        raise Error(1, f"there is no array for '{name}' like the inputs ({error}): give one, with out={{'{name}': ...}}") from None


def _numpy_dtype(dtype, name):
    if (dtype.code, dtype.bits) == _STRING:
        return _WORDS
    if dtype.code == 6:
        return numpy.dtype(bool)
    narrow = next((known for known, key in _NARROW.items() if key == (dtype.code, dtype.bits)), None)
    if narrow:
        try:
            import ml_dtypes
        except ImportError:
            raise Error(5, f"'{name}' has dtype {narrow}, which NumPy has from the package ml_dtypes; install it") from None
        return numpy.dtype(getattr(ml_dtypes, narrow))
    if dtype.code not in _DTYPES:
        raise Error(3, f"NumPy has no dtype for '{name}' (DLPack type {dtype.code} of {dtype.bits} bits)")
    return numpy.dtype(f"{_DTYPES[dtype.code]}{dtype.bits}")


def _tensors(arrays):
    """Views of C-contiguous arrays as the runtime takes them; valid as long as the arrays are. A pointer to a view is one already."""
    views = (_Tensor * len(arrays))()
    pointers = (ctypes.POINTER(_Tensor) * len(arrays))()
    for index, (view, array) in enumerate(zip(views, arrays)):
        if isinstance(array, ctypes.POINTER(_Tensor)):
            pointers[index] = array
            continue
        narrow = _STRING if array.dtype == _WORDS else _NARROW.get(array.dtype.name)
        if not narrow and (array.dtype.kind not in _KINDS or not array.dtype.isnative):
            raise Error(6, f"arrays of dtype {array.dtype} cannot be passed to a model")
        view.data, view.device_type, view.ndim = array.ctypes.data, _CPU, array.ndim
        view.dtype = _DType(*(narrow or (_KINDS[array.dtype.kind], array.dtype.itemsize * 8)), 1)
        view.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        pointers[index] = ctypes.pointer(view)
    return views, pointers


class Comm:
    """The communicator of one rank of a model that is cut for a mesh of devices (snugc --mesh), for load(..., comm=...). It is used by
    one thread at a time. All ranks load the model and call it, with inputs of the same shapes; what fails on one fails on all."""

    def __init__(self, handle):
        self._handle = handle

    @staticmethod
    def mpi(timeout_ms=0, start_timeout_ms=0):
        """That of this process, over MPI (MPI_COMM_WORLD). Times as snug_comm_options in snug/Runtime.h has them."""
        handle, options = ctypes.c_void_p(), _CommOptions(ctypes.sizeof(_CommOptions), timeout_ms, start_timeout_ms)
        _check(_library.snug_comm_create_mpi(None, ctypes.byref(options), ctypes.byref(handle)))
        return Comm(handle)

    @staticmethod
    def loopback(size, timeout_ms=0, start_timeout_ms=0):
        """Those of `size` threads of this process, a list."""
        handles, options = (ctypes.c_void_p * size)(), _CommOptions(ctypes.sizeof(_CommOptions), timeout_ms, start_timeout_ms)
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
        flags = (_DEVICE_TENSORS if device_tensors else 0) | (_GRAPH if cuda_graph else 0)
        options = _Options(struct_size=ctypes.sizeof(_Options), num_threads=num_threads, flags=flags, device=device)
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
        self._overwritten = [value.name.decode() for value in self._all("input") if value.flags & _OVERWRITTEN]
        self._data_shapes = [value.name.decode() for value in self._all("output") if value.flags & _DATA_SHAPE]
        self._maps = {name: _keys(found.contents) for index, name in enumerate(self._outputs)
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
        need = _Need()
        _check(_library.snug_model_memory(self._model, None, ctypes.byref(need)))
        return {name: getattr(need, name) for name, _ in _Need._fields_}

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
        sample = next((given[name] for name in names if _is_on_gpu(given[name])), None)
        # ascontiguousarray makes a scalar one-dimensional, so it only sees what needs it.
        for name in names:
            if _is_on_gpu(given[name]):
                if name in self._overwritten and not self._donate:
                    raise Error(1, f"the model overwrites '{name}': load it with donate=True, and give it an array that need not be kept")
                values.append(_dltensor(given[name], self.stream, kept))
                continue
            value = numpy.asarray(given[name])
            value = value if value.flags.c_contiguous else numpy.ascontiguousarray(value)
            if name in self._overwritten and not (self._donate and value.flags.writeable):
                value = value.copy()
            values.append(_words(value, kept) if value.dtype.kind in "OSU" else value)
        in_views, in_pointers = _tensors(values)

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
                results[name] = _empty(sample, shape, dtype, name)
            else:
                results[name] = numpy.empty(shape, _numpy_dtype(dtype, name))
        places = [_dltensor(array, self.stream, kept) if _is_on_gpu(array) else array for array in results.values()]
        out_views, out_pointers = _tensors(places)
        _check(_library.snug_run(self._context, in_pointers, len(values), out_pointers, len(results)))
        for name in self._data_shapes:
            shape = (ctypes.c_int64 * max(1, results[name].ndim))()
            _check(_library.snug_context_output_shape(self._context, self.outputs.index(name), shape))
            shape = tuple(shape[:results[name].ndim])
            results[name] = results[name].reshape(-1)[:math.prod(shape)].reshape(shape)
        strings = [name for name, (dtype, _) in self._outputs.items() if (dtype.code, dtype.bits) == _STRING]
        outputs = {name: _strings(array) if name in strings else array for name, array in results.items()}
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
