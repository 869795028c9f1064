# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import ml_dtypes
import numpy as np
import pytest

from harness import TARGET, build, memref, program

rng = np.random.default_rng(1)


def contract(equation, a, b, out, packed=False, epilogue=(), body=None, out_name="y", few=None, real="f32"):
    """An einsum such as "mk,kn->mn" as snug_nn.contract; epilogue: (name, type, letters); few: "rows" or "columns", which the op as a
    whole has few of."""
    sides, result = equation.split("->")
    left, right = sides.split(",")
    letters = sorted(set(left + right))
    to_map = lambda s: f"affine_map<({', '.join(letters)}) -> ({', '.join(s)})>"
    kinds = ", ".join('"parallel"' if c in result else '"reduction"' for c in letters)
    maps = [left, right] + [e[2] for e in epilogue] + [result]
    extra = ""
    if epilogue:
        extra = f" epilogue({', '.join('%' + e[0] for e in epilogue)} : {', '.join(e[1] for e in epilogue)})"
    args = "".join(f", %e{i}: {real}" for i in range(len(epilogue)))
    return f'''  snug_nn.contract ins(%{a[0]}, %{b[0]} : {a[1]}, {b[1]}){extra} outs(%{out_name} : {out})
    attributes {{{"packed, " if packed else ""}{f"few_{few}, " if few else ""}indexing_maps = [{", ".join(map(to_map, maps))}], iterator_types = [{kinds}]}} {{
  ^bb0(%acc: {real}{args}):
{body or f"    snug_nn.yield %acc : {real}"}
  }}'''


def check(got, a, b, equation, extra=0.0):
    exact = np.einsum(equation, a.astype(np.float64), b.astype(np.float64))
    scale = np.einsum(equation, np.abs(a).astype(np.float64), np.abs(b).astype(np.float64)) + 1
    assert np.abs(got - (exact + extra)).max() <= 2e-6 * scale.max()


def einsum_model(tmp_path, equation, a, b, y):
    body = contract(equation, ("a", memref(a)), ("b", memref(b)), memref(y))
    return build(tmp_path, program([("a", a, "f32"), ("b", b, "f32")], [("y", y, "f32")], body))


@pytest.mark.parametrize("m,k,n", [(1, 1, 1), (1, 257, 33), (7, 31, 100), (31, 300, 257), (33, 7, 64), (100, 513, 31),
                                   (257, 100, 128)])
def test_plain(tmp_path, m, k, n):
    model = einsum_model(tmp_path, "mk,kn->mn", (m, k), (k, n), (m, n))
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    y = model.run(a, b)
    check(y, a, b, "mk,kn->mn")
    assert (model.run(a, b, split=-100) == y).all()


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("equation,a,b,y", [
    ("mk,kn->mn", (70, 100), (100, 90), (70, 90)),
    ("mk,nk->mn", (65, 33), (129, 33), (65, 129)),
    ("km,kn->mn", (64, 64), (64, 64), (64, 64)),
    ("bmk,bkn->bmn", (2, 17, 40), (2, 40, 24), (2, 17, 24)),
    ("mk,kn->mn", (3, 100), (100, 90), (3, 90)),
])
def test_narrow_floats(tmp_path, equation, a, b, y, dtype):
    """Products of narrow floats are exact in f32, and their sum is f32's."""
    body = contract(equation, ("a", memref(a, dtype)), ("b", memref(b, dtype)), memref(y))
    model = build(tmp_path, program([("a", a, dtype), ("b", b, dtype)], [("y", y, "f32")], body))
    kind = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}[dtype]
    x, w = (rng.standard_normal(shape, np.float32).astype(kind) for shape in (a, b))
    check(model.run(x, w), x.astype(np.float32), w.astype(np.float32), equation)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [1, 4, 13])
