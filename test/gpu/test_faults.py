# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels with one fault each: it is found, where it is. The same kernels without it are clean in test_kernels.py."""
import re

import numpy as np
import pytest
from harness import View, aligned, launch, source

random = np.random.default_rng(0)


def zeros(*shape):
    return aligned(np.zeros(shape, np.float32))


def normal(*shape):
    return aligned(random.standard_normal(shape).astype(np.float32))


def planted(text, old, new, number=0):
    """The text with the occurrence `number` of `old` replaced."""
    places = [match.start() for match in re.finditer(re.escape(old), text)]
    assert number < len(places), old
    return text[:places[number]] + new + text[places[number] + len(old):]


def fault(reports, kind, kernel, *words):
    """A report is of that kind and has these words."""
    fitting = [r for r in reports if r.startswith(f"{kind} in {kernel}, block (") and all(word in r for word in words)]
    assert fitting, reports


def tree(text, blocks=3, **options):
    return launch(text, "tree", [blocks], [256], [normal(256 * blocks), zeros(blocks), 256 * blocks], **options)


def shuffles(text, **options):
    return launch(text, "shuffles", [2], [256], [normal(512), zeros(2), 512], **options)


def softmax(text, rows=4, columns=1000, grid=None, **options):
    arguments = [normal(rows, columns), zeros(rows, columns), rows, columns]
    return launch(text, "softmax", [grid or rows], [256], arguments, **options)


