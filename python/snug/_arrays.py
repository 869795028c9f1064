# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays of NumPy, and of other libraries on a GPU, as the C API takes them."""
import ctypes
import sys

import numpy

from ._abi import DType, Error, Tensor

KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}  # NumPy's kind to DLPack's code
DTYPES = {0: "int", 1: "uint", 2: "float", 5: "complex"}
# What NumPy has of the package ml_dtypes: name to DLPack's code and bits. One of less than 8 bits takes a byte.
NARROW = {"bfloat16": (4, 16), "int4": (0, 4), "uint4": (1, 4), "int2": (0, 2), "uint2": (1, 2),
           "float8_e4m3fn": (10, 8), "float8_e4m3fnuz": (11, 8), "float8_e5m2": (12, 8), "float8_e5m2fnuz": (13, 8),
           "float8_e8m0fnu": (14, 8), "float6_e2m3fn": (15, 6), "float6_e3m2fn": (16, 6), "float4_e2m1fn": (17, 4)}
STRING = (3, 128)  # DLPack's code and bits of a string
WORDS = numpy.dtype([("data", "u8"), ("size", "u8")])  # snug_string
CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # DLPack's devices


def words_of(array, kept):
    """An array of strings as the runtime takes it, whose bytes are in what is appended to `kept`."""
    texts = [text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape") for text in array.ravel()]
    blob = ctypes.create_string_buffer(b"".join(texts))
    kept.append(blob)
    words = numpy.zeros(len(texts), WORDS)
    words["size"] = [len(text) for text in texts]
    words["data"] = ctypes.addressof(blob) + numpy.cumsum(words["size"]) - words["size"]
    return words.reshape(array.shape)


def strings_of(words):
    """An array of str, of what the runtime wrote. Bytes that are no UTF-8 become surrogates, as with os.fsdecode."""
    texts = numpy.empty(words.shape, object)
    for index in numpy.ndindex(words.shape):
        data, size = words[index]
        texts[index] = ctypes.string_at(int(data), int(size)).decode("utf-8", "surrogateescape") if size else ""
    return texts


def keys_of(found):
    """The keys of a map, as a list, of what the runtime knows of them."""
    if found.ints:
        return found.ints[:found.count]
    words = ctypes.string_at(found.strings, found.count * WORDS.itemsize)
    return strings_of(numpy.frombuffer(words, WORDS)).tolist()


def is_on_gpu(array):
    return hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in (CUDA, CUDA_MANAGED)


def dltensor(array, stream, kept):
    """The DLTensor of an array on a GPU, once what writes to it is in order with `stream`; it is valid as long as `kept` is."""
    capsule = array.__dlpack__(stream=stream)
    kept.append(capsule)  # which frees what it holds, as nobody consumes it
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(get(capsule, b"dltensor"), ctypes.POINTER(Tensor))


def dtype_name(dtype):
    if dtype.code == 6:
        return "bool"
    narrow = next((known for known, key in NARROW.items() if key == (dtype.code, dtype.bits)), None)
    return narrow or f"{DTYPES.get(dtype.code, 'opaque')}{dtype.bits}"


def empty(sample, shape, dtype, name):
    """An array of the library of `sample`, and on its device."""
    library = sys.modules[type(sample).__module__.partition(".")[0]]
    try:
        kind = getattr(library, dtype_name(dtype))
        try:
            return library.empty(shape, dtype=kind, device=sample.device)
        except TypeError:  # one without that parameter, as CuPy
            return library.empty(shape, dtype=kind)
    except (AttributeError, TypeError) as error:
        raise Error(1, f"there is no array for '{name}' like the inputs ({error}): give one, with out={{'{name}': ...}}") from None


def numpy_dtype(dtype, name):
    if (dtype.code, dtype.bits) == STRING:
        return WORDS
    if dtype.code == 6:
        return numpy.dtype(bool)
    narrow = next((known for known, key in NARROW.items() if key == (dtype.code, dtype.bits)), None)
    if narrow:
        try:
            import ml_dtypes
        except ImportError:
            raise Error(5, f"'{name}' has dtype {narrow}, which NumPy has from the package ml_dtypes; install it") from None
        return numpy.dtype(getattr(ml_dtypes, narrow))
    if dtype.code not in DTYPES:
        raise Error(3, f"NumPy has no dtype for '{name}' (DLPack type {dtype.code} of {dtype.bits} bits)")
    return numpy.dtype(f"{DTYPES[dtype.code]}{dtype.bits}")


def tensors(arrays):
    """Views of C-contiguous arrays as the runtime takes them; valid as long as the arrays are. A pointer to a view is one already."""
    views = (Tensor * len(arrays))()
    pointers = (ctypes.POINTER(Tensor) * len(arrays))()
    for index, (view, array) in enumerate(zip(views, arrays)):
        if isinstance(array, ctypes.POINTER(Tensor)):
            pointers[index] = array
            continue
        narrow = STRING if array.dtype == WORDS else NARROW.get(array.dtype.name)
        if not narrow and (array.dtype.kind not in KINDS or not array.dtype.isnative):
            raise Error(6, f"arrays of dtype {array.dtype} cannot be passed to a model")
        view.data, view.device_type, view.ndim = array.ctypes.data, CPU, array.ndim
        view.dtype = DType(*(narrow or (KINDS[array.dtype.kind], array.dtype.itemsize * 8)), 1)
        view.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        pointers[index] = ctypes.pointer(view)
    return views, pointers
