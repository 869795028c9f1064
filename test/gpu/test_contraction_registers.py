# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What contraction kernels take of a GPU, as ptxas says it."""
import pytest
from test_attention_registers import check_nothing_is_spilled, needs_toolkit

PROGRAM = """module attributes {{{precision}snug.model_name = "m", snug.threads = 1 : i64, snug.dims = [{{name = "m", min = 1 : i64, max = 900 : i64, step = 1 : i64}}]}} {{
func.func @main(%a: {a} {{snug.name = "a", snug.dims = ["{m}", "4096"]}}, %b: {b} {{snug.name = "b", snug.dims = [{dims}]}},
                %y: {y} {{snug.name = "y", snug.dims = ["{m}", "4096"]}}) attributes {{snug.num_inputs = 2 : i64}} {{
  %arena = snug_plan.arena align 64 : memref<64xi8>
  snug_nn.contract ins(%a, %b : {a}, {b}) outs(%y : {y}) attributes {{{form}indexing_maps = [affine_map<(m, n, k) -> (m, k)>,
      affine_map<(m, n, k) -> ({map})>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]}} {{
  ^bb0(%acc: {real}):
    {result}
  }}
  return
}}
}}
"""


@needs_toolkit
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "tf32", "f64"])
@pytest.mark.parametrize("layout", ["kn", "nk"])
@pytest.mark.parametrize("rows", ["16", "1", "m", "many"])
def test_nothing_is_spilled(tmp_path, dtype, layout, rows):
    precision, dtype = ('snug.precision = "tf32", ', "f32") if dtype == "tf32" else ("", dtype)
    k, n, real = 4096, 4096, "f64" if dtype == "f64" else "f32"
    few, rows = rows != "many", "m" if rows == "many" else rows
    matrix = lambda first, second: f"memref<{'?' if first == 'm' else first}x{second}x{dtype}>"
    result = "snug_nn.yield %acc : " + real
    if dtype in ("f16", "bf16"):
        result = f"%r = arith.truncf %acc : f32 to {dtype}\n    snug_nn.yield %r : {dtype}"
    check_nothing_is_spilled(tmp_path, PROGRAM.format(a=matrix(rows, k), b=matrix(k, n), y=matrix(rows, n), m=rows, dims=f'"{k}", "{n}"',
                                                      form="few_rows, " if few else "", precision=precision, map=", ".join(layout), real=real, result=result), "contract_0")
