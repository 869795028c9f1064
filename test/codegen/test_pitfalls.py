# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What generated code loses silently, still giving right results or right ones in most cases: wide vectors, accumulators
in registers, a stack that does not grow, indices of a range that does not start at 0. Read off the LLVM IR."""
import re

import numpy as np
import pytest

from harness import build, memref, program
from test_attention import LOWEST, attention
from test_contract import contract
from test_generic import generic

pytestmark = pytest.mark.cpu

rng = np.random.default_rng(9)
ADD = "    %s = arith.addf %a0, %a1 : f32\n    linalg.yield %s : f32"


def code_of(tmp_path, monkeypatch, values, body, march="x86-64-v4", optimized=True):
    """The LLVM IR of the kernels for a CPU that need not be this one."""
    monkeypatch.setenv("SNUG_MARCH", march)
    build(tmp_path, program(values[:-1], values[-1:], body, [("s", 300)]), dump=True)
    return "\n".join(p.read_text() for p in sorted(tmp_path.glob("kernels*.ll"))
                     if p.name.endswith(".unoptimized.ll") != optimized)


def blocks_of(code):
    """The basic blocks of all functions."""
    return [block for body in re.findall(r"^define .*?\{\n(.*?)^\}", code, re.S | re.M)
            for block in re.split(r"^(?=[\w.]+:)", body, flags=re.M)]


def products(equation="mk,kn->mn", a=(300, 700), b=(700, 640), y=(300, 640)):
    return [("a", a, "f32"), ("b", b, "f32"), ("y", y, "f32")], contract(equation, ("a", memref(a)), ("b", memref(b)),
                                                                         memref(y))


def heads(s=300, d=64, causal=LOWEST):
    q = (1, 2, s, d)
    return [(n, q, "f32") for n in "qkvy"], attention(("bhsd", q), ("bhtd", q), ("bhte", q), ("bhse", q), causal=causal)


@pytest.mark.parametrize("values,body,least", [
    pytest.param(*products(), 24, id="contraction"),
    pytest.param(*products(a=("s", 700), y=("s", 640)), 24, id="contraction of dynamic rows"),
    pytest.param(*products("mk,nk->mn", b=(640, 700)), 24, id="contraction over copied panels"),
    pytest.param(*heads(), 24, id="attention"), pytest.param(*heads(s="s"), 24, id="attention of dynamic rows")])
def test_accumulators_stay_in_registers(tmp_path, monkeypatch, values, body, least):
    """The loop over k holds a whole tile's multiply-adds, 12 rows of 2 vectors, and writes nothing."""
    inner = [b for b in blocks_of(code_of(tmp_path, monkeypatch, values, body))
             if len(re.findall(r"<16 x float> @llvm\.fmuladd", b)) >= least]
    assert inner, "no loop has a whole tile"
    assert not any(re.search(r"^\s*store ", b, re.M) for b in inner)
    assert all(re.search(r"= phi <16 x float>", b) for b in inner)


@pytest.mark.parametrize("values,body", [products(), products("mk,nk->mn", b=(640, 700)), heads(), heads(s="s")])
def test_the_stack_does_not_grow(tmp_path, monkeypatch, values, body):
    """Every buffer on the stack is made once, when the function is entered: none in a loop, none of a dynamic size."""
    code = code_of(tmp_path, monkeypatch, values, body, optimized=False)
    functions = re.findall(r"^define .*?\{\n(.*?)^\}", code, re.S | re.M)
    assert "alloca " in code
    for function in functions:
        entry, *rest = re.split(r"^(?=[\w.]+:)", function.lstrip("\n"), flags=re.M)
        if not entry.strip():
            entry, *rest = rest
        assert not any(" alloca " in block for block in rest)
        assert not re.search(r" alloca [^\n]*, i64 %", entry)


