# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs that are cut for a mesh, from fuse to a library whose ranks all run here (mesh_harness.py)."""
import re
import subprocess

import numpy as np
import pytest

from harness import COMPILER
from mesh_harness import build_mesh, plan

pytestmark = pytest.mark.cpu

rng = np.random.default_rng(11)
NUMPY = {"f32": np.float32, "f16": np.float16, "i32": np.int32}


def tensor(*shape, dtype="f32"):
    return "tensor<" + "".join(f"{'?' if isinstance(s, str) else s}x" for s in shape) + dtype + ">"


def module(mesh, inputs, outputs, body, data="", dims=()):
    """inputs: (name, shape, dtype); outputs: (value, type)."""
    attrs = ", ".join(f'{{name = "{n}", min = 1 : i64, max = {m} : i64, step = 1 : i64}}' for n, m in dims)
    def argument(name, shape, dtype):
        texts = ", ".join(f'"{s}"' for s in shape)
        return f'%{name}: {tensor(*shape, dtype=dtype)} {{snug.name = "{name}", snug.dims = [{texts}]}}'
    def result(type_, texts):
        return f'{type_} {{snug.dims = [{", ".join(chr(34) + str(t) + chr(34) for t in texts)}]}}'
    return f'''module attributes {{snug.mesh = array<i64: {mesh[0]}, {mesh[1]}>, snug.threads = 2 : i64, snug.dims = [{attrs}]}} {{
{data}
func.func @main({", ".join(argument(*i) for i in inputs)}) -> ({", ".join(result(t, s) for _, t, s in outputs)}) {{
{body}
  return {", ".join(v for v, _, _ in outputs)} : {", ".join(t for _, t, _ in outputs)}
}}
}}
'''


def groups_of(mesh, axes):
    """The groups along the axes, each a list of ranks in order."""
    found = {}
    for rank in range(mesh[0] * mesh[1]):
        place = divmod(rank, mesh[1])
        found.setdefault(tuple(p for axis, p in enumerate(place) if axis not in axes), []).append(rank)
    return list(found.values())


# --- each collective ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("dtype", ["f32", "f16", "i32"])
def test_collectives(tmp_path, dtype, axes):
    mesh = (2, 3) if dtype == "i32" else (2, 2)
    g = int(np.prod([mesh[axis] for axis in axes]))
    all_, part, text = tensor(g, 3, 5, dtype=dtype), tensor(3, 5, dtype=dtype), list(axes)
    body, outputs = "", []
    def add(name, op, source, from_, to, shape):
        nonlocal body
        body += f'''  %e_{name} = tensor.empty() : {to}
  %{name} = snug_mesh.{op} axes {text} ins(%{source} : {from_}) outs(%e_{name} : {to}) -> {to} loc("node {name}")
'''
        outputs.append((f"%{name}", to, shape))
    for kind in ("sum", "max", "min", "prod"):
        add(kind, f"all_reduce {kind}", "x", all_, all_, (g, 3, 5))
    add("scattered", "reduce_scatter sum", "x", all_, part, (3, 5))
    body += f"  %first = tensor.extract_slice %x[{g - 1}, 0, 0] [1, 3, 5] [1, 1, 1] : {all_} to {part}\n"
    add("gathered", "all_gather", "first", part, all_, (g, 3, 5))
    add("swapped", "all_to_all", "x", all_, all_, (g, 3, 5))
    add("shifted", "shift", "x", all_, all_, (g, 3, 5))
    model = build_mesh(tmp_path, module(mesh, [("x", (g, 3, 5), dtype)], outputs, body))
    h, bits = model.header, sum(1 << axis for axis in axes)
    infos = [h.collectives[i] for i in range(h.num_collectives)]
    said = {i.nodes.decode(): (i.kind, i.axes, i.reduction, i.dtype.bits) for i in infos}
    width = np.dtype(NUMPY[dtype]).itemsize * 8
    assert said == {"node sum": (0, bits, 0, width), "node max": (0, bits, 1, width), "node min": (0, bits, 2, width),
                    "node prod": (0, bits, 3, width), "node scattered": (1, bits, 0, width),
                    "node gathered": (2, bits, 0, width), "node swapped": (3, bits, 0, width),
                    "node shifted": (4, bits, 0, width)}
    x = rng.integers(-3, 4, (mesh[0] * mesh[1], g, 3, 5)).astype(NUMPY[dtype])
    results, calls = model.run_mesh([[part] for part in x])
    count = {0: g * 15, 1: 15, 2: 15, 3: 15, 4: g * 15}
    assert sorted(calls) == [(i, count[infos[i].kind]) for i in range(8)]
    for group in groups_of(mesh, axes):
        given = x[group]
        for here, rank in enumerate(group):
            total, largest, least, product, scattered, gathered, swapped, shifted = results[rank]
            np.testing.assert_array_equal(total, given.sum(0))
            np.testing.assert_array_equal(largest, given.max(0))
            np.testing.assert_array_equal(least, given.min(0))
            np.testing.assert_array_equal(product, given.prod(0))
            np.testing.assert_array_equal(scattered, given.sum(0)[here])
            np.testing.assert_array_equal(gathered, given[:, g - 1])
            np.testing.assert_array_equal(swapped, given[:, here])
            np.testing.assert_array_equal(shifted, given[here - 1])