@pytest.mark.parametrize("b", ["kn", "nk"])
def test_a_loop_over_rows_gives_the_bits_of_the_whole(tmp_path, dtype, size, b):
    """How few rows an iteration has does not choose the kernel: it is the whole op's."""
    m, k, n = 26, 150, 40
    shapes = {"a": (m, k), "b": tuple({"k": k, "n": n}[c] for c in b), "y": (m, n)}
    whole = contract(f"mk,{b}->mn", ("a", memref(shapes["a"], dtype)), ("b", memref(shapes["b"], dtype)), memref(shapes["y"]))
    slices, part = "", whole
    for name, to, columns, kind in (("a", "ai", k, dtype), ("z", "zi", n, "f32")):
        sub = f"memref<{size}x{columns}x{kind}, strided<[{columns}, 1], offset: ?>>"
        slices += f"    %{to} = memref.subview %{name}[%i, 0] [{size}, {columns}] [1, 1] : {memref((m, columns), kind)} to {sub}\n"
        part = part.replace(f"%{name.replace('z', 'y')}", f"%{to}").replace(memref((m, columns), kind), sub)
    body = f"""{whole}
  %step = arith.constant {size} : index
  %rows = arith.constant {m // size * size} : index
  scf.for %i = %c0 to %rows step %step {{
{slices}{part}
  }}"""
    model = build(tmp_path, program([("a", shapes["a"], dtype), ("b", shapes["b"], dtype)], [("y", (m, n), "f32"), ("z", (m, n), "f32")], body))
    kind = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}[dtype]
    x, w = (rng.standard_normal(shapes[s], np.float32).astype(kind) for s in "ab")
    y, z = model.run(x, w)
    check(y, x.astype(np.float32), w.astype(np.float32), f"mk,{b}->mn")
    done = m // size * size
    if TARGET != "cpu":  # where sums are in the same order, too, on the simulator alone
        kernels = (tmp_path / "kernels.mlir").read_text().split("gpu.func")[1:]
        assert len(kernels) == 2 and len({"nvgpu.mma.sync" in kernel for kernel in kernels}) == 1
    assert (y[:done].view(np.int32) == z[:done].view(np.int32)).all()


@pytest.mark.parametrize("equation,a,b,y", [
    ("mk,nk->mn", (40, 70), (50, 70), (40, 50)),            # b transposed: copied to panels
    ("km,kn->mn", (70, 40), (70, 64), (40, 64)),            # a transposed
    ("km,nk->mn", (70, 40), (64, 70), (40, 64)),            # both: operands change places
    ("mk,kn->nm", (40, 70), (70, 64), (64, 40)),            # c transposed
    ("bmk,bkn->bmn", (3, 40, 70), (3, 70, 64), (3, 40, 64)),
    ("bshd,bthd->bhst", (2, 20, 3, 16), (2, 30, 3, 16), (2, 3, 20, 30)),   # q k^T in exporters' layout
    ("bhst,bthd->bshd", (2, 3, 20, 30), (2, 30, 3, 16), (2, 20, 3, 16)),   # p v
    ("ikc,jkc->ijc", (9, 11, 33), (10, 11, 33), (9, 10, 33)),              # triangle multiplication
    ("abk,kn->abn", (5, 13, 40), (40, 96), (5, 13, 96)),
    ("abk,kn->abn", (50, 7, 40), (40, 96), (50, 7, 96)),   # short rows: several a of b's at once
    ("k,kn->n", (40,), (40, 96), (96,)),
    ("mk,kpq->mpq", (21, 40), (40, 5, 32), (21, 5, 32)),
])
def test_einsums(tmp_path, equation, a, b, y):
    model = einsum_model(tmp_path, equation, a, b, y)
    a_, b_ = rng.standard_normal(a, np.float32), rng.standard_normal(b, np.float32)
    got = model.run(a_, b_)
    check(got, a_, b_, equation)
    assert (model.run(a_, b_, split=-1000) == got).all()


GELU = '''    %v = arith.addf %acc, %e0 : f32
    %c = arith.constant 0.70710678 : f32
    %s = arith.mulf %v, %c : f32
    %f = math.erf %s : f32
    %one = arith.constant 1.0 : f32
    %g = arith.addf %f, %one : f32
    %h = arith.constant 0.5 : f32
    %i = arith.mulf %v, %h : f32
    %j = arith.mulf %i, %g : f32
    %r = arith.addf %j, %e1 : f32
    snug_nn.yield %r : f32'''


