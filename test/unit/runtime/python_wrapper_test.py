# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python wrapper on the fixture models. Arguments: the package's folder, three fixture libraries."""

import json
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

import numpy

PACKAGE, FILE_MODEL, FREE_DIM_MODEL, OVERWRITING_MODEL = sys.argv[1:5]
sys.path.insert(0, PACKAGE)
import snug  # noqa: E402


class WrapperTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        header = {
            "__metadata__": {"snug_weights_id": "0123456789abcdef"},
            "w": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
        }
        weights = struct.pack("<Q", 248) + json.dumps(header).encode().ljust(248) + numpy.arange(1, 9, dtype="f4").tobytes()
        (pathlib.Path(cls.folder.name) / "fixture.safetensors").write_bytes(weights)
        cls.model = snug.load(shutil.copy(FILE_MODEL, cls.folder.name))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.x = numpy.random.default_rng(1).random((1, 6, 8), dtype="f4")
        self.shift = numpy.arange(7)
        self.y = self.x * numpy.arange(1, 9, dtype="f4") + 1 + self.shift[1:, None].astype("f4")

    def expect_error(self, code, part, call):
        with self.assertRaises(snug.Error) as caught:
            call()
        self.assertEqual(caught.exception.code, code)
        self.assertIn(part, str(caught.exception))

    def test_runs_by_name_and_by_position(self):
        outputs = self.model(shift=self.shift, x=self.x)
        self.assertEqual(list(outputs), ["y", "pairs"])
        numpy.testing.assert_array_equal(outputs["y"], self.y)
        numpy.testing.assert_array_equal(outputs["pairs"], numpy.arange(36))
        numpy.testing.assert_array_equal(self.model(self.x, self.shift)["y"], self.y)

    def test_copies_what_is_not_contiguous(self):
        numpy.testing.assert_array_equal(self.model(numpy.asfortranarray(self.x), self.shift)["y"], self.y)

    def test_overwrites_only_what_it_is_given(self):
        want, x = {}, self.x.copy()
        for donate in (False, True):
            model = snug.load(OVERWRITING_MODEL, donate=donate)
            self.assertEqual(model.overwritten, ["x"])
            want[donate] = model(x, self.shift)["y"]
            self.assertEqual(x[0, 0, 0] == -1, donate)
            numpy.testing.assert_array_equal(x.ravel()[1:], self.x.ravel()[1:])
        numpy.testing.assert_array_equal(want[True], want[False])
        readonly = self.x.copy()
        readonly.flags.writeable = False
        numpy.testing.assert_array_equal(model(readonly, self.shift)["y"], want[True])
        numpy.testing.assert_array_equal(readonly, self.x)
        self.assertEqual(self.model.overwritten, [])

    def test_an_overwritten_input_overlaps_no_other(self):
        memory = numpy.zeros(2 * 8 * 4, "u1")
        x, shift = memory.view("f4").reshape(1, 2, 8), memory[8:32].view("i8")
        self.model(x, shift)  # both are only read
        self.expect_error(6, "input 'shift' overlaps input 'x'",
                          lambda: snug.load(OVERWRITING_MODEL, donate=True)(x, shift))

    def test_describes_the_model(self):
        self.assertEqual(self.model.inputs, ["x", "shift"])
        self.assertEqual(self.model.outputs, ["y", "pairs"])
        self.assertEqual(self.model.memory()["arena"], 2304)

    def test_profiles_launches(self):
        model = snug.load(pathlib.Path(self.folder.name) / pathlib.Path(FILE_MODEL).name, profile=True)
        model(self.x, self.shift)
        self.assertEqual([launch[:2] for launch in model.profile()], [("multiply", "scale"), ("add", "shift, add")])
        model(self.x, self.shift)
        self.assertTrue(any(ns > 0 for _, _, ns in model.profile()))
        self.assertTrue(all(ns == 0 for _, _, ns in model.profile()), "counted since it was asked last")
        self.model(self.x, self.shift)
        self.assertEqual(self.model.profile(), [])

    def test_reports_the_runtimes_errors(self):
        self.expect_error(6, "dtype float64", lambda: self.model(self.x.astype("f8"), self.shift))
        self.expect_error(6, "shape 1x5x8", lambda: self.model(self.x[:, :5], self.shift))
        self.expect_error(6, ">f4", lambda: self.model(self.x.astype(">f4"), self.shift))
        self.expect_error(5, "none.so", lambda: snug.load("none.so"))
        self.expect_error(1, "planned for 4", lambda: snug.load(FREE_DIM_MODEL, num_threads=9))

    def test_refuses_wrong_arguments(self):
        for call in (
            lambda: self.model(self.x),
            lambda: self.model(self.x, self.shift, q=1),
            lambda: self.model(self.x, self.shift, x=self.x),
            lambda: self.model(self.x, self.shift, self.x),
        ):
            self.assertRaises(TypeError, call)

    def test_sets_dims_that_no_input_determines(self):
        model = snug.load(FREE_DIM_MODEL, dims={"k": 2})
        self.assertEqual(model(self.x, self.shift)["pairs"].shape, (4,))
        self.expect_error(6, "'k'", lambda: snug.load(FREE_DIM_MODEL)(self.x, self.shift))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