def test_place(tmp_path):
    """Each device takes its own rows, by its place along both axes."""
    body = f'''  %i = snug_mesh.index 0
  %j = snug_mesh.index 1
  %c3 = arith.constant 3 : index
  %r0 = arith.muli %i, %c3 : index
  %r = arith.addi %r0, %j : index
  %row = tensor.extract_slice %x[%r, 0] [1, 4] [1, 1] : {tensor(6, 4)} to {tensor(1, 4)}
  %e = tensor.empty() : {tensor(1, 4)}
  %y = linalg.exp ins(%row : {tensor(1, 4)}) outs(%e : {tensor(1, 4)}) -> {tensor(1, 4)}
'''
    model = build_mesh(tmp_path, module((2, 3), [("x", (6, 4), "f32")], [("%y", tensor(1, 4), (1, 4))], body))
    assert model.header.num_collectives == 0 and model.mesh == (2, 3)
    x = rng.standard_normal((6, 4), np.float32)
    results, _ = model.run_mesh([[x]] * 6)
    np.testing.assert_allclose(np.concatenate(results), np.exp(x), rtol=1e-6)


# --- weights by rank --------------------------------------------------------------------------------------------------

W = np.arange(12 * 24, dtype=np.float32).reshape(12, 24)


def cut(value, dim, place, count, segments):
    ends = np.cumsum(segments)
    return np.concatenate([np.split(value.take(range(end - length, end), dim), count, dim)[place]
                           for end, length in zip(ends, segments)], dim)


RECIPES = {
    "plain": ("#snug_nn.shard<0, 0, [12]>", lambda i, j: cut(W, 0, i, 2, [12])),
    "segments": ("#snug_nn.shard<1, 1, [12, 6, 6]>", lambda i, j: cut(W, 1, j, 3, [12, 6, 6])),
    "segments of rows": ("#snug_nn.shard<0, 1, [6, 3, 3]>", lambda i, j: cut(W, 0, j, 3, [6, 3, 3])),
    "both axes": ("#snug_nn.shard<0, 0, [4, 8]>, #snug_nn.shard<1, 1, [24]>",
                  lambda i, j: cut(cut(W, 0, i, 2, [4, 8]), 1, j, 3, [24])),
    "transposed before": ("#snug_nn.transpose<[1, 0]>, #snug_nn.shard<0, 0, [12, 12]>",
                          lambda i, j: cut(W.T, 0, i, 2, [12, 12])),
    "transposed segments": ("#snug_nn.transpose<[1, 0]>, #snug_nn.shard<1, 0, [2, 4, 6]>",
                            lambda i, j: cut(W.T, 1, i, 2, [2, 4, 6])),
    "reshaped after": ("#snug_nn.shard<1, 1, [12, 12]>, #snug_nn.reshape<[6, 16]>",
                       lambda i, j: cut(W, 1, j, 3, [12, 12]).reshape(6, 16)),
    "reshaped before": ("#snug_nn.reshape<[12, 6, 4]>, #snug_nn.shard<1, 1, [3, 3]>, #snug_nn.transpose<[2, 0, 1]>",
                        lambda i, j: cut(W.reshape(12, 6, 4), 1, j, 3, [3, 3]).transpose(2, 0, 1)),
    "sliced before": ("#snug_nn.slice<[2, 0], [8, 24]>, #snug_nn.shard<0, 0, [4, 4]>",
                      lambda i, j: cut(W[2:10], 0, i, 2, [4, 4])),
    # A multiple of all six devices, with zeros at the end.
    "filled rows": ("#snug_nn.slice<[1, 0], [11, 24]>, #snug_nn.shard<0, 0, [11]>",
                    lambda i, j: cut(np.pad(W[1:], ((0, 1), (0, 0))), 0, i, 2, [12])),
    "filled rows of both axes": ("#snug_nn.slice<[1, 0], [11, 24]>, #snug_nn.shard<0, 0, [11]>, #snug_nn.shard<0, 1, [6]>",
                                 lambda i, j: cut(cut(np.pad(W[1:], ((0, 1), (0, 0))), 0, i, 2, [12]), 0, j, 3, [6])),
    "filled columns, packed": ("#snug_nn.slice<[0, 0], [12, 7]>, #snug_nn.shard<1, 1, [7]>, #snug_nn.pack<4>",
                               lambda i, j: cut(np.pad(W[:, :7], ((0, 0), (0, 5))), 1, j, 3, [12]).reshape(12, 1, 4).transpose(1, 0, 2)),
    "packed after": ("#snug_nn.shard<1, 1, [12, 6, 6]>, #snug_nn.pack<4>",
                     lambda i, j: cut(W, 1, j, 3, [12, 6, 6]).reshape(12, 2, 4).transpose(1, 0, 2)),
}


