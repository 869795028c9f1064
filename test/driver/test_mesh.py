# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""--mesh and --topology: what is refused and how, and what is written."""
import json

import pytest

from conftest import files, refused, snugc

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
    assert mesh["topology"] == "dgx-a100" and sorted(one["mesh"] for one in mesh["candidates"]) == [[1, 8], [2, 4], [4, 2], [8, 1]]
    times = [one["ms"] for one in mesh["candidates"]]
    assert times == sorted(times) and mesh["mesh"] == mesh["candidates"][0]["mesh"]


def test_what_devices_hold_beyond_their_share_is_said(mlp, tmp_path):
    result = snugc(mlp(), *ROWS, "--mesh", "3x1", "--dry-run")
    assert result.code == 0
    assert "warning: each device holds 85.3 KiB of weights beyond its share" in result.err
    assert "'w1', 'w2'" in result.err


def test_one_device_is_no_mesh(mlp, tmp_path):
    assert snugc(mlp(), "-o", tmp_path / "m.so", *ROWS, "--mesh", "1x1", "--report", tmp_path / "r.json").code == 0
    assert json.loads((tmp_path / "r.json").read_text())["mesh"] is None
    assert "m.so.rank0.safetensors" not in files(tmp_path)


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


def test_only_the_chosen_mesh_is_warned_of(mlp, tmp_path):
    """None of the meshes that are looked at can cut the weights for six devices."""
    levels = [{"fanout": 6, "p2p_gbps": 10, "group_gbps": 10, "latency_us": 1}]
    (tmp_path / "t.json").write_text(json.dumps({**TWO, "levels": levels}))
    result, mesh = mesh_for("2MiB", mlp, tmp_path, "--mesh", "auto", "--topology", tmp_path / "t.json")
    assert result.code == 0 and mesh["replicated"] and result.err.count("warning") == 1


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
    assert sorted(one["mesh"] for one in json.loads(report.read_text())["mesh"]["candidates"]) == [[2, 4], [4, 2]]
    result, mesh = mesh_for("700KiB", mlp, tmp_path, "--mesh", "least", "--shard", "w1=1:0")
    assert result.code == 0 and mesh["mesh"] == [2, 1]  # without the pin one device is enough
