# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import math

import numpy as np
import pytest

from harness import build, memref, program
from test_generic import generic

N = 1 << 16
FUNCTIONS = ["exp", "expm1", "tanh", "erf", "log", "sqrt", "rsqrt", "sin", "cos"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    t = memref((N,))
    body = "\n".join(generic(["(i) -> (i)"] * 2, ["parallel"], [("x", t)], [(f, t)],
                             f"    %s = math.{f} %a0 : f32\n    linalg.yield %s : f32") for f in FUNCTIONS)
    for name, p in [("p2", "2.0"), ("p3", "3.0"), ("ph", "0.5"), ("pm", "-1.0"), ("pg", "1.7")]:
        body += "\n" + generic(["(i) -> (i)"] * 2, ["parallel"], [("x", t)], [(name, t)],
                               f"    %p = arith.constant {p} : f32\n    %s = math.powf %a0, %p : f32\n    linalg.yield %s : f32")
    outputs = FUNCTIONS + ["p2", "p3", "ph", "pm", "pg"]
    m = build(tmp_path_factory.mktemp("math"), program([("x", (N,), "f32")], [(f, (N,), "f32") for f in outputs], body))
    return lambda x: dict(zip(outputs, m.run(x)))


def ulps(got, exact):
    exact = exact.astype(np.float64)
    unit = np.spacing(np.maximum(np.abs(exact), np.float64(2.0 ** -126)).astype(np.float32)).astype(np.float64)
    return (np.abs(got.astype(np.float64) - exact) / unit).max()


RANGES = {"exp": (-103.0, 88.72), "expm1": (-103.0, 88.72), "tanh": (-10, 10), "erf": (-5, 5), "log": None, "rsqrt": None, "sqrt": None,
          "sin": (-100, 100), "cos": (-100, 100)}
LIMITS = {"exp": 1.0, "expm1": 1.5, "tanh": 1.4, "erf": 1.1, "log": 1.0, "sqrt": 0.5, "rsqrt": 1.5, "sin": 1.0, "cos": 1.0}
EXACT = {"erf": np.vectorize(math.erf), "rsqrt": lambda x: 1 / np.sqrt(x)}


@pytest.mark.cpu
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_ulps(model, name):
    worst = 0.0
    rng = np.random.default_rng(3)
    for _ in range(4):
        if RANGES[name]:
            x = rng.uniform(*RANGES[name], N).astype(np.float32)
            x[:N // 4] = (rng.standard_normal(N // 4) * 10.0 ** rng.uniform(-6, 0, N // 4)).astype(np.float32)
        else:  # every positive float, denormals too
            x = rng.integers(1, 0x7F800000, N, dtype=np.uint32).view(np.float32).copy()
            x[:N // 4] = rng.uniform(0.5, 2, N // 4).astype(np.float32)
        exact = EXACT.get(name, getattr(np, name, None))(x.astype(np.float64))
        worst = max(worst, ulps(model(x)[name], exact))
    print(name, worst)
    assert worst <= LIMITS[name]


def test_powers(model):
    x = np.random.default_rng(4).uniform(0.01, 30, N).astype(np.float32)
    y, d = model(x), x.astype(np.float64)
    for name, p, limit in [("p2", 2, 0.5), ("p3", 3, 1.5), ("ph", 0.5, 0.5), ("pm", -1, 0.5), ("pg", 1.7, 1.0)]:
        exact = d ** (np.float64(np.float32(1.7)) if name == "pg" else p)
        assert ulps(y[name], exact) <= limit, name


@pytest.mark.cpu
def test_special_values(model):
    x = np.zeros(N, np.float32)
    x[:8] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1.0, 200.0]
    with np.errstate(all="ignore"):
        y = model(x)
        for name in ("exp", "expm1", "tanh", "log", "sqrt", "sin"):
            exact = getattr(np, name)(x[:8].astype(np.float64)).astype(np.float32)
            np.testing.assert_array_equal(np.isnan(y[name][:8]), np.isnan(exact), err_msg=name)
            np.testing.assert_allclose(y[name][:8], exact, rtol=3e-7, err_msg=name)
        np.testing.assert_array_equal(y["erf"][:8], [np.nan, 1, -1, 0, 0, y["erf"][5], y["erf"][6], 1])
        assert y["erf"][5] > 0 or y["erf"][5] == 0
        assert y["ph"][2] == np.inf and not np.signbit(y["ph"][4])
        assert np.isnan(y["exp"][0]) and y["exp"][2] == 0 and y["exp"][1] == np.inf
