# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Images whose size is known when they are read. Portable pixmaps have their pixels as they are."""
import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper

import snug
from ops import Graph

FAILED_RUN = 6


def pixmap(pixels):
    height, width, _ = pixels.shape
    return np.frombuffer(b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes(), np.uint8)


def decoder(tmp_path, shape, flags=(), **attributes):
    graph = Graph()
    stream = graph.input("stream", pixmap(np.zeros((1, 1, 3), np.uint8)), ("bytes",))
    image = graph.node("ImageDecoder", stream, **attributes)
    graph.outputs.append(helper.make_tensor_value_info(image, TensorProto.UINT8, shape))
    half = graph.node("Slice", image, *(graph.constant(np.array([value])) for value in (0, 2**31, 0, 2)))
    graph.output(half, 3, TensorProto.UINT8)
    snug.compile_model(graph.save(tmp_path / "ops.onnx"), tmp_path / "ops.so", {"bytes": "1..4096"}, flags=flags)
    return image, half


def failure(tmp_path, stream):
    np.save(tmp_path / "stream.npy", stream)
    done = subprocess.run([snug.tool("SNUG_RUN"), tmp_path / "ops.so", "--input", f"stream={tmp_path / 'stream.npy'}"],
                          capture_output=True, text=True)
    assert done.returncode == FAILED_RUN, done.stderr
    return done.stderr


@pytest.mark.parametrize("shape", [None, ["H", "W", 3], [5, "W", 3]])
def test_images_have_the_size_that_they_have(shape, tmp_path):
    image, half = decoder(tmp_path, shape, ("--image-size", "9x12"), pixel_format="BGR")
    sizes = [(5, 12), (5, 1)] if shape and shape[0] == 5 else [(9, 12), (1, 1), (4, 7)]
    for size in sizes:
        pixels = np.random.default_rng(size).integers(0, 256, (*size, 3)).astype(np.uint8)
        got, _ = snug.run_model(tmp_path / "ops.so", {"stream": pixmap(pixels)})
        assert np.array_equal(got[image], pixels[..., ::-1])
        assert np.array_equal(got[half], pixels[::2, :, ::-1])


def test_larger_images_are_refused(tmp_path):
    decoder(tmp_path, [5, "W", 3], ("--image-size", "1x6"))
    assert "the image has 5x7 pixels, and there is room for 5x6: compile the model with a larger --image-size" in failure(
        tmp_path, pixmap(np.zeros((5, 7, 3), np.uint8)))
    assert "the image has 4x6 pixels, the model says 5x6" in failure(tmp_path, pixmap(np.zeros((4, 6, 3), np.uint8)))
    assert "it is no image that can be decoded" in failure(tmp_path, np.zeros(50, np.uint8))


def test_a_size_must_be_bounded(tmp_path):
    decoder_of = [snug.tool("SNUGC"), tmp_path / "ops.onnx", "--dim", "bytes=9", "-o", tmp_path / "ops.so"]
    with pytest.raises(AssertionError, match="exit code 3[^$]*bound them with --image-size HEIGHTxWIDTH"):
        decoder(tmp_path, None)
    for text in ("9", "9x", "x9", "0x4", "4x9999999", "4x5x6"):
        done = subprocess.run([*decoder_of, "--image-size", text], capture_output=True, text=True)
        assert done.returncode == 1 and f"'{text}' is no HEIGHTxWIDTH" in done.stderr, done.stderr