@pytest.mark.parametrize("k,n", [(300, 96), (70, 100)])
def test_packed_weight_epilogue_in_place_dynamic(tmp_path, k, n):
    """x W + b, gelu, plus the residual that the result overwrites; W is in a file; any number of rows."""
    w, bias = rng.standard_normal((k, n), np.float32), rng.standard_normal(n, np.float32)
    (tmp_path / "d").write_bytes(b"12345678" + w.tobytes() + bias.tobytes())
    panels = -(-n // 32)
    packed = memref((panels, k, 32))
    x, y = (1, "seq", k), (1, "seq", n)
    prologue = f'''  snug_nn.data @w : tensor<{k}x{n}xf32> {{file = "d", offset = 8 : i64, length = {4 * k * n} : i64}}
  snug_nn.data @b : tensor<{n}xf32> {{file = "d", offset = {8 + 4 * k * n} : i64, length = {4 * n} : i64}}'''
    body = f'''  %w = snug_nn.weight @w recipe [#snug_nn.pack<32>] : {packed}
  %b = snug_nn.weight @b : {memref((n,))}
  memref.copy %res, %y : {memref(y)} to {memref(y)}
''' + contract("bmk,kn->bmn", ("x", memref(x)), ("w", packed), memref(y), packed=True, body=GELU,
               epilogue=[("b", memref((n,)), "n"), ("y", memref(y), "bmn")])
    model = build(tmp_path, program([("x", x, "f32"), ("res", y, "f32")], [("y", y, "f32")], body, [("seq", 300)],
                                    prologue=prologue), data=tmp_path)
    assert model.header.memory.weights >= 4 * panels * 32 * k + 4 * n
    from math import erf
    full_x = rng.standard_normal((1, 300, k), np.float32) * np.float32(0.1)
    full_r = rng.standard_normal((1, 300, n), np.float32)
    whole = model.run(full_x, full_r, dims=(300,))
    z = full_x.astype(np.float64) @ w + bias
    expected = 0.5 * z * (1 + np.vectorize(erf)(z / np.sqrt(2))) + full_r
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=2e-5)
    assert (model.run(full_x, full_r, dims=(300,), split=-9, threads=4) == whole).all()
    # An element depends neither on the rows beside it nor on who computes it: chunked is unchunked, bit for bit.
    for rows in (1, 4, 13, 96, 97, 257):
        for start in (0, 11):
            stop = min(start + rows, 300)
            part = model.run(full_x[:, start:stop], full_r[:, start:stop], dims=(stop - start,), split=-7)
            assert (part == whole[:, start:stop]).all()


@pytest.mark.parametrize("letters,dims", [("nba", (37, 50, 20)), ("nab", (20, 33, 64)), ("anb", (3, 100, 17))])
def test_destination_with_rows_inside(tmp_path, letters, dims):
    """x[a, b, k] w[k, n] + bias[n], times res[a, b, n], written with a or b next to each other: transposed tiles."""
    size = {"a": dims[0], "b": dims[1], "n": dims[2], "k": 40}
    shape = lambda s: tuple(size[c] for c in s)
    body = contract("abk,kn->" + letters, ("x", memref(shape("abk"))), ("w", memref(shape("kn"))), memref(shape(letters)),
                    epilogue=[("bias", memref(shape("n")), "n"), ("res", memref(shape("abn")), "abn")],
                    body="""    %v = arith.addf %acc, %e0 : f32
    %r = arith.mulf %v, %e1 : f32
    snug_nn.yield %r : f32""")
    model = build(tmp_path, program([("x", shape("abk"), "f32"), ("w", shape("kn"), "f32"), ("bias", shape("n"), "f32"),
                                     ("res", shape("abn"), "f32")], [("y", shape(letters), "f32")], body))
    x, w, bias, res = (rng.standard_normal(shape(s), np.float32) for s in ("abk", "kn", "n", "abn"))
    y = model.run(x, w, bias, res)
    expected = np.einsum("abn->" + letters, (x.astype(np.float64) @ w + bias) * res)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert (model.run(x, w, bias, res, split=-50) == y).all()