def transpose(text, rows=100, columns=70, **options):
    grid = [-(-columns // 32), -(-rows // 32)]
    return launch(text, "transpose", grid, [32, 8], [normal(rows, columns), zeros(columns, rows), rows, columns], **options)


def matmul(text, m=32, n=16, k=64, **options):
    a, b = (aligned(random.standard_normal(shape).astype(np.float16)) for shape in ((m, k), (k, n)))
    return launch(text, "matmul", [n // 8, m // 16], [32], [a, b, zeros(m, n), m, n, k], **options)


MATMUL = source("matmul").replace("ELEMENT", "f16")


def test_bound_one_too_large():
    text = planted(source("transpose"), "arith.cmpi ult, %r, %m", "arith.cmpi ule, %r, %m")
    reports = transpose(text)
    # That bound is on the fourth block row only. The line is that of the load.
    line = text[:text.index("%v = memref.load %x")].count("\n") + 1
    fault(reports, "out-of-bounds", "transpose", "block (0,3,0)", "thread (0,4,0)", f"memref.load at", f".mlir:{line}:",
          "index 100 in dim 0, which has 100")


def test_vector_over_the_end_of_a_row():
    """It would be in the next row, which is memory of the same buffer."""
    text = planted(source("elementwise"), "arith.cmpi ule, %end, %n", "arith.cmpi ult, %i, %n")
    x = normal(8)
    arguments = [x, normal(8), zeros(8), 7]
    fault(launch(text, "elementwise", [1], [256], arguments), "out-of-bounds", "elementwise", "thread (1,0,0)",
          "vector.load at", "index 4 to 7 in dim 0, which has 7")


def test_memory_that_is_smaller_than_its_shape():
    x, y = normal(99, 70), zeros(70, 100)
    fault(launch(source("transpose"), "transpose", [3, 4], [32, 8], [x, y, 100, 70]), "out-of-bounds", "transpose",
          "a read of 4 bytes at offset 27720 of parameter 0 (27720 bytes)")


def test_a_neighbour_in_one_allocation_is_not_touched():
    """The driver knows allocations only: there the next buffer is no less allowed than this one, but its indices are wrong."""
    both = aligned(np.zeros(2 * 7000, np.float32))
    a, b = both[:7000].reshape(100, 70), both[7000:].reshape(70, 100)
    text = planted(source("transpose"), "arith.cmpi ult, %r, %m", "arith.cmpi ule, %r, %m").replace("llvm.align = 256", "llvm.align = 16")
    views = [View(both.ctypes.data, both.nbytes, 1, b"an allocation", -1)]
    fault(launch(text, "transpose", [3, 4], [32, 8], [a, b, 100, 70], views=views), "out-of-bounds", "transpose", "index 100")


def test_address_in_no_allocation():
    x, y = normal(64, 64), zeros(64, 64)
    views = [View(x.ctypes.data, x.nbytes, 1, b"an allocation", -1)]
    fault(launch(source("transpose"), "transpose", [2, 2], [32, 8], [x, y, 64, 64], views=views), "out-of-bounds", "transpose",
          "a write of 4 bytes at offset 0 of parameter 1, which points to no memory of the launch (0 bytes)")


def test_grid_too_large():
    fault(softmax(source("softmax"), grid=5), "out-of-bounds", "softmax", "block (4,0,0)")


def test_shared_buffer_too_small():
    text = source("transpose").replace("32x33xf32", "31x33xf32")
    fault(transpose(text), "out-of-bounds", "transpose", "memref.store at", "index 31 in dim 0, which has 31")


def test_dynamic_shared_memory_too_small():
    x, y = (aligned(np.zeros(shape, np.uint8)) for shape in ((32, 32), (32, 32)))
    run = lambda bytes: launch(source("transpose"), "transpose_bytes", [1], [32, 32], [x, y, 32, 32], dynamic=bytes)
    assert run(31 * 33 + 32) == []
    fault(run(31 * 33 + 31), "out-of-bounds", "transpose_bytes", "dynamic shared memory")


@pytest.mark.parametrize("number", [0, 1])
def test_missing_barrier_in_a_tree(number):
    fault(tree(planted(source("reduce"), "gpu.barrier", "", number)), "race", "tree", "no barrier between them")


def test_missing_barrier_between_warps():
    fault(shuffles(planted(source("reduce"), "gpu.barrier", "", 2)), "uninitialised", "shuffles")
    fault(softmax(planted(source("softmax"), "%sums[%", "%most[%", 0)), "race", "softmax", "writes what")


def test_missing_barrier_before_the_next_copy():
    fault(matmul(planted(MATMUL, "gpu.barrier", "", 1)), "race", "matmul", "nvgpu.device_async_copy", "writes what")


def test_missing_barrier_after_the_wait():
    fault(matmul(planted(MATMUL, "gpu.barrier", "", 0)), "missing-wait", "matmul", "nvgpu.ldmatrix")


def test_divergent_barrier():
    store = "memref.store %mostOfWarp, %most[%warp] : memref<8xf32, #shared>\n      }\n      gpu.barrier"
    text = planted(source("softmax"), store, store.replace("}\n      gpu.barrier", "gpu.barrier\n      }"))
    fault(softmax(text), "divergence", "softmax")


def test_barrier_that_some_threads_never_reach():
    text = planted(source("reduce"), "gpu.barrier", "scf.if %inside {\n gpu.barrier\n }")
    x, y = normal(200), zeros(1)
    fault(launch(text, "tree", [1], [256], [x, y, 200]), "divergence", "tree", "gpu.barrier at", "thread (200,0,0) waits in gpu.barrier")


def test_shuffle_with_missing_lanes():
    old = "%a0, %v0 = gpu.shuffle down %mine, %o16, %width : f32"
    new = """%few = arith.cmpi ult, %lane, %c8 : index
      %a0 = scf.if %few -> f32 {
        %r, %v0 = gpu.shuffle down %mine, %o16, %width : f32
        scf.yield %r : f32
      } else {
        scf.yield %mine : f32
      }"""
    fault(shuffles(planted(source("reduce"), old, new)), "divergence", "shuffles", "lane 8 of the warp takes no part")


def test_shuffle_in_a_warp_that_is_not_whole():
    text = source("reduce").replace("attributes {known_block_size = array<i32: 256, 1, 1>}", "")
    reports = launch(text, "shuffles", [1], [250], [normal(250), zeros(1), 250])
    fault(reports, "divergence", "shuffles", "lane 26 of the warp does not exist")


def test_shuffle_outside_of_its_width():
    text = source("reduce").replace("%width = arith.constant 32", "%width = arith.constant 16")
    fault(shuffles(text), "divergence", "shuffles", "lane 16 is none of the lanes 0000ffff")


def test_missing_wait():
    text = re.sub(r"nvgpu.device_async_wait [^\n]*", "", MATMUL)
    fault(matmul(text), "missing-wait", "matmul", "nvgpu.ldmatrix")
    fault(matmul(MATMUL.replace("numGroups = 1", "numGroups = 2")), "missing-wait", "matmul", "nvgpu.ldmatrix")


def test_copy_that_nobody_waits_for():
    text = source("transpose").replace("memref.store %v, %tile[%ty, %tx] : memref<32x33xi8, #shared>", "")
    copy = """
      %f = memref.view %memory[%c0][] : memref<?xi8, #shared> to memref<1024xi32, #shared>
      %s = memref.reinterpret_cast %xp to offset: [0], sizes: [1024], strides: [1] : memref<1xi8> to memref<1024xi8>
      %t = nvgpu.device_async_copy %s[%c0], %memory[%c0], 4 : memref<1024xi8> to memref<?xi8, #shared>
      gpu.return"""
    start = text.index("@transpose_bytes")
    end = text.index("%bx = gpu.block_id x", start)
    text = text[:end] + copy + "\n    }\n  }\n}\n"
    x = aligned(np.zeros(1024, np.uint8))
    reports = launch(text, "transpose_bytes", [1], [32, 32], [x, x, 32, 32], dynamic=4096)
    assert any(report.startswith("missing-wait") and "ends without waiting" in report for report in reports)


def test_misaligned_vector():
    text = source("softmax").replace("llvm.align = 256", "llvm.align = 4")
    x, y = normal(4001), zeros(4, 1000)
    fault(launch(text, "softmax", [4], [256], [x[1:], y, 4, 1000]), "misaligned", "softmax",
          "a read of 16 bytes, which needs a multiple of 16, at offset 0 of parameter 0")


def test_shared_buffer_that_says_less_than_its_accesses_need():
    text = planted(MATMUL, " {llvm.align = 16 : i64}", "", 0)
    fault(matmul(text), "misaligned", "matmul", "nvgpu.device_async_copy", "shared buffer 0")


def test_parameter_that_is_not_aligned_as_declared():
    x = normal(260)
    reports = launch(source("reduce"), "tree", [1], [256], [x[1:257], zeros(1), 256])
    assert reports == ["launch in tree: parameter 0 is no multiple of 256, as the kernel declares it"]


def test_uninitialised_shared_memory():
    text = planted(source("reduce"), "memref.store %mine, %sums[%tid]", "scf.if %inside {\n memref.store %mine, %sums[%tid]")
    text = planted(text, "memref<256xf32, #shared>\n      gpu.barrier", "memref<256xf32, #shared>\n }\n      gpu.barrier")
    x, y = normal(200), zeros(1)
    fault(launch(text, "tree", [1], [256], [x, y, 200]), "uninitialised", "tree", "llvm.load at")


def test_what_another_block_left_in_shared_memory_is_not_there():
    """Each block has to write what it reads: the second one finds nothing of the first."""
    text = planted(source("reduce"), "memref.store %mine, %sums[%tid]",
                   "%is0 = arith.cmpi eq, %bid, %c0 : index\n scf.if %is0 {\n memref.store %mine, %sums[%tid]")
    text = planted(text, "memref<256xf32, #shared>\n      gpu.barrier", "memref<256xf32, #shared>\n }\n      gpu.barrier")
    fault(tree(text), "uninitialised", "tree", "block (1,0,0)")


def test_two_blocks_write_one_element():
    text = planted(source("reduce"), "memref.store %s, %y[%bid]", "memref.store %s, %y[%c0]")
    fault(tree(text), "race", "tree", "block (1,0,0)", "writes what thread (0,0,0) of block 0 wrote")


def test_a_block_reads_what_another_one_writes():
    text = planted(source("reduce"), "%a = memref.load %sums[%tid] : memref<256xf32, #shared>", "%a = memref.load %y[%c0] : memref<?xf32>")
    fault(tree(text), "race", "tree", "block (1,0,0)", "reads what thread (0,0,0) of block 0 wrote")


def test_plain_and_atomic_accesses():
    text = planted(source("histogram"), "%old = memref.atomic_rmw addi %one, %counts[%place] : (i32, memref<256xi32>) -> i32",
                   "%old = memref.atomic_rmw addi %one, %counts[%place] : (i32, memref<256xi32>) -> i32\n memref.store %old, %counts[%place] : memref<256xi32>")
    x, counts = aligned(np.zeros(1000, np.uint8)), aligned(np.zeros(256, np.int32))
    fault(launch(text, "histogram", [16], [64], [x, counts, 1000]), "race", "histogram")


def test_write_to_what_may_only_be_read():
    fault(softmax(source("softmax"), writable={0}), "read-only", "softmax", "parameter 1")
    text = planted(source("softmax"), "%yp: memref<1xf32> {llvm.noalias", "%yp: memref<1xf32> {llvm.readonly, llvm.noalias")
    fault(softmax(text), "read-only", "softmax", "parameter 1")


def test_in_place_through_a_parameter_of_constant_memory():
    """What is read through a parameter that is `noalias` and `readonly` may come from a cache that writes do not reach."""
    x, b = normal(1024), normal(1024)
    run = lambda text: launch(text, "elementwise", [1], [256], [x, b, x, 1024])
    fault(run(source("elementwise")), "race", "elementwise", "no barrier between them")
    assert run(source("elementwise").replace("llvm.noalias, llvm.readonly, ", "").replace("llvm.noalias, ", "")) == []


@pytest.mark.parametrize("block, text", [([128], "blocks of 128 x 1 x 1 threads, but the kernel is made for 256 x 1 x 1"),
                                         ([2048], "a block of 2048 x 1 x 1 threads")])
def test_launch_that_is_not_possible(block, text):
    assert launch(source("reduce"), "tree", [1], block, [normal(256), zeros(1), 256]) == ["launch in tree: " + text]


def test_too_much_shared_memory():
    x = aligned(np.zeros(1024, np.uint8))
    reports = launch(source("transpose"), "transpose_bytes", [1], [32, 32], [x, x, 32, 32], dynamic=(227 << 10) + 1)
    assert reports == ["launch in transpose_bytes: 232449 bytes of shared memory, more than 232448"]
    with pytest.raises(RuntimeError, match="has 65536 bytes of static shared memory, more than 49152: make it dynamic"):
        launch(source("reduce").replace("memref<256xf32, #shared>", "memref<16384xf32, #shared>"), "tree", [1], [256], [])


def masked(columns, extent):
    """Four elements a thread, those below the extent only."""
    access = ("%v = vector.maskedload %x[%i], %mask, %zero : memref<?xf32>, vector<4xi1>, vector<4xf32> into vector<4xf32>\n"
              "vector.maskedstore %y[%i], %mask, %v : memref<?xf32>, vector<4xi1>, vector<4xf32>")
    text = f"""module {{
  gpu.module @kernels {{
    gpu.func @masked(%xp: memref<1xf32>, %yp: memref<1xf32>, %count: i64) kernel {{
      %n = arith.index_cast %count : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %zero = arith.constant dense<0.0> : vector<4xf32>
      %c4 = arith.constant 4 : index
      %tid = gpu.thread_id x
      %i = arith.muli %tid, %c4 : index
      %left = arith.subi %n, %i : index
      %each = arith.constant dense<[0, 1, 2, 3]> : vector<4xindex>
      %left4 = vector.broadcast %left : index to vector<4xindex>
      %mask = arith.cmpi slt, %each, %left4 : vector<4xindex>
      {access}
      gpu.return
    }}
  }}
}}
"""
    x, y = normal(columns), zeros(columns)
    return launch(text, "masked", [1], [3], [x, y, extent]), x, y


def test_masked_accesses():
    reports, x, y = masked(10, 10)
    assert reports == []
    np.testing.assert_array_equal(y, x)
    reports, _, _ = masked(10, 11)
    fault(reports, "out-of-bounds", "masked", "thread (2,0,0)", "a read of 4 bytes at offset 40 of parameter 0 (40 bytes)")


NEIGHBOURS = """#shared = #gpu.address_space<workgroup>
module {
  gpu.module @kernels {
    gpu.func @neighbours(%x: memref<64xi32>, %y: memref<64xi32>) workgroup(%s: memref<64xi32, #shared>) kernel
        attributes {known_block_size = array<i32: 64, 1, 1>} {
      %c1 = arith.constant 1 : index
      %all = arith.constant -1 : i32
      %tid = gpu.thread_id x
      %v = memref.load %x[%tid] : memref<64xi32>
      memref.store %v, %s[%tid] : memref<64xi32, #shared>
      nvvm.bar.warp.sync %all : i32
      %other = arith.xori %tid, %c1 : index
      %w = memref.load %s[%other] : memref<64xi32, #shared>
      memref.store %w, %y[%tid] : memref<64xi32>
      gpu.return
    }
  }
}
"""


def test_barrier_of_a_warp():
    """It orders the lanes of a warp, and no others."""
    x, y = aligned(random.integers(0, 100, 64).astype(np.int32)), aligned(np.zeros(64, np.int32))
    run = lambda text: launch(text, "neighbours", [1], [64], [x, y])
    assert run(NEIGHBOURS) == []
    np.testing.assert_array_equal(y, x[np.arange(64) ^ 1])
    fault(run(planted(NEIGHBOURS, "nvvm.bar.warp.sync %all : i32", "")), "uninitialised", "neighbours", "thread (0,0,0)")
    fault(run(planted(NEIGHBOURS, "%c1 = arith.constant 1", "%c1 = arith.constant 32")), "race", "neighbours",
          "of this block wrote with no barrier between them")


def test_endless(monkeypatch):
    """The first block waits for the second one, which need not run before the first has ended."""
    text = """module {
  gpu.module @kernels {
    gpu.func @waits(%flag: memref<1xi32>) kernel {
      %c0 = arith.constant 0 : index
      %zero = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %bid = gpu.block_id x
      %isFirst = arith.cmpi eq, %bid, %c0 : index
      scf.if %isFirst {
        scf.while : () -> () {
          %v = memref.atomic_rmw ori %zero, %flag[%c0] : (i32, memref<1xi32>) -> i32
          %waits = arith.cmpi eq, %v, %zero : i32
          scf.condition(%waits)
        } do {
          scf.yield
        }
      } else {
        %v = memref.atomic_rmw ori %one, %flag[%c0] : (i32, memref<1xi32>) -> i32
      }
      gpu.return
    }
  }
}
"""
    monkeypatch.setenv("SNUG_SIM_SECONDS", "1")
    fault(launch(text, "waits", [2], [1], [aligned(np.zeros(1, np.int32))]), "endless", "waits", "llvm.atomicrmw at")
