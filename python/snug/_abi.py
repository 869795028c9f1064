# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The C API (snug/Runtime.h), as ctypes has it."""
import ctypes
import os
import pathlib


class DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):  # DLTensor
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", DType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Dim(ctypes.Structure):  # snug_dim_info
    _fields_ = [("name", ctypes.c_char_p), ("min", ctypes.c_int64), ("max", ctypes.c_int64), ("step", ctypes.c_int64)]


class Value(ctypes.Structure):  # snug_value_info
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("dtype", DType),
        ("rank", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("extents", ctypes.c_void_p),
    ]


class Keys(ctypes.Structure):  # snug_map_keys
    _fields_ = [
        ("output", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
        ("ints", ctypes.POINTER(ctypes.c_int64)),
        ("strings", ctypes.c_void_p),
    ]


class Need(ctypes.Structure):  # snug_memory_need
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("weights", "arena", "arena_alignment", "library", "inputs", "outputs", "total")
    ]


class Options(ctypes.Structure):  # snug_context_options
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


class CommOptions(ctypes.Structure):  # snug_comm_options
    _fields_ = [("struct_size", ctypes.c_size_t), ("timeout_ms", ctypes.c_uint32), ("start_timeout_ms", ctypes.c_uint32)]


class Launch(ctypes.Structure):  # snug_launch_info
    _fields_ = [("kernel", ctypes.c_char_p), ("nodes", ctypes.c_char_p)]


DEVICE_TENSORS, GRAPH = 1, 2  # of snug_context_flags
OVERWRITTEN, DATA_SHAPE = 1, 2  # of snug_value_flags


class Error(RuntimeError):
    """A failure that the runtime reports; `code` is one of Snug's exit codes."""

    __module__ = "snug"

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def find(variable, name):
    """Path of one of Snug's libraries, or its name for the system to find."""
    package = pathlib.Path(__file__).resolve().parent
    folders = [package] + [parent / "lib" for parent in package.parents[:4]]
    paths = [os.environ[variable]] if variable in os.environ else []
    paths += [str(folder / name) for folder in folders if not paths and (folder / name).exists()]
    return (paths + [name])[0]


def open_library():
    opened = ctypes.CDLL(find("SNUG_RUNTIME", "libsnug_runtime.so"))
    pointer, u32, dims = ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int64)
    tensors = ctypes.POINTER(ctypes.POINTER(Tensor))
    signatures = {
        "snug_version": (ctypes.c_char_p,),
        "snug_error_code": (ctypes.c_int, pointer),
        "snug_error_message": (ctypes.c_char_p, pointer),
        "snug_error_destroy": (None, pointer),
        "snug_model_load": (pointer, ctypes.c_char_p, ctypes.POINTER(pointer)),
        "snug_model_release": (None, pointer),
        "snug_model_device": (ctypes.c_int, pointer),
        "snug_model_dim": (ctypes.POINTER(Dim), pointer, u32),
        "snug_model_input": (ctypes.POINTER(Value), pointer, u32),
        "snug_model_output": (ctypes.POINTER(Value), pointer, u32),
        "snug_model_output_keys": (ctypes.POINTER(Keys), pointer, u32),
        "snug_model_launch": (ctypes.POINTER(Launch), pointer, u32),
        "snug_model_memory": (pointer, pointer, dims, ctypes.POINTER(Need)),
        "snug_model_bind_dims": (pointer, pointer, tensors, u32, dims),
        "snug_model_output_shape": (pointer, pointer, u32, dims, dims),
        "snug_comm_create_loopback": (pointer, u32, ctypes.POINTER(CommOptions), ctypes.POINTER(pointer)),
        "snug_comm_create_mpi": (pointer, pointer, ctypes.POINTER(CommOptions), ctypes.POINTER(pointer)),
        "snug_comm_destroy": (None, pointer),
        "snug_comm_rank": (u32, pointer),
        "snug_comm_size": (u32, pointer),
        "snug_context_create": (pointer, pointer, ctypes.POINTER(Options), ctypes.POINTER(pointer)),
        "snug_context_destroy": (None, pointer),
        "snug_context_stream": (pointer, pointer),
        "snug_context_set_dim": (pointer, pointer, ctypes.c_char_p, ctypes.c_int64),
        "snug_context_output_shape": (pointer, pointer, u32, dims),
        "snug_run": (pointer, pointer, tensors, u32, tensors, u32),
    }
    for function, (result, *arguments) in signatures.items():
        getattr(opened, function).restype = result
        getattr(opened, function).argtypes = arguments
    return opened


library = open_library()


def check(error):
    if error:
        code, message = library.snug_error_code(error), library.snug_error_message(error).decode()
        library.snug_error_destroy(error)
        raise Error(code, message)