def copies(recipes, shapes, mesh=(2, 3), length=1152):
    body, outputs = "", []
    for i, (recipe, shape) in enumerate(zip(recipes, shapes)):
        body += f'''  %w{i} = snug_nn.weight @w recipe [{recipe}] : {tensor(*shape)}
  %e{i} = tensor.empty() : {tensor(*shape)}
  %y{i} = linalg.copy ins(%w{i} : {tensor(*shape)}) outs(%e{i} : {tensor(*shape)}) -> {tensor(*shape)}
'''
        outputs.append((f"%y{i}", tensor(*shape), shape))
    data = f'  snug_nn.data @w : tensor<12x24xf32> {{file = "d", offset = 0 : i64, length = {length} : i64}}'
    return module(mesh, [], outputs, body, data)


def test_weights_by_rank(tmp_path):
    (tmp_path / "d").write_bytes(W.tobytes())
    wanted = [f for _, f in RECIPES.values()]
    shapes = [f(0, 0).shape for f in wanted]
    model = build_mesh(tmp_path, copies([r for r, _ in RECIPES.values()], shapes), data=tmp_path)
    sizes = [int(np.prod(s)) * 4 for s in shapes]
    assert model.header.memory.weights == sum(-(-s // 64) * 64 for s in sizes[:-1]) + sizes[-1], "one rank's weights"
    headers = [header for header, _ in model.rank_weights]
    for header in headers:
        header.pop("__metadata__")
    assert all(header == headers[0] for header in headers), "one layout serves all ranks"
    results, _ = model.run_mesh([[]] * 6)
    for (i, j), outputs in zip(model.ranks, results):
        for name, want, have in zip(RECIPES, wanted, outputs):
            np.testing.assert_array_equal(have, want(i, j), name)
    assert not list(tmp_path.glob("*.partial"))


def test_files_of_earlier_compilations(tmp_path):
    (tmp_path / "d").write_bytes(W.tobytes())
    one = ["#snug_nn.shard<0, 0, [12]>"]
    def files():
        return sorted(p.name for p in tmp_path.glob("m.so*"))
    build_mesh(tmp_path, copies(one, [(2, 24)], (6, 1)), data=tmp_path)
    assert files() == ["m.so"] + [f"m.so.rank{r}.safetensors" for r in range(6)]
    (tmp_path / "m.so.safetensors").write_bytes(b"of a model for one device")
    source = tmp_path / "m.mlir"  # compiled, not loaded: the first one is
    source.write_text(plan(copies(["#snug_nn.shard<0, 1, [12]>"], [(4, 24)], (1, 3))))
    subprocess.run([COMPILER, source, tmp_path / "m.so", tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert files() == ["m.so"] + [f"m.so.rank{r}.safetensors" for r in range(3)]


@pytest.mark.parametrize("recipe,shape,mesh,message", [
    ("#snug_nn.shard<0, 0, [8, 4]>", (2, 24), (5, 1), "a shard has a segment of 8, which 5 devices cannot share evenly"),
    ("#snug_nn.shard<1, 0, [12, 6]>", (12, 9), (2, 1), "a shard's segments are shorter than its dim"),
    ("#snug_nn.shard<1, 0, [12, 14]>", (12, 13), (2, 1), "a shard's segments are longer than its dim"),
    ("#snug_nn.shard<2, 0, [12]>", (12, 12), (2, 1), "a shard names a dim or a mesh axis that does not exist"),
    ("#snug_nn.shard<0, 2, [12]>", (6, 24), (2, 1), "a shard names a dim or a mesh axis that does not exist"),
    ("#snug_nn.shard<0, 0, [12]>", (6, 24), None, "a shard stands in a program that is cut for no mesh"),
    ("#snug_nn.shard<0, 0, [12]>", (6, 12), (2, 1), "its recipe does not give the type that the program reads"),
])
def test_refused_recipes(tmp_path, recipe, shape, mesh, message):
    (tmp_path / "d").write_bytes(W.tobytes())
    text = copies([recipe], [shape], mesh or (1, 1))
    if mesh is None:
        text = text.replace("snug.mesh = array<i64: 1, 1>, ", "")
    source = tmp_path / "e.mlir"
    source.write_text(plan(text))
    result = subprocess.run([COMPILER, source, tmp_path / "e.so", tmp_path], capture_output=True, text=True)
    assert result.returncode == 2 and message in result.stderr
    assert not list(tmp_path.glob("e.so*"))


def test_nothing_half_written(tmp_path):
    """Data that ends early, found only when the second rank is written."""
    (tmp_path / "d").write_bytes(W.tobytes()[:-4])
    source = tmp_path / "e.mlir"
    source.write_text(plan(copies(["#snug_nn.shard<0, 0, [12]>"], [(6, 24)], (2, 1))))
    for rank in range(2):  # of an earlier compilation: they stay as they are
        (tmp_path / f"e.so.rank{rank}.safetensors").write_bytes(b"earlier")
    result = subprocess.run([COMPILER, source, tmp_path / "e.so", tmp_path], capture_output=True, text=True)
    assert result.returncode == 2 and "is the file complete?" in result.stderr
    assert sorted(p.name for p in tmp_path.glob("e.so*")) == ["e.so.rank0.safetensors", "e.so.rank1.safetensors"]
    (tmp_path / "d").write_bytes(W.tobytes())
    (tmp_path / "e.so.rank1.safetensors").unlink()
    (tmp_path / "e.so.rank1.safetensors").mkdir()  # cannot be replaced by a file
    (tmp_path / "e.so.rank1.safetensors" / "x").write_bytes(b"")
    result = subprocess.run([COMPILER, source, tmp_path / "e.so", tmp_path], capture_output=True, text=True)
    assert result.returncode == 5 and "cannot write" in result.stderr
    assert sorted(p.name for p in tmp_path.glob("e.so*")) == ["e.so.rank1.safetensors"]


# --- models -----------------------------------------------------------------------------------------------------------

def contract(name, a, a_shape, b, b_shape, out_shape, sizes="", relu=False, reads="m, k", writes="m, n"):
    """%name = a @ b, b packed in panels of 32 columns; sizes: of the dynamic dims; reads, writes: dims of a and the result."""
    relu_text = "    %zero = arith.constant 0.0 : f32\n    %larger = arith.maximumf %acc, %zero : f32\n    snug_nn.yield %larger : f32"
    text = relu_text if relu else "    snug_nn.yield %acc : f32"
    a_type, b_type, out = tensor(*a_shape), tensor(*b_shape), tensor(*out_shape)
    return f'''  %e_{name} = tensor.empty({sizes}) : {out}
  %{name} = snug_nn.contract ins(%{a}, %{b} : {a_type}, {b_type}) outs(%e_{name} : {out})
      attributes {{packed, iterator_types = ["parallel", "parallel", "reduction"],
       indexing_maps = [affine_map<(m, n, k) -> ({reads})>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> ({writes})>]}} {{
  ^bb0(%acc: f32):
{text}
  }} -> {out} loc("/{name}")
'''


def weights_of(folder, arrays):
    """Data ops and what they read."""
    text, raw = "", b""
    for name, array in arrays.items():
        shape = "x".join(map(str, array.shape))
        text += f'  snug_nn.data @{name} : tensor<{shape}xf32> {{file = "d", offset = {len(raw)} : i64, length = {array.nbytes} : i64}}\n'
        raw += array.tobytes()
    (folder / "d").write_bytes(raw)
    return text


def test_two_layers(tmp_path):
    """Columns of the first, rows of the second weight; an all-reduce in place; any number of rows."""
    k, n, hidden = 48, 40, 64
    a, b = rng.standard_normal((k, hidden), np.float32), rng.standard_normal((hidden, n), np.float32)
    bias = rng.standard_normal(n, np.float32)
    data = weights_of(tmp_path, {"a": a, "b": b, "bias": bias})
    y = tensor("m", n)
    body = f'''  %c0 = arith.constant 0 : index
  %m = tensor.dim %x, %c0 : {tensor("m", k)}
  %a = snug_nn.weight @a recipe [#snug_nn.shard<1, 0, [{hidden}]>, #snug_nn.pack<32>] : {tensor(1, k, 32)}
  %b = snug_nn.weight @b recipe [#snug_nn.shard<0, 0, [{hidden}]>, #snug_nn.pack<32>] : {tensor(2, 32, 32)}
  %bias = snug_nn.weight @bias : {tensor(n)}
''' + contract("h", "x", ("m", k), "a", (1, k, 32), ("m", 32), "%m", relu=True) \
        + contract("p", "h", ("m", 32), "b", (2, 32, 32), ("m", n), "%m") + f'''
  %es = tensor.empty(%m) : {y}
  %s = snug_mesh.all_reduce sum axes [0] ins(%p : {y}) outs(%es : {y}) -> {y} loc("/p")
  %ey = tensor.empty(%m) : {y}
  %y = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}} ins(%s, %bias : {y}, {tensor(n)}) outs(%ey : {y}) {{
  ^bb0(%u: f32, %v: f32, %w: f32):
    %t = arith.addf %u, %v : f32
    linalg.yield %t : f32
  }} -> {y}
'''
    model = build_mesh(tmp_path, module((2, 1), [("x", ("m", k), "f32")], [("%y", y, ("m", n))], body, data, [("m", 96)]),
                       data=tmp_path)
    place, to = re.search(r"all_reduce sum axes \[0\] ins\((%\w+) : .*\) outs\((%\w+) :", model.plan).groups()
    assert place == to, "in place"
    assert model.header.collectives[0].nodes == b"/p"
    for rows in (1, 33, 96):
        x = rng.standard_normal((rows, k), np.float32)
        results, calls = model.run_mesh([[x], [x]], dims=[rows])
        assert calls == [(0, rows * n)]
        np.testing.assert_array_equal(*results)
        want = np.maximum(x.astype(np.float64) @ a, 0) @ b + bias
        np.testing.assert_allclose(results[0], want, rtol=2e-4, atol=2e-4)


WIDE, INNER, OUTER, LEFT = 1024, 32, 32, 32


def rows_by_rank(folder, chunk, name):
    """Rows by rank; all of them are gathered for two layers that are cut, and scattered again."""
    shapes = {"a": (LEFT, WIDE), "b": (WIDE, INNER), "c": (INNER, WIDE), "d": (WIDE, OUTER)}
    data_rng = np.random.default_rng(3)
    arrays = {n: (data_rng.standard_normal(s) / np.sqrt(s[0])).astype(np.float32) for n, s in shapes.items()}
    data = weights_of(folder, arrays)
    half = WIDE // 2
    body = f'''  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %r = tensor.dim %x, %c0 : {tensor("r", LEFT)}
  %all = arith.muli %r, %c2 : index
  %a = snug_nn.weight @a recipe [#snug_nn.pack<32>] : {tensor(WIDE // 32, LEFT, 32)}
  %b = snug_nn.weight @b recipe [#snug_nn.pack<32>] : {tensor(1, WIDE, 32)}
  %c = snug_nn.weight @c recipe [#snug_nn.shard<1, 1, [{WIDE}]>, #snug_nn.pack<32>] : {tensor(half // 32, INNER, 32)}
  %d = snug_nn.weight @d recipe [#snug_nn.shard<0, 1, [{WIDE}]>, #snug_nn.pack<32>] : {tensor(1, half, 32)}
''' + contract("h", "x", ("r", LEFT), "a", (WIDE // 32, LEFT, 32), ("r", WIDE), "%r", relu=True) \
        + contract("i", "h", ("r", WIDE), "b", (1, WIDE, 32), ("r", INNER), "%r") + f'''
  %eg = tensor.empty(%r) : {tensor(2, "r", INNER)}
  %g = snug_mesh.all_gather axes [1] ins(%i : {tensor("r", INNER)}) outs(%eg : {tensor(2, "r", INNER)}) -> {tensor(2, "r", INNER)}
  %rows = tensor.collapse_shape %g [[0, 1], [2]] : {tensor(2, "r", INNER)} into {tensor("s", INNER)}
''' + contract("j", "rows", ("s", INNER), "c", (half // 32, INNER, 32), ("s", half), "%all", relu=True) \
        + contract("k", "j", ("s", half), "d", (1, half, 32), ("s", OUTER), "%all") + f'''
  %parts = tensor.expand_shape %k [[0, 1], [2]] output_shape [2, %r, {OUTER}] : {tensor("s", OUTER)} into {tensor(2, "r", OUTER)}
  %ey = tensor.empty(%r) : {tensor("r", OUTER)}
  %y = snug_mesh.reduce_scatter sum axes [1] ins(%parts : {tensor(2, "r", OUTER)}) outs(%ey : {tensor("r", OUTER)}) -> {tensor("r", OUTER)}
'''
    text = module((1, 2), [("x", ("r", LEFT), "f32")], [("%y", tensor("r", OUTER), ("r", OUTER))], body, data, [("r", 256)])
    return build_mesh(folder, text, chunk, name, folder), arrays


def test_gathered_rows(tmp_path):
    whole, arrays = rows_by_rank(tmp_path, None, "whole")
    chunked, _ = rows_by_rank(tmp_path, "activation-budget=400000 exact", "chunked")
    assert chunked.header.memory.arena <= 400000 < whole.header.memory.arena
    for r in (1, 100, 256):
        x = rng.standard_normal((2, r, LEFT), np.float32)
        results, _ = whole.run_mesh([[x[0]], [x[1]]], dims=[r])
        again, _ = chunked.run_mesh([[x[0]], [x[1]]], dims=[r])
        np.testing.assert_array_equal(results, again)
        rows = np.maximum(x.reshape(-1, LEFT).astype(np.float64) @ arrays["a"], 0) @ arrays["b"]
        want = np.maximum(rows @ arrays["c"], 0) @ arrays["d"]
        np.testing.assert_allclose(np.concatenate(results), want, rtol=2e-4, atol=2e-4)


def between(folder, chunk, name):
    """Two wide layers, and between them columns by rows, of which loops over rows cannot cut what is contiguous."""
    generator = np.random.default_rng(4)
    arrays = {n: (generator.standard_normal(s) / np.sqrt(s[0])).astype(np.float32)
              for n, s in {"a": (LEFT, WIDE), "b": (WIDE, INNER)}.items()}
    columns = tensor(INNER, "r")
    body = f'''  %c0 = arith.constant 0 : index
  %r = tensor.dim %x, %c0 : {tensor("r", LEFT)}
  %a = snug_nn.weight @a recipe [#snug_nn.pack<32>] : {tensor(WIDE // 32, LEFT, 32)}
  %b = snug_nn.weight @b recipe [#snug_nn.pack<32>] : {tensor(1, WIDE, 32)}
''' + contract("h", "x", ("r", LEFT), "a", (WIDE // 32, LEFT, 32), ("r", WIDE), "%r", relu=True) \
        + contract("i", "h", ("r", WIDE), "b", (1, WIDE, 32), (INNER, "r"), "%r", writes="n, m") + f'''
  %es = tensor.empty(%r) : {columns}
  %s = snug_mesh.all_reduce sum axes [1] ins(%i : {columns}) outs(%es : {columns}) -> {columns}
''' + contract("j", "s", (INNER, "r"), "a", (WIDE // 32, LEFT, 32), ("r", WIDE), "%r", relu=True, reads="k, m") \
        + contract("k", "j", ("r", WIDE), "b", (1, WIDE, 32), ("r", INNER), "%r")
    text = module((1, 2), [("x", ("r", LEFT), "f32")], [("%k", tensor("r", INNER), ("r", INNER))], body,
                  weights_of(folder, arrays), [("r", 256)])
    return build_mesh(folder, text, chunk, name, folder), arrays


def test_between_chunk_loops(tmp_path):
    whole, arrays = between(tmp_path, None, "whole")
    chunked, _ = between(tmp_path, "activation-budget=200000 exact", "chunked")
    assert chunked.header.memory.arena <= 200000 < whole.header.memory.arena
    steps = re.findall(r"scf\.for|all_reduce|snug\.chunk_loop = \d", chunked.plan[chunked.plan.index("func.func"):])
    assert steps == ["scf.for", "snug.chunk_loop = 0", "all_reduce", "scf.for", "snug.chunk_loop = 1"]
    place, to = re.search(r"all_reduce sum axes \[1\] ins\((%\w+) : .*\) outs\((%\w+) :", chunked.plan).groups()
    assert place == to, "in place"
    for r in (1, 100, 256):
        x = rng.standard_normal((2, r, LEFT), np.float32)
        results, calls = chunked.run_mesh([[x[0]], [x[1]]], dims=[r])
        assert calls == [(0, r * INNER)]
        expected, _ = whole.run_mesh([[x[0]], [x[1]]], dims=[r])
        np.testing.assert_array_equal(results, expected)
        total = (np.maximum(x.astype(np.float64) @ arrays["a"], 0) @ arrays["b"]).sum(0)
        np.testing.assert_allclose(results[0], np.maximum(total @ arrays["a"], 0) @ arrays["b"], rtol=2e-4, atol=2e-4)


def around(folder, chunk, name, op, given, dims, size):
    """A collective on what comes from outside, and a wide layer behind it."""
    a = np.random.default_rng(5).standard_normal((LEFT, WIDE)).astype(np.float32)
    b = np.random.default_rng(6).standard_normal((WIDE, OUTER)).astype(np.float32) / 32
    data = weights_of(folder, {"a": a, "b": b})
    r, of_r = ("r", "%r") if dims else (size, "")
    part = tensor(r, LEFT)
    body = f'''  %c1 = arith.constant {len(given) - 2} : index
  %r = tensor.dim %x, %c1 : {tensor(*given)}
  %a = snug_nn.weight @a recipe [#snug_nn.pack<32>] : {tensor(WIDE // 32, LEFT, 32)}
  %b = snug_nn.weight @b recipe [#snug_nn.pack<32>] : {tensor(1, WIDE, 32)}
  %ep = tensor.empty({of_r}) : {part}
  %p = snug_mesh.{op} axes [0] ins(%x : {tensor(*given)}) outs(%ep : {part}) -> {part}
''' + contract("h", "p", (r, LEFT), "a", (WIDE // 32, LEFT, 32), (r, WIDE), of_r, relu=True) \
        + contract("y", "h", (r, WIDE), "b", (1, WIDE, 32), (r, OUTER), of_r)
    text = module((2, 1), [("x", given, "f32")], [("%y", tensor(r, OUTER), (r, OUTER))], body, data,
                  [("r", size)] if dims else [])
    return build_mesh(folder, text, chunk, name, folder), a, b


@pytest.mark.parametrize("dims", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("op", ["all_reduce sum", "reduce_scatter sum"])
def test_in_a_chunk_loop(tmp_path, op, dims):
    size = 256
    shape = ("r" if dims else size, LEFT)
    given = shape if op.startswith("all") else (2,) + shape
    whole, a, b = around(tmp_path, None, "whole", op, given, dims, size)
    chunked, _, _ = around(tmp_path, "activation-budget=150000 exact", "chunked", op, given, dims, size)
    assert chunked.header.memory.arena <= 150000 < whole.header.memory.arena
    loop = chunked.plan.index("scf.for")
    assert chunked.plan.index("snug_mesh." + op) > loop, "the loop goes around the collective"
    assert ("memref.copy" in chunked.plan[loop:] or "linalg.copy" in chunked.plan[loop:]) == op.startswith("reduce_scatter"), \
        "slices of parts are copied, others are contiguous"
    for r in (1, 129, 256) if dims else (256,):
        x = rng.standard_normal((2,) + tuple(r if s == "r" else s for s in given), np.float32)
        results, calls = chunked.run_mesh([[x[0]], [x[1]]], dims=[r] if dims else [])
        assert len(calls) > 1 or r == 1
        expected, _ = whole.run_mesh([[x[0]], [x[1]]], dims=[r] if dims else [])
        np.testing.assert_array_equal(results, expected)
        for here in range(2):
            total = x.astype(np.float64).sum(0)
            total = total if op.startswith("all") else total[here]
            np.testing.assert_allclose(results[here], np.maximum(total @ a, 0) @ b, rtol=2e-4, atol=2e-3)


def test_views(tmp_path):
    """A slice of columns is copied before it is sent; what is received goes into columns of a larger tensor by a copy, into
    rows directly."""
    body = f'''  %columns = tensor.extract_slice %x[0, 2] [4, 3] [1, 1] : {tensor(4, 8)} to {tensor(4, 3)}
  %e0 = tensor.empty() : {tensor(4, 3)}
  %s = snug_mesh.all_reduce sum axes [0] ins(%columns : {tensor(4, 3)}) outs(%e0 : {tensor(4, 3)}) -> {tensor(4, 3)}
  %e1 = tensor.empty() : {tensor(4, 3)}
  %t = linalg.exp ins(%x2 : {tensor(4, 3)}) outs(%e1 : {tensor(4, 3)}) -> {tensor(4, 3)}
  %e2 = tensor.empty() : {tensor(4, 6)}
  %u = tensor.insert_slice %s into %e2[0, 0] [4, 3] [1, 1] : {tensor(4, 3)} into {tensor(4, 6)}
  %v = tensor.insert_slice %t into %u[0, 3] [4, 3] [1, 1] : {tensor(4, 3)} into {tensor(4, 6)}
  %e3 = tensor.empty() : {tensor(4, 3)}
  %m = snug_mesh.all_reduce max axes [0] ins(%x2 : {tensor(4, 3)}) outs(%e3 : {tensor(4, 3)}) -> {tensor(4, 3)}
  %e4 = tensor.empty() : {tensor(8, 3)}
  %n = tensor.insert_slice %m into %e4[4, 0] [4, 3] [1, 1] : {tensor(4, 3)} into {tensor(8, 3)}
  %o = tensor.insert_slice %t into %n[0, 0] [4, 3] [1, 1] : {tensor(4, 3)} into {tensor(8, 3)}
'''
    model = build_mesh(tmp_path, module((2, 1), [("x", (4, 8), "f32"), ("x2", (4, 3), "f32")],
                                        [("%v", tensor(4, 6), (4, 6)), ("%o", tensor(8, 3), (8, 3))], body))
    into_rows = re.search(r"all_reduce max .* outs\(%\w+ : (memref<[^)]*)\)", model.plan).group(1)
    assert "strided<[3, 1], offset: 12>" in into_rows
    x, x2 = rng.standard_normal((2, 4, 8), np.float32), rng.standard_normal((2, 4, 3), np.float32)
    results, _ = model.run_mesh([[x[0], x2[0]], [x[1], x2[1]]])
    for here, (v, o) in enumerate(results):
        np.testing.assert_allclose(v, np.hstack([x.sum(0)[:, 2:5], np.exp(x2[here])]), rtol=1e-5)
        np.testing.assert_allclose(o, np.vstack([np.exp(x2[here]), x2.max(0)]), rtol=1e-5)


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_in_pieces(tmp_path, pieces):
    """The sum of a layer in pieces of its rows, of which there may be less than pieces."""
    a = np.random.default_rng(5).standard_normal((LEFT, OUTER)).astype(np.float32)
    data, out = weights_of(tmp_path, {"a": a}), tensor("r", OUTER)
    body = f'''  %c0 = arith.constant 0 : index
  %r = tensor.dim %x, %c0 : {tensor("r", LEFT)}
  %a = snug_nn.weight @a recipe [#snug_nn.pack<32>] : {tensor(1, LEFT, 32)}
''' + contract("h", "x", ("r", LEFT), "a", (1, LEFT, 32), ("r", OUTER), "%r") + f'''  %e = tensor.empty(%r) : {out}
  %s = snug_mesh.all_reduce sum axes [0] ins(%h : {out}) outs(%e : {out}) -> {out}
  %e2 = tensor.empty(%r) : {out}
  %y = linalg.exp ins(%s : {out}) outs(%e2 : {out}) -> {out}
'''
    text = module((3, 1), [("x", ("r", LEFT), "f32")], [("%y", out, ("r", OUTER))], body, data, [("r", 64)])
    whole = build_mesh(tmp_path, text, name="whole", data=tmp_path)
    model = build_mesh(tmp_path, text, name="pieces", data=tmp_path, pieces=pieces)
    assert model.header.num_collectives == pieces and model.header.memory.arena <= whole.header.memory.arena
    for r in (1, 2, 3, 7, 33, 64):
        x = rng.standard_normal((3, r, LEFT), np.float32) / 64
        results, calls = model.run_mesh([[part] for part in x], dims=[r])
        each = -(-r // pieces)
        assert calls == [(i, max(0, min(each, r - i * each)) * OUTER) for i in range(pieces)]
        assert model.most_in_flight == 2
        expected, _ = whole.run_mesh([[part] for part in x], dims=[r])
        np.testing.assert_array_equal(results, expected)
        np.testing.assert_allclose(results[0], np.exp((x.astype(np.float64) @ a).sum(0)), rtol=1e-4)
