# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels count with 32 bits where that is enough for all places of an operand, and for what a block counts beyond them."""
import os
import re
import subprocess

import pytest

PROGRAM = """module attributes {{snug.model_name = "m", snug.threads = 1 : i64, snug.dims = []}} {{
func.func @main(%x: memref<{n}xf32> {{snug.name = "x", snug.dims = ["{n}"]}}, %y: memref<{n}xf32> {{snug.name = "y", snug.dims = ["{n}"]}})
    attributes {{snug.num_inputs = 1 : i64}} {{
  %arena = snug_plan.arena align 64 : memref<64xi8>
  linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
      ins(%x : memref<{n}xf32>) outs(%y : memref<{n}xf32>) {{
  ^bb0(%a: f32, %b: f32):
    %0 = arith.addf %a, %a : f32
    linalg.yield %0 : f32
  }}
  return
}}
}}
"""


@pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")
@pytest.mark.parametrize("elements, bits", [(1 << 20, 32), (2**31 - 2**20 - 1, 32), (2**31 - 2**20, 64), (2**31 - 1, 64), (2**32, 64)])
def test_width(elements, bits, tmp_path):
    source = tmp_path / "m.mlir"
    source.write_text(PROGRAM.format(n=elements))
    done = subprocess.run([os.environ["SNUG_CODEGEN_TEST"], source, tmp_path / "m.so", tmp_path, tmp_path], capture_output=True, text=True,
                          env={**os.environ, "SNUG_TARGET": "cuda:sm_90"})
    assert done.returncode == 0, done.stderr
    assert re.findall(r"snug\.index_bits = (\d+)", (tmp_path / "kernels.mlir").read_text()) == [str(bits)]
