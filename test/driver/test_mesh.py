# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""--mesh and --topology: what is refused and how, and what is written."""
import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from conftest import FLOAT, files, model, numpy_tensor, refused, snugc, values

ROWS = ("--dim", "rows=1..8")
TWO = {"version": 1, "name": "two", "rails": False, "levels": [{"fanout": 2, "p2p_gbps": 10, "group_gbps": 10, "latency_us": 1}]}


@pytest.mark.parametrize("text", ["2", "0x2", "2x", "x2", "2x-1", "2x2x2", "a", "", "65537x1", "4294967296x4294967296", "1x99999999999999999999"])
def test_what_is_no_mesh(mlp, tmp_path, text):
    refused(snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", text), 1, "--mesh", "as in 2x4")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_topologies_that_do_not_fit(mlp, tmp_path):
    path, file, out = mlp(), tmp_path / "t.json", ("-o", tmp_path / "m.so")
    refused(snugc(path, *out, *ROWS, "--mesh", "auto"), 1, "--mesh auto", "--topology FILE.json")
    file.write_text(json.dumps(TWO))
    refused(snugc(path, *out, *ROWS, "--mesh", "2x2", "--topology", file), 1, "--mesh has 4 devices", "2")
    refused(snugc(path, *out, *ROWS, "--topology", file), 1, "no mesh was asked for", "--mesh auto")
    refused(snugc(path, *out, *ROWS, "--mesh", "2x1", "--topology", tmp_path / "none"), 5, "none", "No such file", "dgx-a100")
    file.write_text(json.dumps({**TWO, "levels": [{**TWO["levels"][0], "p2p_gbps": -1}]}))
    refused(snugc(path, *out, *ROWS, "--mesh", "2x1", "--topology", file), 2, str(file), "p2p_gbps")
    file.write_text("[")
    refused(snugc(path, *out, *ROWS, "--mesh", "2x1", "--topology", file), 2, str(file), "not valid")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data", "t.json"]


def test_files_of_all_ranks(mlp, tmp_path):
    path = mlp()
    result = snugc(path, "-o", tmp_path / "m.so", *ROWS, "--mesh", "2x2", "--report", tmp_path / "r.json")
    assert result.code == 0 and "warning" not in result.err
    ranks = [f"m.so.rank{rank}.safetensors" for rank in range(4)]
    assert files(tmp_path) == sorted(["m.so", "mlp.onnx", "mlp.onnx.data", "r.json", *ranks])
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["memory"]["weights"] == 2 * 64 * 256 * 4 / 4  # bytes: a quarter of both matrices
    assert report["mesh"]["mesh"] == [2, 2] and report["mesh"]["replicated"] == []
    assert [one["mesh"] for one in report["mesh"]["candidates"]] == [[2, 2]]
    # The library of one device takes their place.
    assert snugc(path, "-o", tmp_path / "m.so", *ROWS).code == 0
    assert not any(name in files(tmp_path) for name in ranks)


def test_a_preset_and_the_fastest_mesh(mlp, tmp_path):
    result = snugc(mlp(), *ROWS, "--mesh", "auto", "--topology", "dgx-a100", "--dry-run", "--report", tmp_path / "r.json")
    assert result.code == 0
    mesh = json.loads((tmp_path / "r.json").read_text())["mesh"]
    families = [(one["mesh"], one["family"]) for one in mesh["candidates"]]
    both = ["column-first", "free", "hierarchical 1D", "row-first"]
    assert mesh["topology"] == "dgx-a100" and sorted(families) == [([1, 8], "column-first"), *(([2, 4], one) for one in both),
                                                                   *(([4, 2], one) for one in both), ([8, 1], "1D")]
    times = [one["ms"] for one in mesh["candidates"]]
    assert np.all(np.diff(times) >= -1e-9 * np.array(times[1:]))
    assert (mesh["mesh"], mesh["family"]) == families[0]
    assert "second best" in result.err and f"mesh of 8 devices (dgx-a100): {families[0][0][0]}x{families[0][0][1]} {families[0][1]}, " in result.err


def test_what_does_not_divide_is_filled_up(mlp, tmp_path):
    """Two matrices of 64 x 256 for three devices: 86 columns of the one, 22 of the other, in panels of 32 at the most."""
    result = snugc(mlp(), *ROWS, "--mesh", "3x1", "-o", tmp_path / "m.so", "--report", tmp_path / "r.json")
    assert result.code == 0 and "warning" not in result.err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["mesh"]["replicated"] == [] and 4 * (64 * 86 + 256 * 22) <= report["memory"]["weights"] <= 4 * (64 * 96 + 256 * 32)


@pytest.fixture
def branch(tmp_path):
    """A matrix in a branch, which each device takes as it is: [rows, 64] -> [rows, 64]."""
    matrix = helper.make_tensor("w", FLOAT, [64, 64], np.ones(64 * 64, np.float32))
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["a"], name="product")], "then", [], [values("a", ["rows", 64])])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "else", [], [values("b", ["rows", 64])])
    condition = helper.make_node("If", ["c"], ["y"], name="if", then_branch=body, else_branch=other)
    inputs = [values("x", ["rows", 64]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    return lambda: model([condition], inputs, [values("y", ["rows", 64])], [matrix], path=tmp_path / "branch.onnx")


def test_what_devices_hold_beyond_their_share_is_said(branch):
    result = snugc(branch(), *ROWS, "--mesh", "4x1", "--dry-run")
    assert result.code == 0
    assert "warning: each device holds 12.0 KiB of weights beyond its share" in result.err and "'w'" in result.err


def test_one_device_is_no_mesh(mlp, tmp_path):
    assert snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", "1x1", "--report", tmp_path / "r.json").code == 0
    assert json.loads((tmp_path / "r.json").read_text())["mesh"] is None
    assert "m.so.rank0.safetensors" not in files(tmp_path)


def plan_of(*arguments, tmp_path):
    result = snugc(*arguments, "--dry-run", "--report", tmp_path / "r.json")
    assert result.code == 0, result.err
    return json.loads((tmp_path / "r.json").read_text())["mesh"]


@pytest.mark.parametrize("mesh, family", [("4x1", "1d"), ("2x2", "column-first"), ("2x2", "hierarchical"), ("2x2", "row-first"), ("2x2", "free")])
def test_the_plan_says_what_the_program_sends(mlp, tmp_path, mesh, family):
    found = plan_of(mlp(), *ROWS, "--mesh", mesh, "--mesh-family", family, tmp_path=tmp_path)
    plan = found["plan"]
    assert [one["reason"] for one in plan["dropped"]] == [] and plan["devices"] == 4 and len(plan["candidates"]) == 6
    (own,) = [one for one in plan["candidates"] if one["mesh"] == found["mesh"] and one["family"] == found["family"]]
    assert own["time_ms"] == pytest.approx(found["candidates"][0]["ms"], rel=1e-9)  # what the search found it to cost
    (layout,) = own["phases"][0]["layouts"]
    for axis in (0, 1):
        sent = [one for one in found["collectives"] if one["axes"] == [axis]]
        assert layout["traffic"][axis]["collectives"] == sum(one["calls"] for one in sent)
        assert layout["traffic"][axis]["bytes"] == sum(one["bytes"] for one in sent)


def test_what_the_model_cannot_be_cut_for_is_dropped_with_a_reason(tmp_path):
    """A product without weights has no families; what asks nothing of weights is there."""
    nodes = [helper.make_node("MatMul", ["x", "y"], ["z"])]
    path = model(nodes, [values("x", [8, 8]), values("y", [8, 8])], [values("z", [8, 8])], path=tmp_path / "m.onnx")
    plan = plan_of(path, "--mesh", "2x2", tmp_path=tmp_path)["plan"]
    assert sorted((one["mesh"], one["family"]) for one in plan["candidates"]) == [([2, 2], "free"), ([4, 1], "1D")]
    assert len(plan["dropped"]) == 4 and all("no products with matrices of weights" in one["reason"] for one in plan["dropped"])


def test_a_family_of_any_mesh(mlp, tmp_path):
    path = mlp()
    def found(*arguments):
        mesh = plan_of(path, *ROWS, *arguments, tmp_path=tmp_path)
        return [(one["mesh"], one["family"]) for one in mesh["candidates"]]
    auto = ("--mesh", "auto", "--topology", "dgx-a100", "--mesh-family")
    assert sorted(found(*auto, "hierarchical")) == [([2, 4], "hierarchical 1D"), ([4, 2], "hierarchical 1D")]
    assert found(*auto, "1d") == [([8, 1], "1D")]
    assert [one[0] for one in sorted(found(*auto, "row-first"))] == [[1, 8], [2, 4], [4, 2], [8, 1]]
    budget = ("--memory-budget", "700KiB")
    assert {tuple(mesh) for mesh, _ in found(*auto, "1d", *budget)} == {(8, 1), (1, 8)}
    levels = [{"fanout": 7, "p2p_gbps": 10, "group_gbps": 10, "latency_us": 1}]
    (tmp_path / "t.json").write_text(json.dumps({**TWO, "levels": levels}))
    seven = ("--mesh", "auto", "--topology", tmp_path / "t.json", "--mesh-family", "hierarchical")
    refused(snugc(path, "-o", tmp_path / "m.so", *ROWS, *seven), 3, "two axes", "7x1")
    refused(snugc(path, "-o", tmp_path / "m.so", *ROWS, *seven, *budget), 3, "no mesh")


def test_the_table_is_printed_where_it_is_asked_for(mlp):
    assert "second best" in snugc(mlp(), *ROWS, "--mesh", "2x2", "--dry-run", "-v").err
    assert "second best" not in snugc(mlp(), *ROWS, "--mesh", "2x2", "--dry-run").err


def test_where_the_choice_flips(mlp, tmp_path):
    """On either side of a flip that is named, the one is chosen and the other."""
    def plan(inner):
        levels = [{"fanout": 2, "p2p_gbps": 1, "group_gbps": 1, "latency_us": 1}, {"fanout": 4, "p2p_gbps": inner, "group_gbps": inner, "latency_us": 1}]
        (tmp_path / "t.json").write_text(json.dumps({**TWO, "levels": levels}))
        return plan_of(mlp(), "--dim", "rows=8192", "--mesh", "auto", "--topology", tmp_path / "t.json", tmp_path=tmp_path)
    now = plan(20)
    flips = [one for one in now["plan"]["flips"] if one["level"] == 1 and one["key"] == "p2p_gbps" and one["at"] and one["at"] < one["now"]]
    assert flips and flips[0]["now"] == pytest.approx(20)
    # Group and single flow have one bandwidth here, and the lesser of the two counts.
    above, below = plan(flips[0]["at"] * 1.001), plan(flips[0]["at"] * 0.999)
    assert (above["mesh"], above["family"]) == (now["mesh"], now["family"])
    assert (below["mesh"], below["family"]) == (flips[0]["mesh"], flips[0]["family"]) != (now["mesh"], now["family"])


def test_a_mix_of_runs(mlp, tmp_path):
    """Long runs are bound by bytes, short ones by latencies; what both of them take is priced apart, and added up."""
    def plan(*mix):
        flags = [word for one in mix for word in ("--mesh-mix", one)]
        return plan_of(mlp(), "--dim", "rows=1..4096", "--mesh", "2x2", *flags, tmp_path=tmp_path)["plan"]
    def times(plan):
        return {(*one["mesh"], one["family"]): one["time_ms"] for one in plan["candidates"] if one["family"] == "1D"}
    long, short, both = plan("1:rows=4096"), plan("1:rows=1"), plan("1:rows=4096", "250.5:rows=1")
    assert times(plan()) == times(long) and times(long)[4, 1, "1D"] > 10 * times(short)[4, 1, "1D"]
    assert [(one["name"], one["runs"]) for one in both["phases"]] == [("rows=4096", 1), ("rows=1", 250.5)]
    (one,) = [one for one in both["candidates"] if one["family"] == "1D"]
    runs = [phase["layouts"][0]["time_ms"] for phase in one["phases"]]
    assert one["time_ms"] == pytest.approx(runs[0] + 250.5 * runs[1])
    assert runs == pytest.approx([times(long)[4, 1, "1D"], times(short)[4, 1, "1D"]], rel=0.2)


@pytest.mark.parametrize("mix, words", [("seq=4", "how often"), ("0:rows=1", "how often"), ("-1:rows=1", "how often"), ("nan:rows=1", "how often"),
                                        ("1:rows", "no dim with a value"), ("1", "no dim with a value"), ("1:rows=x", "no dim with a value"),
                                        ("1:cols=2", "no dim 'cols'; its dims are rows"), ("1:rows=9", "cannot be 9: --dim says 1..8"),
                                        ("1:rows=99999999999999999999", "no dim with a value"), ("1:rows=1,rows=2", "twice")])
def test_what_is_no_mix(mlp, tmp_path, mix, words):
    refused(snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", "2x2", "--mesh-mix", mix), 1, "--mesh-mix", words)
    refused(snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh-mix", mix), 1, "--mesh-mix", "no mesh was asked for")


def mesh_for(budget, mlp, tmp_path, *flags):
    path = mlp()
    result = snugc(path, *ROWS, "--dry-run", "--memory-budget", budget, "--report", tmp_path / "r.json", *flags)
    return result, json.loads((tmp_path / "r.json").read_text())["mesh"]


def test_the_fewest_devices_that_fit(mlp, tmp_path):
    """Both matrices are 128 KiB; a device needs 512 KiB for the library, and few for the rest."""
    result, mesh = mesh_for("700KiB", mlp, tmp_path, "--mesh", "least")
    assert result.code == 0 and mesh is None and "mesh 1x1: the fastest that fits" in result.err
    result, mesh = mesh_for("590KiB", mlp, tmp_path, "--mesh", "least")
    assert result.code == 0 and mesh["mesh"][0] * mesh["mesh"][1] == 2
    looked_at = {tuple(one["mesh"]): one["share"] for one in mesh["candidates"]}
    assert looked_at.keys() == {(1, 1), (1, 2), (2, 1)} and looked_at[1, 1] > 1 >= looked_at[2, 1]
    result, mesh = mesh_for("300KiB", mlp, tmp_path, "--mesh", "least", "--topology", "dgx-a100")
    assert result.code == 4 and "the nearest to fit" in result.err and "cannot" in result.err


def test_the_fastest_mesh_that_fits(mlp, tmp_path):
    file = tmp_path / "t.json"
    slow = {"fanout": 2, "p2p_gbps": 0.001, "group_gbps": 0.001, "latency_us": 1}
    file.write_text(json.dumps({**TWO, "levels": [slow, *TWO["levels"]]}))
    result, mesh = mesh_for("700KiB", mlp, tmp_path, "--mesh", "auto", "--topology", file)
    assert result.code == 0 and {tuple(one["mesh"]) for one in mesh["candidates"]} == {(1, 4), (2, 2), (4, 1)}
    assert all(one["share"] <= 1 for one in mesh["candidates"])
    times = [one["ms"] for one in mesh["candidates"]]
    assert times == sorted(times) and mesh["mesh"] == mesh["candidates"][0]["mesh"]


def test_meshes_that_a_model_cannot_be_cut_for_are_passed_over(tmp_path):
    """Four devices in a row cannot share sums of 6, and that is the first mesh that is looked at; of 7 only one without sums is left."""
    flags = ("--dry-run", "--mesh", "auto", "--topology", "pcie4-x4", "--mesh-family", "row-first", "--memory-budget", "2MiB")
    for rows, meshes in ((6, {(2, 2), (1, 4)}), (7, {(1, 4)})):
        weight = numpy_tensor(np.random.default_rng(0).standard_normal((rows, 8), np.float32), "w")
        path = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [values("x", [4, rows])], [values("y", [4, 8])], [weight], path=tmp_path / "m.onnx")
        result = snugc(path, *flags, "--report", tmp_path / "r.json")
        assert result.code == 0, result.err
        assert {tuple(one["mesh"]) for one in json.loads((tmp_path / "r.json").read_text())["mesh"]["candidates"]} == meshes
    path = model([helper.make_node("MatMul", ["x", "y"], ["z"])], [values("x", [8, 8]), values("y", [8, 8])], [values("z", [8, 8])], path=tmp_path / "n.onnx")
    refused(snugc(path, *flags), 3, "no products with matrices of weights", "take another family or mesh")


def test_what_cannot_be_asked_of_a_fitting_mesh(mlp, tmp_path):
    path, out = mlp(), ("-o", tmp_path / "m.so")
    refused(snugc(path, *out, *ROWS, "--mesh", "least"), 1, "--mesh least", "--memory-budget")
    refused(snugc(path, *out, *ROWS, "--mesh", "least", "--activation-budget", "50%"), 1, "in bytes")


def test_the_longest_dim_of_a_mesh(mlp, tmp_path):
    """What each device of a mesh has room for is more than one alone."""
    def longest(*flags):
        result = snugc(mlp(), "--dim", "rows=max", "--dry-run", "--memory-budget", "1MiB", "--report", tmp_path / "r.json", *flags)
        assert result.code == 0, result.err
        return json.loads((tmp_path / "r.json").read_text())["dims"]["rows"]
    assert longest("--mesh", "4x1") > longest()
    refused(snugc(mlp(), "-o", tmp_path / "m.so", "--dim", "rows=max", "--mesh", "least", "--memory-budget", "1MiB"), 1, "NAME=max", "mesh")


def test_the_topology_file_is_read_only(mlp, tmp_path):
    path, file = mlp(), tmp_path / "t.json"
    file.write_text(json.dumps(TWO))
    flags = (*ROWS, "--mesh", "2x1", "--topology", file, "-o", tmp_path / "m.so")
    refused(snugc(path, *flags, "--report", file), 1, "is the topology file")
    assert json.loads(file.read_text()) == TWO
    assert snugc(path, *flags, "--depfile", tmp_path / "m.d").code == 0
    assert str(file) in (tmp_path / "m.d").read_text()
    assert snugc(path, *ROWS, "--mesh", "auto", "--topology", "dgx-a100", "-o", tmp_path / "m.so", "--depfile", tmp_path / "m.d").code == 0
    assert "dgx" not in (tmp_path / "m.d").read_text()


def test_only_the_chosen_mesh_is_warned_of(branch, tmp_path):
    """None of the meshes that are looked at can cut the weights."""
    levels = [{"fanout": 6, "p2p_gbps": 10, "group_gbps": 10, "latency_us": 1}]
    (tmp_path / "t.json").write_text(json.dumps({**TWO, "levels": levels}))
    result, mesh = mesh_for("2MiB", branch, tmp_path, "--mesh", "auto", "--topology", tmp_path / "t.json")
    assert result.code == 0 and mesh["replicated"] and result.err.count("warning") == 1


@pytest.mark.parametrize("text", ["3", "0", "-1", "16", "on", "", "2.0"])
def test_what_is_no_overlap(mlp, tmp_path, text):
    refused(snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", "2x1", "--overlap", text), 1, "--overlap", "auto, off, 1, 2, 4, 8")


def test_pieces_follow_from_links_and_are_said(mlp, tmp_path):
    """Links that take as long as the kernel run beside it; where each start takes longer than that, it stays whole."""
    path, file = mlp(), tmp_path / "t.json"

    def overlap(gbps, us, *flags):
        level = {**TWO["levels"][0], "p2p_gbps": gbps, "group_gbps": gbps, "latency_us": us}
        file.write_text(json.dumps({**TWO, "levels": [level]}))
        result = snugc(path, "--dry-run", "--dim", "rows=1..4096", "--mesh", "2x1", "--topology", file, "--report", tmp_path / "r.json", *flags)
        assert result.code == 0
        return json.loads((tmp_path / "r.json").read_text())["mesh"]["overlap"]
    [one] = overlap(1, 1)
    assert one["collectives"] == [{"collective": "all_reduce", "axes": [0]}] and one["pieces"] in (2, 4, 8)
    assert 0 < one["hidden_ms"] and one["ms"] < one["alone_ms"] and one["nodes"]
    assert overlap(1, 1, "--overlap", "off") == [] and overlap(1, 2000) == []
    [two] = overlap(1, 2000, "--overlap", "2")
    assert two["pieces"] == 2 and two["ms"] > two["alone_ms"]  # as was asked for
    refused(snugc(path, "--dry-run", *ROWS, "--overlap", "4"), 1, "--overlap", "no mesh was asked for")
    assert snugc(path, "--dry-run", *ROWS, "--overlap", "off").code == 0


def test_families(mlp, tmp_path):
    path, out = mlp(), ("-o", tmp_path / "m.so")
    refused(snugc(path, *out, *ROWS, "--mesh", "2x2", "--mesh-family", "2d"), 1, "--mesh-family", "column-first")
    refused(snugc(path, *out, *ROWS, "--mesh-family", "1d"), 1, "--mesh-family", "no mesh was asked for")
    refused(snugc(path, *out, *ROWS, "--mesh", "2x2", "--mesh-family", "1d"), 1, "one ring of all devices", "4x1")
    refused(snugc(path, *out, *ROWS, "--mesh", "1x4", "--mesh-family", "hierarchical"), 1, "1x4")
    refused(snugc(path, *out, *ROWS, "--mesh", "3x5", "--mesh-family", "row-first"), 3, "none of its 2 products", "3x5", "row-first")
    for family, name in (("column-first", "column-first"), ("hierarchical", "hierarchical 1D")):
        result = snugc(path, *out, *ROWS, "--mesh", "2x2", "--mesh-family", family, "--report", tmp_path / "r.json")
        assert result.code == 0 and "warning" not in result.err
        mesh = json.loads((tmp_path / "r.json").read_text())["mesh"]
        assert mesh["family"] == name and mesh["outside"] == 0


def test_products_that_are_no_such_thing_are_cut_freely(tmp_path):
    """The second matrix has 35 rows, over which nobody can share sums."""
    rng = np.random.default_rng(0)
    weights = [numpy_tensor(rng.standard_normal(shape, np.float32), name) for name, shape in (("w1", (36, 35)), ("w2", (35, 36)))]
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["h"]), helper.make_node("MatMul", ["h", "w2"], ["y"])]
    path = model(nodes, [values("x", [4, 36])], [values("y", [4, 36])], weights, path=tmp_path / "m.onnx")
    result = snugc(path, "--dry-run", "--mesh", "2x3", "--mesh-family", "row-first", "--report", tmp_path / "r.json")
    assert result.code == 0, result.err
    assert "warning: 1 product with matrices of weights cannot be cut as 'row-first' says" in result.err
    assert json.loads((tmp_path / "r.json").read_text())["mesh"]["outside"] == 1
    assert "products" not in snugc(path, "--dry-run", "--mesh", "2x3").err


def test_weights_are_cut_whatever_that_costs(mlp, tmp_path):
    """Over links of 10 KB/s a device could have computed all of it itself long before the sums are there."""
    slow = {"fanout": 2, "p2p_gbps": 1e-5, "group_gbps": 1e-5, "latency_us": 1}
    (tmp_path / "t.json").write_text(json.dumps({**TWO, "levels": [slow]}))
    result = snugc(mlp(), "--dry-run", "--dim", "rows=2048", "--mesh", "2x1", "--topology", tmp_path / "t.json", "--report", tmp_path / "r.json")
    assert result.code == 0 and "warning" not in result.err
    mesh = json.loads((tmp_path / "r.json").read_text())["mesh"]
    assert mesh["replicated"] == [] and sum(one["bytes"] for one in mesh["collectives"]) > 0


@pytest.mark.parametrize("text", ["x", "x=0", "x=:0", "x=0:", "=0:0", "x=-1:0", "x=0:-1", "x=a:0", "x=0:0x", "x=99999999999999999999:0", "x=0:2"])
def test_what_is_no_pin(mlp, tmp_path, text):
    refused(snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", "2x1", "--shard", text), 1, "--shard")
    assert files(tmp_path) == ["mlp.onnx", "mlp.onnx.data"]


def test_pins_that_cannot_be(mlp, tmp_path):
    path, out = mlp(), ("-o", tmp_path / "m.so")
    def no(code, *parts, rows=ROWS, mesh=("--mesh", "2x1"), pins=()):
        refused(snugc(path, *out, *rows, *mesh, *(word for pin in pins for word in ("--shard", pin))), code, *parts)
    no(1, "no mesh was asked for", "--mesh 2x4", mesh=(), pins=["x=1:0"])
    no(1, "has one device along axis 1", pins=["x=1:1"])
    no(1, "'x=0:0'", "for the second time", pins=["x=1:0", "x=0:0"])
    no(1, "has no value 'no=:such'", "its inputs are x", pins=["no=:such=1:0"])
    no(3, "'x' of shape ?x64", "dim 0 is open", pins=["x=0:0"])
    no(3, "'x' of shape ?x64", "it has no dim 2", pins=["x=2:0"])
    no(3, "'x' of shape 3x64", "the 3 of dim 0 do not divide by 2", rows=("--dim", "rows=3"), pins=["x=0:0"])
    no(3, "'w1' of shape 64x256", "the 64 of dim 0 do not divide by 3", mesh=("--mesh", "3x1"), pins=["w1=0:0"])
    no(3, "'x' of shape ?x64", "dim 0 is open", mesh=("--mesh", "auto", "--topology", "dgx-a100"), pins=["x=0:0"])
    no(3, "'x' of shape ?x64", "dim 0 is open", mesh=("--mesh", "least", "--memory-budget", "700KiB"), pins=["x=0:0"])
    no(3, "no mesh of 2 devices", mesh=("--mesh", "auto", "--topology", pair(tmp_path)), pins=["x=1:0", "x=1:1"])
    assert "m.so" not in files(tmp_path)


def pair(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(TWO))
    return tmp_path / "t.json"


def test_pins_are_kept(mlp, tmp_path):
    """An input, an output, both weights; what is in parts is said and counted."""
    report = tmp_path / "r.json"
    result = snugc(mlp(), "--dry-run", "--dim", "rows=8", "--mesh", "2x2", "--shard", "x=1:0", "--shard", "y=0:1", "--shard", "w1=1:1", "--shard",
                   "w2=0:1", "--report", report)
    assert result.code == 0, result.err
    assert "in parts of dim 0 along axis 1: 'y'\nin parts of dim 1 along axis 0: 'x'\n" in result.err
    said = json.loads(report.read_text())
    assert said["mesh"]["parts"] == [{"input": "x", "dims": [1, None]}, {"output": "y", "dims": [None, 0]}]
    assert said["memory"]["inputs"] == said["memory"]["outputs"] == 8 * 64 * 4 // 2  # bytes


def test_only_meshes_that_keep_pins_are_looked_at(mlp, tmp_path):
    report = tmp_path / "r.json"
    result = snugc(mlp(), *ROWS, "--dry-run", "--mesh", "auto", "--topology", "dgx-a100", "--shard", "w1=1:1", "--shard", "w1=0:0", "--report", report)
    assert result.code == 0, result.err
    assert {tuple(one["mesh"]) for one in json.loads(report.read_text())["mesh"]["candidates"]} == {(2, 4), (4, 2)}
    result, mesh = mesh_for("700KiB", mlp, tmp_path, "--mesh", "least", "--shard", "w1=1:0")
    assert result.code == 0 and mesh["mesh"] == [2, 1]  # without the pin one device is enough