@pytest.mark.parametrize("channels,filters,size,kernel,stride", [(20, 34, 19, 3, 2), (300, 64, 9, 3, 1), (3, 40, 40, 5, 3)])
def test_windows(tmp_path, channels, filters, size, kernel, stride):
    """A convolution: x read through windows, several reduction dims, the result's rows inside."""
    out = (size - kernel) // stride + 1
    x, w, y = (2, channels, size, size), (kernel, kernel, channels, filters), (2, filters, out, out)
    body = contract("bcpq,ijcn->bnhw", ("x", memref(x)), ("w", memref(w)), memref(y))
    letters = "(b, c, h, i, j, n, w)"
    body = body.replace("(b, c, i, j, n, p, q)", letters).replace(
        "(b, c, p, q)>", f"(b, c, h * {stride} + i, w * {stride} + j)>")
    body = body.replace('["parallel", "reduction", "reduction", "reduction", "parallel", "reduction", "reduction"]',
                        '["parallel", "reduction", "parallel", "reduction", "reduction", "parallel", "parallel"]')
    assert f"h * {stride}" in body
    model = build(tmp_path, program([("x", x, "f32"), ("w", w, "f32")], [("y", y, "f32")], body))
    x_, w_ = rng.standard_normal(x, np.float32), rng.standard_normal(w, np.float32)
    got = model.run(x_, w_)
    windows = np.lib.stride_tricks.sliding_window_view(x_, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]
    check(got, windows, w_, "bchwij,ijcn->bnhw")
    assert (model.run(x_, w_, split=-20) == got).all()


def test_weights_recipes_and_embedding(tmp_path):
    w = rng.standard_normal((4, 6, 8), np.float32)
    (tmp_path / "d").write_bytes(w.tobytes())
    recipes = {
        "#snug_nn.transpose<[2, 0, 1]>": w.transpose(2, 0, 1),
        "#snug_nn.slice<[1, 2, 0], [2, 3, 8]>": w[1:3, 2:5],
        "#snug_nn.transpose<[1, 0, 2]>, #snug_nn.reshape<[24, 8]>": w.transpose(1, 0, 2).reshape(24, 8),
        "#snug_nn.reshape<[24, 8]>, #snug_nn.transpose<[1, 0]>, #snug_nn.pack<32>":
            w.reshape(24, 8).T[:, :, None].repeat(1, 2).reshape(1, 8, 24),
    }
    body, outputs = "", []
    for i, (recipe, expected) in enumerate(recipes.items()):
        if "pack" in recipe:
            expected = np.pad(expected, ((0, 0), (0, 0), (0, 8)))
        recipes[recipe] = expected
        t = memref(expected.shape)
        outputs.append((f"y{i}", expected.shape, "f32"))
        body += f"  %w{i} = snug_nn.weight @w recipe [{recipe}] : {t}\n  memref.copy %w{i}, %y{i} : {t} to {t}\n"
    body += "  %s = snug_nn.weight @s : memref<4xi1>\n  memref.copy %s, %z : memref<4xi1> to memref<4xi1>\n"
    outputs.append(("z", (4,), "i1"))
    prologue = '''  snug_nn.data @w : tensor<4x6x8xf32> {file = "d", offset = 0 : i64, length = 768 : i64}
  snug_nn.data @s : tensor<4xi1> {value = dense<[true, false, true, true]> : tensor<4xi1>}'''
    model = build(tmp_path, program([], outputs, body, prologue=prologue), data=tmp_path)
    assert model.header.weights_data and model.header.weights_data % 64 == 0
    *got, mask = model.run()
    for value, expected in zip(got, recipes.values()):
        assert (value == expected).all()
    assert mask.tolist() == [True, False, True, True]
    assert not (tmp_path / "m.so.safetensors").exists()
