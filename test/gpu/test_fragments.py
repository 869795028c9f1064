# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which lane holds which element, and what ops of a warp compute: by the formulas of the PTX ISA, written down here a second
time. A kernel and the simulator could be wrong in the same way; this file shares no code with either."""
import numpy as np
import pytest
from harness import aligned, launch

random = np.random.default_rng(0)

# "Matrix Fragments for mma.mMnNkK": (lane, i) -> (row, column) of element i of the lane. groupID = %laneid >> 2,
# threadID_in_group = %laneid % 4.
group = lambda lane: lane >> 2
member = lambda lane: lane % 4
A16 = lambda l, i: (group(l) + (0 if 0 <= i < 2 or 4 <= i < 6 else 8), member(l) * 2 + (i & 1) + (0 if i < 4 else 8))
B16 = lambda l, i: (member(l) * 2 + (i & 1) + (0 if i < 2 else 8), group(l))
A16_K8 = lambda l, i: (group(l) + (0 if i in (0, 1) else 8), member(l) * 2 + (i & 1))
B16_K8 = lambda l, i: (member(l) * 2 + (i & 1), group(l))
A32_K8 = lambda l, i: (group(l) + (0 if i in (0, 2) else 8), member(l) + (0 if i in (0, 1) else 4))
B32_K8 = lambda l, i: (member(l) + (0 if i == 0 else 4), group(l))
A32_K4 = lambda l, i: (group(l) + (0 if i == 0 else 8), member(l))
B32_K4 = lambda l, i: (member(l), group(l))
A8_K32 = lambda l, i: (group(l) + (0 if 0 <= i < 4 or 8 <= i < 12 else 8), member(l) * 4 + (i & 3) + (0 if i < 8 else 16))
B8_K32 = lambda l, i: (member(l) * 4 + (i & 3) + (0 if i < 4 else 16), group(l))
A8_K16 = lambda l, i: (group(l) + (0 if i < 4 else 8), member(l) * 4 + (i & 3))
B8_K16 = lambda l, i: (member(l) * 4 + i, group(l))
A64 = lambda l, i: (group(l), member(l))
B64 = lambda l, i: (member(l), group(l))
C = lambda l, i: (group(l) + (0 if i < 2 else 8), member(l) * 2 + (i & 1))
C64 = lambda l, i: (group(l), member(l) * 2 + (i & 1))


def fragments(matrix, layout, count):
    return np.array([[matrix[layout(lane, i)] for i in range(count)] for lane in range(32)], matrix.dtype)


def kernel(body, a, b, c, c_type):
    """A kernel of one warp: each lane loads its fragments, all of them one behind the other, and stores its result."""
    def load(name, count, type):
        return f"""      %{name}p = memref.reinterpret_cast %{name}m to offset: [0], sizes: [32, {count}], strides: [{count}, 1] : memref<1x{type}> to memref<32x{count}x{type}>
      %{name} = vector.load %{name}p[%lane, %c0] : memref<32x{count}x{type}>, vector<{count}x{type}>
