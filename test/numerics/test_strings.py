# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tensors of strings, from file to file: ops that move them, that make them, and that look into them."""
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import snug
from ops import CONTRIB, Graph, against_onnxruntime, compiled, strings

FAILED_RUN = 6
TEXTS = np.array([["Kopf", "", "naïve", "日本"], ["a b", "Kopf", "ÄRGER", "𝄞!"]], object)


def test_strings_are_moved(tmp_path):
    graph = Graph()
    x = strings(graph, "x", TEXTS, ("rows", 4))
    keep = graph.input("keep", np.array([[True, False, True, False]]))
    more = graph.constant(np.array([["constant", "", "ß", "four"]], object))
    moved = graph.node("Transpose", graph.node("Concat", x, more, axis=0), perm=[1, 0])
    moved = graph.node("Gather", moved, graph.constant(np.array([3, 0, 1])), axis=0)
    moved = graph.node("Slice", moved, graph.constant(np.array([1])), graph.constant(np.array([2])), graph.constant(np.array([1])))
    chosen = graph.node("Where", keep, x, graph.node("Expand", more, graph.node("Shape", x)))
    graph.output(moved, 2, TensorProto.STRING)
    graph.output(graph.node("Unsqueeze", chosen, graph.constant(np.array([0]))), 3, TensorProto.STRING)
    graph.output(graph.node("Tile", graph.node("Flatten", more), graph.constant(np.array([2, 1]))), 2, TensorProto.STRING)
    compiled(graph, tmp_path, {"rows": "1..3"})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    assert [got[output.name].tolist() for output in graph.outputs] == [
        [["𝄞!"], ["a b"], ["Kopf"]],  # not ONNX Runtime's, which loses them
        [[["Kopf", "", "naïve", "four"], ["a b", "", "ÄRGER", "four"]]],
        [["constant", "", "ß", "four"]] * 2]


def test_strings_are_joined_and_compared(tmp_path):
    graph = Graph()
    x = strings(graph, "x", TEXTS, ("rows", 4))
    column = strings(graph, "column", np.array([["Kopf"], ["a b"]], object), ("rows", 1))
    graph.output(graph.node("StringConcat", x, column), 2, TensorProto.STRING)
    graph.output(graph.node("Equal", x, column), 2, TensorProto.BOOL)
    graph.output(graph.node("RegexFullMatch", x, pattern="[^ ]*p.?"), 2, TensorProto.BOOL)
    against_onnxruntime(graph, tmp_path, {"rows": "1..3"})


def test_numbers_are_written_and_read(tmp_path):
    graph = Graph()
    for name, value in {"whole": np.array([0, -5, 2**40]), "real": np.array([1.5, -0.1, 1e20, np.nan, np.inf], np.float32),
                        "byte": np.array([0, 255], np.uint8)}.items():
        graph.output(graph.node("Cast", graph.input(name, value), to=TensorProto.STRING), 1, TensorProto.STRING)
    text = strings(graph, "text", np.array(["3", " -4 ", "127"], object))
    for kind in (TensorProto.INT64, TensorProto.FLOAT, TensorProto.INT8, TensorProto.DOUBLE):
        graph.output(graph.node("Cast", text, to=kind), 1, kind)
    model = compiled(graph, tmp_path)
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    results = [got[output.name].tolist() for output in onnx.load(model).graph.output]
    assert results[:3] == [["0", "-5", str(2**40)], ["1.5", "-0.1", "1e+20", "NaN", "INF"], ["0", "255"]]
    assert results[3:] == [[3, -4, 127]] * 4


@pytest.mark.parametrize("text, said", [("x" * 40, "--text-bytes"), ("12a", "'12a' is no number")])
def test_a_run_that_cannot_be_done_fails(text, said, tmp_path):
    graph = Graph()
    x = strings(graph, "x", np.array([text], object))
    if said == "--text-bytes":
        graph.output(graph.node("StringConcat", x, x), 1, TensorProto.STRING)
    else:
        graph.output(graph.node("Cast", x, to=TensorProto.FLOAT), 1)
    compiled(graph, tmp_path, flags=("--text-bytes", "79B"))
    np.save(tmp_path / "x.npy", graph.values["x"])
    done = subprocess.run([snug.tool("SNUG_RUN"), tmp_path / "ops.so", "--input", f"x={tmp_path / 'x.npy'}"],
                          capture_output=True, text=True)
    assert done.returncode == FAILED_RUN and said in done.stderr and graph.nodes[0].name in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_room_for_strings_is_planned(tmp_path):
    figures = []
    for size in ("1MiB", "3MiB"):
        graph = Graph()
        x = strings(graph, "x", TEXTS)
        graph.output(graph.node("StringConcat", x, x), 2, TensorProto.STRING)
        model = graph.save(tmp_path / "ops.onnx")
        _, report = snug.compile_model(model, tmp_path / "ops.so", {}, flags=("--text-bytes", size))
        _, stats = snug.run_model(tmp_path / "ops.so", graph.values)
        assert stats["planned"]["library"] == report["memory"]["library"]
        assert stats["measured"]["library_growth"] <= stats["planned"]["library"]
        figures.append(report["memory"]["library"])
    assert figures[1] - figures[0] == 2 * snug.MIB


