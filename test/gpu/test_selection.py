# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""NonMaxSuppression on what stands in for a GPU, a class a block, against NumPy: ties, NaN, several images and classes."""
import numpy as np
import onnx
import pytest
from test_long_rows import h, model_of, run

OVERLAP, LEAST = np.float32(0.3), np.float32(-0.25)


def corners(boxes, centered):
    if centered:
        reach = boxes[:, 2:] * np.float32(0.5)
        return boxes[:, :2] - reach, boxes[:, :2] + reach
    return np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])


def chosen(low, high, scores, most):
    """Numbers of boxes, the best first; of equal ones the first one."""
    area, left, found = (high - low).prod(1), scores > LEAST, []
    while len(found) < most and left.any():
        best = int(np.argmax(np.where(left, scores, -np.inf)))
        found.append(best)
        left[best] = False
        from_, to = np.maximum(low, low[best]), np.minimum(high, high[best])
        common = (to - from_).prod(1)
        with np.errstate(all="ignore"):
            left &= ~((from_ < to).all(1) & (common / (area + area[best] - common) > OVERLAP))
    return found


def reference(boxes, scores, most, centered):
    rows = [(image, kind, box) for image, of_image in enumerate(scores) for kind, of_class in enumerate(of_image)
            for box in chosen(*corners(boxes[image], centered), of_class, most)]
    return np.array(rows, np.int64).reshape(-1, 3)


@pytest.mark.parametrize("centered", [0, 1])
@pytest.mark.parametrize("most", [0, 7, 400])
def test_selection(tmp_path, centered, most):
    rng, count = np.random.default_rng(3), 600
    boxes = rng.random((2, count, 4), np.float32) * np.float32([1, 1, 0.4, 0.4] if centered else 1)
    scores = rng.integers(-4, 20, (2, 3, count)).astype(np.float32) / 8
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[1, 2] = -9  # a class without a box
    node = h.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["y"], center_point_box=centered)
    model_of(tmp_path / "m.onnx", [node], {"boxes": boxes.shape, "scores": scores.shape}, {"y": onnx.TensorProto.INT64},
             {"most": np.array([most]), "overlap": OVERLAP[None], "least": LEAST[None]})
    got, _, _ = run(tmp_path / "m.onnx", tmp_path, {"boxes": boxes, "scores": scores})
    np.testing.assert_array_equal(got["y"], reference(boxes, scores, most, centered))