WIDE = {
    "elementwise": ([("x", (40, 300), "f32"), ("b", (300,), "f32"), ("y", (40, 300), "f32")],
                    generic(["(i, j) -> (i, j)", "(i, j) -> (j)", "(i, j) -> (i, j)"], ["parallel"] * 2,
                            [("x", memref((40, 300))), ("b", memref((300,)))], [("y", memref((40, 300)))], ADD), "fadd"),
    "elementwise, flat and dynamic": ([("x", ("s", 30), "f32"), ("y", ("s", 30), "f32")],
                                      generic(["(i, j) -> (i, j)"] * 2, ["parallel"] * 2, [("x", memref(("s", 30)))],
                                              [("y", memref(("s", 30)))],
                                              "    %s = arith.addf %a0, %a0 : f32\n    linalg.yield %s : f32"), "fadd"),
    "sum of rows": ([("x", (40, 3000), "f32"), ("y", (40,), "f32")],
                    generic(["(i, j) -> (i, j)", "(i, j) -> (i)"], ["parallel", "reduction"], [("x", memref((40, 3000)))],
                            [("y", memref((40,)))], ADD), "fadd"),
    "sum of columns": ([("x", (40, 3000), "f32"), ("y", (3000,), "f32")],
                       generic(["(i, j) -> (i, j)", "(i, j) -> (j)"], ["reduction", "parallel"],
                               [("x", memref((40, 3000)))], [("y", memref((3000,)))], ADD), "fadd"),
    "maximum of rows": ([("x", (40, 3000), "f32"), ("y", (40,), "f32")],
                        generic(["(i, j) -> (i, j)", "(i, j) -> (i)"], ["parallel", "reduction"],
                                [("x", memref((40, 3000)))], [("y", memref((40,)))],
                                ADD.replace("arith.addf", "arith.maximumf")), "maximum"),
    "softmax": ([("x", (40, 3000), "f32"), ("y", (40, 3000), "f32")],
                f"  snug_nn.softmax ins(%x : {memref((40, 3000))}) outs(%y : {memref((40, 3000))})", "ldexp|fdiv|fmul"),
    "gathered rows": ([("x", (900, 192), "f32"), ("i", (40,), "i64"), ("y", (40, 192), "f32")],
                      f"  snug_nn.gather ins(%x, %i : {memref((900, 192))}, {memref((40,), 'i64')}) "
                      f"outs(%y : {memref((40, 192))}) axis = 0", "load|memcpy"),
}


@pytest.mark.parametrize("name", WIDE)
def test_loops_become_vectors_of_the_full_width(tmp_path, monkeypatch, name):
    values, body, operation = WIDE[name]
    lines = [l for l in code_of(tmp_path, monkeypatch, values, body).split("\n") if re.search(operation, l)]
    assert any("<16 x float>" in l or "llvm.memcpy" in l for l in lines), lines


@pytest.mark.parametrize("march,lanes", [("x86-64-v4", 16), ("x86-64-v3", 8), ("x86-64", 4)])
def test_vectors_fit_the_registers(tmp_path, monkeypatch, march, lanes):
    """Explicit vectors are as wide as the CPU's, and widths are powers of two: others are taken apart by element."""
    for i, (values, body) in enumerate((products(), heads())):
        folder = tmp_path / str(i)
        folder.mkdir()
        code = code_of(folder, monkeypatch, values, body, march=march)
        widths = {int(n) for n in re.findall(r"<(\d+) x float>", code)}
        assert f"call <{lanes} x float> @llvm.fmuladd" in code and all(n & (n - 1) == 0 for n in widths)
        assert {int(n) for n in re.findall(r"<(\d+) x float> @llvm\.fmuladd", code)} == {lanes}


def where_largest(shape, reduced, iterators):
    """The largest index at which x is 1, over dim `reduced`."""
    letters = "ijk"[:len(shape)]
    kept = [c for n, c in enumerate(letters) if n != reduced]
    to_map = lambda s: f"({', '.join(letters)}) -> ({', '.join(s)})"
    y = tuple(n for i, n in enumerate(shape) if i != reduced)
    body = f'''  %low = arith.constant -1 : i64
  linalg.fill ins(%low : i64) outs(%y : {memref(y, "i64")})
''' + generic([to_map(letters), to_map(kept)], iterators, [("x", memref(shape))], [("y", memref(y, "i64"))], f'''
    %i = linalg.index {reduced} : index
    %o = arith.constant 1.0 : f32
    %n = arith.constant -1 : i64
    %v = arith.index_cast %i : index to i64
    %c = arith.cmpf oeq, %a0, %o : f32
    %s = arith.select %c, %v, %n : i64
    %m = arith.maxsi %s, %a1 : i64
    linalg.yield %m : i64''')
    return body, y


