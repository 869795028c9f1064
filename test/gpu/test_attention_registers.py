# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What attention kernels take of a GPU, as ptxas says it: of what runs inside a budget no register may be spilled."""
import os
import re
import subprocess

import pytest

PROGRAM = """module attributes {{{precision}snug.model_name = "m", snug.threads = 1 : i64, snug.dims = [{{name = "s", min = 1 : i64, max = 900 : i64, step = 1 : i64}}]}} {{
func.func @main(%q: {t} {{snug.name = "q", snug.dims = ["8", "s", "{d}"]}}, %k: {t} {{snug.name = "k", snug.dims = ["8", "s", "{d}"]}},
                %v: {t} {{snug.name = "v", snug.dims = ["8", "s", "{d}"]}}, %y: {t} {{snug.name = "y", snug.dims = ["8", "s", "{d}"]}})
    attributes {{snug.num_inputs = 3 : i64}} {{
  %arena = snug_plan.arena align 64 : memref<64xi8>
  snug_nn.attention ins(%q, %k, %v : {t}, {t}, {t}) outs(%y : {t})
      attributes {{{form}indexing_maps = [affine_map<(h, s, t, d, e) -> (h, s, d)>, affine_map<(h, s, t, d, e) -> ({h}, t, d)>,
                                    affine_map<(h, s, t, d, e) -> ({h}, t, e)>, affine_map<(h, s, t, d, e) -> (h, s, e)>]}} {{
  ^bb0(%qk: f32):
    %scale = arith.constant 0.125 : f32
    %scaled = arith.mulf %qk, %scale : f32
    %s = snug_nn.index 1
    %t = snug_nn.index 2
    %low = arith.constant {low} : f32
    %seen = arith.cmpi sle, %t, %s : index
    %score = arith.select %seen, %scaled, %low : f32
    snug_nn.yield %score : f32
  }}
  return
}}
}}
"""


def check_nothing_is_spilled(folder, program, kernel):
    source, chips = folder / "m.mlir", "sm_80,sm_90,sm_100"
    source.write_text(program)
    done = subprocess.run([os.environ["SNUG_CODEGEN_TEST"], source, folder / "m.so", folder, folder], capture_output=True, text=True,
                          env={**os.environ, "SNUG_TARGET": "cuda:" + chips})
    assert done.returncode == 0, done.stderr
    done = subprocess.run([os.environ["SNUG_OPT"], folder / "kernels.mlir", f"--snug-assemble-kernels=chips={chips}", "-o", os.devnull],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(rf"remark: {kernel} on (\w+): (\d+) registers, (\d+) B shared, (\d+) B stack, (\d+) \+ (\d+) B spilled", done.stderr)
    print(*found, sep="\n")
    assert [chip for chip, *_ in found] == chips.split(",")
    for chip, registers, shared, stack, *spilled in found:
        assert [stack, *spilled] == ["0", "0", "0"] and int(shared) <= 48 * 1024, (chip, registers, shared, stack, spilled)


needs_toolkit = pytest.mark.skipif("SNUG_CUDA_TOOLKIT" not in os.environ, reason="without a CUDA toolkit")


@needs_toolkit
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "tf32"])
@pytest.mark.parametrize("size,form", [(64, ""), (128, ""), (192, ""), (256, ""), (64, "few_rows, "), (128, "few_rows, "), (256, "few_rows, ")])
@pytest.mark.parametrize("low", ["0xFF800000", "-3.0e38"])
def test_nothing_is_spilled(tmp_path, dtype, size, form, low):
    precision, dtype = ('snug.precision = "tf32", ', "f32") if dtype == "tf32" else ("", dtype)
    # Of few rows, those of as many heads as a block takes.
    check_nothing_is_spilled(tmp_path, PROGRAM.format(t=f"memref<8x?x{size}x{dtype}>", d=size, low=low, form=form, precision=precision, h="h floordiv 8" if form else "h"),
                             "attention_0")