def test_pieces_are_as_many_as_there_are(tmp_path):
    graph = Graph()
    x = strings(graph, "x", np.array(["a,b,c", "", ",,"], object), ("n",))
    pieces, counts = graph.node("StringSplit", x, outputs=2, delimiter=",")
    graph.output(pieces, 2, TensorProto.STRING)
    graph.output(counts, 1, TensorProto.INT64)
    compiled(graph, tmp_path, {"n": "1..4"})
    got, _ = snug.run_model(tmp_path / "ops.so", graph.values)
    assert got[counts].tolist() == [3, 1, 3]
    assert got[pieces].tolist() == [["a", "b", "c"], ["", "", ""], ["", "", ""]]


def test_labels_are_looked_up(tmp_path):
    graph = Graph()
    x = strings(graph, "x", TEXTS, ("rows", 4))
    words = ["Kopf", "日本", "", "zuletzt"]
    numbers = graph.node("LabelEncoder", x, domain="ai.onnx.ml", keys_strings=words, values_int64s=[3, 1, 4, 1], default_int64=-9)
    floats = graph.node("LabelEncoder", x, domain="ai.onnx.ml", keys_strings=words, values_floats=[0.5, 1.5, 2.5, 3.5])
    back = graph.node("LabelEncoder", numbers, domain="ai.onnx.ml", keys_int64s=[4, 3], values_strings=["leer", "Kopf"],
                      default_string="?")
    mapped = graph.node("CategoryMapper", x, domain="ai.onnx.ml", cats_strings=["Kopf", "a b"], cats_int64s=[7, 8])
    hot = graph.node("OneHotEncoder", x, domain="ai.onnx.ml", cats_strings=["", "Kopf"])
    for name, rank, kind in ((numbers, 2, TensorProto.INT64), (floats, 2, TensorProto.FLOAT), (back, 2, TensorProto.STRING),
                             (mapped, 2, TensorProto.INT64), (hot, 3, TensorProto.FLOAT)):
        graph.output(name, rank, kind)
    against_onnxruntime(graph, tmp_path, {"rows": "1..3"})


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_grams_of_words_are_counted(mode, tmp_path):
    words = np.array([["ja", "nein", "ä", "ja", "ja", "nein", ""], ["fremd", "ä", "ja", "nein", "ä", "", ""]], object)
    pool = ["nein", "ja", "", "ja", "nein", "ä", "ja", "ja", "ja", "nein", "ä", "ja"]  # 3 words, 3 pairs, a triple
    attributes = dict(ngram_counts=[0, 3, 9], ngram_indexes=[5, 1, 0, 2, 3, 6, 4], mode=mode, pool_strings=pool)
    graph = Graph()
    x = strings(graph, "x", words, ("rows", 7))
    row = strings(graph, "row", words[0], ("length",))
    for value, rank in ((x, 2), (row, 1)):
        for shortest, longest, skips in ((1, 1, 0), (1, 2, 0), (2, 3, 2), (1, 3, 5)):
            for weights in ({}, {"weights": [0.5, 2.0, -1.0, 3.0, 0.25, 1.5, 9.0]}):
                graph.output(graph.node("TfIdfVectorizer", value, min_gram_length=shortest, max_gram_length=longest,
                                        max_skip_count=skips, **attributes, **weights), rank)
    against_onnxruntime(graph, tmp_path, {"rows": "1..4", "length": "1..9"})


@pytest.mark.parametrize("pattern", ["[a-zA-Z0-9_]+", "a|ab", "x*", ".", "..", "^a", r"\bab?"])
def test_tokens_are_what_matches(pattern, tmp_path):
    texts = np.array([["ab abc d", "naïve x\nab"], ["", "日本 go"], ["aab", "  "]], object)
    graph = Graph()
    x, row = strings(graph, "x", texts, ("rows", 2)), strings(graph, "row", texts[2], ("length",))
    for value, rank in ((x, 3), (row, 2)):
        for least in (1,) if pattern == "." else (1, 2):
            tokens = graph.node("Tokenizer", value, domain=CONTRIB, tokenexp=pattern, pad_value="#", mark=0, mincharnum=least)
            graph.output(tokens, rank, TensorProto.STRING)
    against_onnxruntime(graph, tmp_path, {"rows": "1..4", "length": "1..3"})


def test_more_tokens_than_there_is_room_for(tmp_path):
    graph = Graph()
    x = strings(graph, "x", np.array(["a b c"], object))
    graph.output(graph.node("Tokenizer", x, domain=CONTRIB, tokenexp="[a-z]", pad_value="", mark=0, mincharnum=1), 2,
                 TensorProto.STRING)
    compiled(graph, tmp_path, flags=("--text-pieces", "2"))
    np.save(tmp_path / "x.npy", graph.values["x"])
    done = subprocess.run([snug.tool("SNUG_RUN"), tmp_path / "ops.so", "--input", f"x={tmp_path / 'x.npy'}"],
                          capture_output=True, text=True)
    assert done.returncode == FAILED_RUN and "has 3 pieces, and there is room for 2" in done.stderr, done.stderr
