# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles models in this process.

    import snug.compiler
    snug.compiler.compile("model.onnx", "-o", "model.so", "--dim", "batch=1")

The compiler's library is the one that the environment variable SNUG_COMPILER names, else it is looked for as snug looks
for the runtime: libsnug_compiler.so.
"""

import ctypes
import functools
import os

from ._abi import Error, find

__all__ = ["compile", "run", "version"]

_OUTPUT = 1  # snug_stream
_SAY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class _Request(ctypes.Structure):  # snug_compile_request
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("words", ctypes.POINTER(ctypes.c_char_p)),
        ("num_words", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("model", ctypes.c_char_p),
        ("model_bytes", ctypes.c_uint64),
        ("model_name", ctypes.c_char_p),
        ("say", _SAY),
        ("say_state", ctypes.c_void_p),
    ]


@functools.cache
def _library():
    library = ctypes.CDLL(find("SNUG_COMPILER", "libsnug_compiler.so"))
    library.snug_compiler_version.restype = ctypes.c_char_p
    library.snug_compile.restype, library.snug_compile.argtypes = ctypes.c_int, [ctypes.POINTER(_Request)]
    return library


def version():
    """The version of the compiler."""
    return _library().snug_compiler_version().decode()


def run(*words, model=None, name=None):
    """Does what `snugc WORDS...` does; `model`: the model as bytes, for which the words name no file; `name`: what it is
    called. Returns (exit code, output, messages)."""
    said = {}

    def say(_, stream, text, length):
        said[stream] = said.get(stream, b"") + ctypes.string_at(text, length)

    encoded = (ctypes.c_char_p * len(words))(*[os.fsencode(word) for word in words])
    request = _Request(ctypes.sizeof(_Request), encoded, len(words), 0, model, 0 if model is None else len(model),
                       name and name.encode(), _SAY(say), None)
    code = _library().snug_compile(ctypes.byref(request))
    output = said.pop(_OUTPUT, b"").decode(errors="replace")
    return code, output, "".join(text.decode(errors="replace") for text in said.values())


def compile(*words, model=None, name=None):
    """As run(), but returns the messages; a failure is an Error with them."""
    code, _, messages = run(*words, model=model, name=name)
    if code:
        raise Error(code, messages.strip())
    return messages
