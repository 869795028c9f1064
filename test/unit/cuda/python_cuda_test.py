# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python wrapper on models for a GPU, with the fake driver. Arguments: the package's folder, the fake, the models."""

import ctypes
import sys
import types
import unittest

import numpy

PACKAGE, FAKE, PLAIN, DATA_SHAPE = sys.argv[1:5]
cuda = ctypes.CDLL(FAKE)  # libcuda.so.1, for the runtime as well
sys.path.insert(0, PACKAGE)
import snug  # noqa: E402


def check(result):
    assert result == 0, result


# A library of arrays on the device, as small as it can be: module `tiny` with `empty`, dtypes, and an array with DLPack.
class Managed(ctypes.Structure):  # DLManagedTensor
    _fields_ = [("tensor", snug._abi.Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Array:
    __module__ = "tiny"
    streams = []  # that somebody asked to be in order with

    def __init__(self, shape, dtype, device=0, strides=None):
        self.shape, self.dtype, self.device = tuple(shape), numpy.dtype(dtype), device
        self.nbytes = int(numpy.prod(self.shape)) * self.dtype.itemsize
        address = ctypes.c_uint64()
        check(cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(1, self.nbytes))))
        self.address = address.value
        self.managed = Managed()
        tensor = self.managed.tensor
        tensor.data, tensor.device_type, tensor.device_id, tensor.ndim = self.address, 2, device, len(self.shape)
        tensor.dtype = snug._abi.DType(*{"f": (2, 32), "i": (0, 64)}[self.dtype.kind], 1)
        tensor.shape = (ctypes.c_int64 * len(self.shape))(*self.shape)
        if strides:
            tensor.strides = (ctypes.c_int64 * len(self.shape))(*strides)

    def __del__(self):
        check(cuda.cuMemFree_v2(ctypes.c_uint64(self.address)))

    def __dlpack_device__(self):
        return 2, self.device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)

    @staticmethod
    def of(values):
        made = Array(values.shape, values.dtype)
        check(cuda.cuMemcpyHtoDAsync_v2(ctypes.c_uint64(made.address), ctypes.c_void_p(values.ctypes.data), ctypes.c_size_t(made.nbytes), None))
        check(cuda.cuStreamSynchronize(None))
        return made

    def numpy(self):
        values = numpy.empty(self.shape, self.dtype)
        check(cuda.cuMemcpyDtoHAsync_v2(ctypes.c_void_p(values.ctypes.data), ctypes.c_uint64(self.address), ctypes.c_size_t(self.nbytes), None))
        return values


class View:
    """What the wrapper makes of an output whose shape is computed from data."""

    def __init__(self, array):
        self.array, self.count = array, None

    def __getitem__(self, part):
        self.count = part.stop
        return self

    def reshape(self, shape):
        return self.array.numpy().ravel()[:self.count].reshape(shape)


Array.reshape = lambda self, shape: View(self)
Array.ndim = property(lambda self: len(self.shape))
tiny = types.ModuleType("tiny")
tiny.float32, tiny.int64 = numpy.float32, numpy.int64
tiny.empty = lambda shape, dtype, device: Array(shape, dtype, device)
sys.modules["tiny"] = tiny


class CudaWrapperTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        context = ctypes.c_void_p()
        check(cuda.cuInit(0))
        check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
        check(cuda.cuCtxPushCurrent_v2(context))

    def setUp(self):
        self.x = numpy.random.default_rng(1).random((6, 8), dtype="f4")
        self.y = self.x * numpy.arange(1, 9, dtype="f4") + 1
        Array.streams.clear()

    def expect_error(self, code, part, call):
        with self.assertRaises(snug.Error) as caught:
            call()
        self.assertEqual(caught.exception.code, code)
        self.assertIn(part, str(caught.exception))

    def test_takes_numpy_arrays(self):
        model = snug.load(PLAIN)
        self.assertEqual(model.device, "cuda:0")
        for _ in range(2):
            outputs = model(x=self.x)
            self.assertIsInstance(outputs["y"], numpy.ndarray)
            numpy.testing.assert_array_equal(outputs["y"], self.y)

    def test_takes_arrays_on_the_device(self):
        model = snug.load(PLAIN, device_tensors=True)
        x = Array.of(self.x)
        y = model(x)["y"]
        self.assertIsInstance(y, Array)
        numpy.testing.assert_array_equal(y.numpy(), self.y)
        self.assertGreater(model.stream, 2)
        self.assertEqual(Array.streams, [model.stream] * 2)  # of x, and of what y was before
        self.expect_error(6, "is on the host", lambda: model(self.x))

    def test_writes_to_arrays_that_it_is_given(self):
        model, y = snug.load(PLAIN), tiny.empty((6, 8), numpy.float32, 0)
        self.assertIs(model(self.x, out={"y": y})["y"], y)
        numpy.testing.assert_array_equal(y.numpy(), self.y)
        host = numpy.empty_like(self.y)
        model(Array.of(self.x), out={"y": host})
        numpy.testing.assert_array_equal(host, self.y)
        self.assertRaises(TypeError, lambda: model(self.x, out={"z": y}))

    def test_runs_on_the_stream_of_the_caller(self):
        stream = ctypes.c_void_p()
        check(cuda.cuStreamCreate(ctypes.byref(stream), 1))
        model, x = snug.load(PLAIN, stream=stream.value, device_tensors=True), Array.of(self.x)
        y = model(x)["y"]
        self.assertEqual(Array.streams, [stream.value] * 2)
        self.assertFalse(numpy.array_equal(y.numpy(), self.y))  # nobody has waited for it
        check(cuda.cuStreamSynchronize(stream))
        numpy.testing.assert_array_equal(y.numpy(), self.y)
        del model
        check(cuda.cuStreamDestroy_v2(stream))
        self.assertEqual(snug.load(PLAIN, stream=0).stream, 1)  # as torch's default stream

    def test_replays_graphs(self):
        model = snug.load(PLAIN, cuda_graph=True)
        for scale in (1, 1, 2):
            numpy.testing.assert_array_equal(model(self.x * scale)["y"], self.x * scale * numpy.arange(1, 9, dtype="f4") + 1)

    def test_computes_shapes(self):
        self.x[4, 0] = -1
        y = snug.load(DATA_SHAPE)(Array.of(self.x))["y"]
        self.assertEqual(y.shape, (4, 8))
        self.assertEqual(snug.load(DATA_SHAPE)(self.x)["y"].shape, (4, 8))

    def test_refuses_what_it_cannot_use(self):
        model = snug.load(PLAIN)
        self.expect_error(6, "is not dense row-major", lambda: model(Array((6, 8), "f4", strides=(16, 1))))
        self.expect_error(6, "input 'x' is on CUDA device 1; expected CUDA device 0", lambda: model(Array((6, 8), "f4", device=1)))
        self.expect_error(5, "there is no CUDA device 3", lambda: snug.load(PLAIN, device=3))
        del tiny.float32
        try:
            self.expect_error(1, "give one, with out={'y': ...}", lambda: model(Array((6, 8), "f4")))
        finally:
            tiny.float32 = numpy.float32


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