@pytest.mark.parametrize("shape,reduced", [((40, 300), 1), ((300, 40), 0), ((2, 50, 70), 1), (("s", 50, 70), 1),
                                           (("s", 1500, 7), 2), ((1, 60, 2000), 1)])
def test_indices_of_a_range(tmp_path, shape, reduced):
    """An index counts from the start of the dim, not of the range: an argmax is wrong otherwise."""
    iterators = ["reduction" if i == reduced else "parallel" for i in range(len(shape))]
    body, y = where_largest(shape, reduced, iterators)
    m = build(tmp_path, program([("x", shape, "f32")], [("y", y, "i64")], body, [("s", 5)] if "s" in shape else []))
    size = tuple(3 if n == "s" else n for n in shape)
    x = rng.integers(0, 2, size).astype(np.float32)
    place = np.arange(size[reduced]).reshape([-1 if i == reduced else 1 for i in range(len(size))])
    for split in (None, -2, -7, -100):
        got = m.run(x, dims=(3,) if "s" in shape else (), split=split)
        assert (got == np.where(x == 1, place, -1).max(reduced)).all()


@pytest.mark.parametrize("shape", [("s", 9), ("s", 1500), (1, 3000), (2, 3, 40), ("s", 3, 1200)])
def test_indices_of_all_parallel_dims(tmp_path, shape):
    letters = "ijk"[:len(shape)]
    map_ = f"({', '.join(letters)}) -> ({', '.join(letters)})"
    sums = "".join(f"    %i{n} = linalg.index {n} : index\n    %m{n} = arith.muli %p{n}_, %i{n} : index\n"
                   for n in range(len(shape)))
    constants = "".join(f"    %p{n}_ = arith.constant {10 ** (4 * n)} : index\n" for n in range(len(shape)))
    total = "".join(f"    %t{n} = arith.addi %{f't{n - 1}' if n > 1 else 'm0'}, %m{n} : index\n"
                    for n in range(1, len(shape)))
    t = memref(shape, "i64")
    body = generic([map_], ["parallel"] * len(shape), [], [("y", t)],
                   f"{constants}{sums}{total}    %v = arith.index_cast %t{len(shape) - 1} : index to i64\n    linalg.yield %v : i64")
    body = body.replace("ins( : )", "")
    m = build(tmp_path, program([("x", shape, "f32")], [("y", shape, "i64")], body, [("s", 5)] if "s" in shape else []))
    size = tuple(3 if n == "s" else n for n in shape)
    expected = sum(10 ** (4 * n) * g for n, g in enumerate(np.indices(size)))
    for split in (None, -2, -7, -100):
        got = m.run(np.zeros(size, np.float32), dims=(3,) if "s" in shape else (), split=split)
        assert (got == expected).all()


def test_two_sums_from_one_zero_are_two(tmp_path):
    """Equal fills of two buffers that both live on: were they one, each sum would count both."""
    x, y = memref((20, 30)), memref((20,))
    maps = ["(i, j) -> (i, j)", "(i, j) -> (i)"]
    body = f'''  %z = arith.constant 0.0 : f32
  %u = memref.view %arena[%c0][] : memref<256xi8> to {y}
  %o = arith.constant 128 : index
  %v = memref.view %arena[%o][] : memref<256xi8> to {y}
  linalg.fill ins(%z : f32) outs(%u : {y})
  linalg.fill ins(%z : f32) outs(%v : {y})
''' + "\n".join(generic(maps, ["parallel", "reduction"], [(n, x)], [(to, y)], ADD) for n, to in (("a", "u"), ("b", "v")))
    body += "\n" + generic(["(i) -> (i)"] * 3, ["parallel"], [("u", y), ("v", y)], [("y", y)], '''
    %d = arith.subf %a0, %a1 : f32
    linalg.yield %d : f32''')
    m = build(tmp_path, program([("a", (20, 30), "f32"), ("b", (20, 30), "f32")], [("y", (20,), "f32")], body, arena=256))
    a, b = rng.standard_normal((20, 30), np.float32), rng.standard_normal((20, 30), np.float32)
    np.testing.assert_allclose(m.run(a, b), a.sum(1) - b.sum(1), atol=1e-4)