"""
    return f"""module {{
  gpu.module @kernels {{
    gpu.func @one(%am: memref<1x{a[1]}>, %bm: memref<1x{b[1]}>, %cm: memref<1x{c_type}>, %dm: memref<1x{c_type}>) kernel
        attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
      %c0 = arith.constant 0 : index
      %lane = gpu.lane_id
{load("a", *a)}{load("b", *b)}{load("c", c, c_type)}{body}
      %dp = memref.reinterpret_cast %dm to offset: [0], sizes: [32, {c}], strides: [{c}, 1] : memref<1x{c_type}> to memref<32x{c}x{c_type}>
      vector.store %d, %dp[%lane, %c0] : memref<32x{c}x{c_type}>, vector<{c}x{c_type}>
      gpu.return
    }}
  }}
}}
"""


def mma(shape, a, b, c, element, c_type):
    """By nvgpu.mma.sync: a, b and c are (registers, elements of one)."""
    vector = lambda s, t: f"vector<{s[0]}x{s[1]}x{t}>"
    flat = lambda s, t: f"vector<{s[0] * s[1]}x{t}>"
    casts = "".join(f"      %f{n} = vector.shape_cast %{n} : {flat(s, t)} to {vector(s, t)}\n"
                    for n, s, t in (("a", a, element), ("b", b, element), ("c", c, c_type)))
    tf32 = ", tf32Enabled" if element == "f32" else ""
    body = casts + f"""      %fd = nvgpu.mma.sync (%fa, %fb, %fc) {{mmaShape = {list(shape)}{tf32}}} : ({vector(a, element)}, {vector(b, element)}, {vector(c, c_type)}) -> {vector(c, c_type)}
      %d = vector.shape_cast %fd : {vector(c, c_type)} to {flat(c, c_type)}"""
    return kernel(body, (a[0] * a[1], element), (b[0] * b[1], element), c[0] * c[1], c_type)


def multiply(text, A, B, c_matrix, layouts, counts):
    a, b, c = (aligned(fragments(m, layout, count)) for m, layout, count in zip((A, B, c_matrix), layouts, counts))
    d = aligned(np.zeros_like(c))
    assert launch(text, "one", [1], [32], [a, b, c, d]) == []
    D = np.zeros_like(c_matrix)
    for lane in range(32):
        for i in range(counts[2]):
            D[layouts[2](lane, i)] = d[lane, i]
    return D


def small(rows, columns, dtype):
    """Numbers whose products and sums are exact in every type."""
    return random.integers(-8, 8, (rows, columns)).astype(dtype)


bf16 = lambda x: (x.view(np.uint32) >> 16).astype(np.uint16)  # exact for small integers

MMA = {
    "f16": ((16, 8, 16), (4, 2), (2, 2), (2, 2), "f16", "f32", np.float16, np.float32, (A16, B16, C)),
    "f16, sums of f16": ((16, 8, 16), (4, 2), (2, 2), (2, 2), "f16", "f16", np.float16, np.float16, (A16, B16, C)),
    "f16, k = 8": ((16, 8, 8), (2, 2), (1, 2), (2, 2), "f16", "f32", np.float16, np.float32, (A16_K8, B16_K8, C)),
    "tf32": ((16, 8, 8), (4, 1), (2, 1), (2, 2), "f32", "f32", np.float32, np.float32, (A32_K8, B32_K8, C)),
    "tf32, k = 4": ((16, 8, 4), (2, 1), (1, 1), (2, 2), "f32", "f32", np.float32, np.float32, (A32_K4, B32_K4, C)),
    "s8": ((16, 8, 32), (4, 4), (2, 4), (2, 2), "i8", "i32", np.int8, np.int32, (A8_K32, B8_K32, C)),
    "s8, k = 16": ((16, 8, 16), (2, 4), (1, 4), (2, 2), "i8", "i32", np.int8, np.int32, (A8_K16, B8_K16, C)),
    "f64": ((8, 8, 4), (1, 1), (1, 1), (1, 2), "f64", "f64", np.float64, np.float64, (A64, B64, C64)),
}


@pytest.mark.parametrize("name", MMA)
def test_mma(name):
    shape, a, b, c, element, c_type, dtype, c_dtype, layouts = MMA[name]
    m, n, k = shape
    A, B, S = small(m, k, dtype), small(k, n, dtype), small(m, n, c_dtype)
    counts = [s[0] * s[1] for s in (a, b, c)]
    D = multiply(mma(shape, a, b, c, element, c_type), A, B, S, layouts, counts)
    np.testing.assert_array_equal(D, A.astype(np.float64) @ B.astype(np.float64) + S)


@pytest.mark.parametrize("k, a, b, layouts", [(16, (4, 2), (2, 2), (A16, B16, C)), (8, (2, 2), (1, 2), (A16_K8, B16_K8, C))])
def test_mma_bf16(k, a, b, layouts):
    A, B, S = small(16, k, np.float32), small(k, 8, np.float32), small(16, 8, np.float32)
    text = mma((16, 8, k), a, b, (2, 2), "bf16", "f32")
    D = multiply(text, bf16(A), bf16(B), S, layouts, [a[0] * 2, b[0] * 2, 4])
    np.testing.assert_array_equal(D, A @ B + S)


def test_mma_of_integers_saturates():
    shape, a, b, c, element, c_type, dtype, c_dtype, layouts = MMA["s8"]
    A, B = np.full((16, 32), 127, np.int8), np.full((32, 8), 127, np.int8)
    D = multiply(mma(shape, a, b, c, element, c_type), A, B, np.full((16, 8), 2**31 - 5, np.int32), layouts, [16, 8, 4])
    np.testing.assert_array_equal(D, 2**31 - 1)


def test_mma_of_nvvm():
    """Of u8, which nvgpu does not have, without saturation."""
    body = """      %a4 = vector.bitcast %a : vector<16xi8> to vector<4xi32>
      %b2 = vector.bitcast %b : vector<8xi8> to vector<2xi32>
      %a0, %a1, %a2, %a3 = vector.to_elements %a4 : vector<4xi32>
      %b0, %b1 = vector.to_elements %b2 : vector<2xi32>
      %s0, %s1, %s2, %s3 = vector.to_elements %c : vector<4xi32>
      %r = nvvm.mma.sync A[%a0, %a1, %a2, %a3] B[%b0, %b1] C[%s0, %s1, %s2, %s3]
        {intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>, layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>,
         multiplicandAPtxType = #nvvm.mma_type<u8>, multiplicandBPtxType = #nvvm.mma_type<u8>, shape = #nvvm.shape<m = 16, n = 8, k = 32>}
        : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>
      %r0 = llvm.extractvalue %r[0] : !llvm.struct<(i32, i32, i32, i32)>
      %r1 = llvm.extractvalue %r[1] : !llvm.struct<(i32, i32, i32, i32)>
      %r2 = llvm.extractvalue %r[2] : !llvm.struct<(i32, i32, i32, i32)>
      %r3 = llvm.extractvalue %r[3] : !llvm.struct<(i32, i32, i32, i32)>
      %d = vector.from_elements %r0, %r1, %r2, %r3 : vector<4xi32>"""
    A = random.integers(0, 256, (16, 32)).astype(np.uint8)
    B = random.integers(0, 256, (32, 8)).astype(np.uint8)
    S = np.full((16, 8), 2**31 - 5, np.int32)
    D = multiply(kernel(body, (16, "i8"), (8, "i8"), 4, "i32"), A, B, S, (A8_K32, B8_K32, C), [16, 8, 4])
    np.testing.assert_array_equal(D, (A.astype(np.int64) @ B.astype(np.int64) + S).astype(np.int32))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, transposed):
    """"ldmatrix": the rows' addresses are from threads 0-7 for the first matrix, 8-15 for the second...; thread l gets of each
    matrix elements 2 * (l % 4) and the next of row l / 4; with .trans of the transposed matrix."""
    text = f"""#shared = #gpu.address_space<workgroup>
module {{
  gpu.module @kernels {{
    gpu.func @one(%xm: memref<1xi16>, %dm: memref<1xi16>)
        workgroup(%tile: memref<32x8xi16, #shared> {{llvm.align = 16 : i64}}) kernel
        attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
      %c0 = arith.constant 0 : index
      %lane = gpu.lane_id
      %x = memref.reinterpret_cast %xm to offset: [0], sizes: [32, 8], strides: [8, 1] : memref<1xi16> to memref<32x8xi16>
      %d = memref.reinterpret_cast %dm to offset: [0], sizes: [32, {2 * count}], strides: [{2 * count}, 1] : memref<1xi16> to memref<32x{2 * count}xi16>
      %v = vector.load %x[%lane, %c0] : memref<32x8xi16>, vector<8xi16>
      vector.store %v, %tile[%lane, %c0] : memref<32x8xi16, #shared>, vector<8xi16>
      gpu.barrier
      %f = nvgpu.ldmatrix %tile[%lane, %c0] {{numTiles = {count} : i32, transpose = {str(transposed).lower()}}} : memref<32x8xi16, #shared> -> vector<{count}x2xi16>
      %r = vector.shape_cast %f : vector<{count}x2xi16> to vector<{2 * count}xi16>
      vector.store %r, %d[%lane, %c0] : memref<32x{2 * count}xi16>, vector<{2 * count}xi16>
      gpu.return
    }}
  }}
}}
"""
    x, d = aligned(random.integers(0, 2**15, (32, 8)).astype(np.int16)), aligned(np.zeros((32, count, 2), np.int16))
    assert launch(text, "one", [1], [32], [x, d]) == []
    for lane in range(32):
        for matrix in range(count):
            tile = x[8 * matrix:8 * matrix + 8]
            tile = tile.T if transposed else tile
            np.testing.assert_array_equal(d[lane, matrix], tile[lane // 4, 2 * (lane % 4):2 * (lane % 4) + 2])


def lanes(body, result="i32"):
    return f"""module {{
  gpu.module @kernels {{
    gpu.func @one(%xm: memref<1xi32>, %om: memref<1xi32>, %dm: memref<1xi32>, %pm: memref<1xi32>) kernel
        attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
      %lane = gpu.lane_id
      %x = memref.reinterpret_cast %xm to offset: [0], sizes: [32], strides: [1] : memref<1xi32> to memref<32xi32>
      %o = memref.reinterpret_cast %om to offset: [0], sizes: [32], strides: [1] : memref<1xi32> to memref<32xi32>
      %d = memref.reinterpret_cast %dm to offset: [0], sizes: [32], strides: [1] : memref<1xi32> to memref<32xi32>
      %p = memref.reinterpret_cast %pm to offset: [0], sizes: [32], strides: [1] : memref<1xi32> to memref<32xi32>
      %all = arith.constant -1 : i32
      %width = arith.constant 32 : i32
      %v = memref.load %x[%lane] : memref<32xi32>
      %offset = memref.load %o[%lane] : memref<32xi32>
{body}
      memref.store %r, %d[%lane] : memref<32xi32>
      memref.store %valid, %p[%lane] : memref<32xi32>
      gpu.return
    }}
  }}
}}
"""


def run_lanes(body, x, offset):
    d, p = aligned(np.zeros(32, np.int32)), aligned(np.zeros(32, np.int32))
    assert launch(lanes(body), "one", [1], [32], [aligned(x), aligned(offset), d, p]) == []
    return d, p


# shfl.sync with 32 lanes in one segment: (lane, offset) -> lane that the value is from; out of range: its own, not valid.
SHUFFLES = {"xor": lambda lane, offset: lane ^ offset, "down": lambda lane, offset: lane + offset,
            "up": lambda lane, offset: lane - offset, "idx": lambda lane, offset: offset}


@pytest.mark.parametrize("mode", SHUFFLES)
def test_shuffle(mode):
    x, offset = random.integers(0, 1000, 32).astype(np.int32), random.integers(0, 32, 32).astype(np.int32)
    body = f"""      %r, %ok = gpu.shuffle {mode} %v, %offset, %width : i32
      %valid = arith.extui %ok : i1 to i32"""
    d, p = run_lanes(body, x, offset)
    source = [SHUFFLES[mode](lane, int(offset[lane])) for lane in range(32)]
    np.testing.assert_array_equal(p, [0 <= s < 32 for s in source])
    np.testing.assert_array_equal(d, [x[s] if 0 <= s < 32 else x[lane] for lane, s in enumerate(source)])


def test_tf32_is_rounded():
    """cvt.rna.tf32.f32: to the nearest number of 10 bits of mantissa, ties away from zero; infinities stay, and a NaN is 0x7fffffff."""
    body = """      %f = arith.bitcast %v : i32 to f32
      %r = nvvm.convert.float.to.tf32 %f {rnd = #nvvm.fp_rnd_mode<rna>}
      %valid = arith.constant 0 : i32"""
    x = np.concatenate([random.standard_normal(16, np.float32), np.float32([
        1 + 2.0**-11, -1 - 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-11 - 2.0**-23, 0, -0.0, np.inf, -np.inf, np.nan, np.finfo(np.float32).max,
        -np.finfo(np.float32).max, 2.0**-126, 2.0**-149, 3e38, 1 - 2.0**-12, 65519])])
    d, _ = run_lanes(body, x.view(np.int32), x.view(np.int32))
    unit = 2.0**(np.floor(np.log2(np.maximum(abs(x.astype(np.float64)), 2.0**-126))) - 10)
    with np.errstate(invalid="ignore", over="ignore"):
        want = (np.sign(x) * np.floor(abs(x.astype(np.float64)) / unit + 0.5) * unit).astype(np.float32)
        want = np.where(np.isfinite(x), want, x)
    np.testing.assert_array_equal(d.view(np.float32), want)
    assert d[24] == 0x7FFFFFFF and want[16] == np.float32(1 + 2.0**-10) and want[19] == 1 and np.isinf(want[25])


def test_shuffle_in_segments():
    """shfl.sync of nvvm in segments of 8 lanes: the segment mask is 0b11000, the clamp 31 (0 for up)."""
    x, offset = np.arange(32, dtype=np.int32), np.full(32, 3, np.int32)
    for kind, clamp, move in (("down", 31, 3), ("up", 0, -3)):
        body = f"""      %c = arith.constant {0b11000 << 8 | clamp} : i32
      %r = nvvm.shfl.sync {kind} %all, %v, %offset, %c : i32 -> i32
      %valid = arith.constant 0 : i32"""
        d, _ = run_lanes(body, x, offset)
        np.testing.assert_array_equal(d, [l + move if (l + move) // 8 == l // 8 else l for l in range(32)])


def test_vote_and_reduction():
    x = random.integers(-100, 100, 32).astype(np.int32)
    body = """      %zero = arith.constant 0 : i32
      %positive = arith.cmpi sgt, %v, %zero : i32
      %valid = nvvm.vote.sync ballot %all, %positive -> i32
      %r = nvvm.redux.sync min %v, %all : i32 -> i32"""
    d, p = run_lanes(body, x, x)
    assert set(d) == {x.min()}
    assert {int(v) & 0xFFFFFFFF for v in p} == {sum(1 << lane for lane in range(32) if x[lane] > 0)}
