# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The statistics of the benchmark."""
import random

import benchmark
import time_model


def test_interval_of_fifteen_rounds_is_the_fourth_to_the_twelfth():
    # P(Binomial(15, 1/2) <= 3) = 1.8 %, and <= 4 would be 5.9 %.
    assert benchmark.interval(range(1, 16)) == (4, 8, 12)


def test_few_rounds_give_the_whole_range():
    assert benchmark.interval([3, 1, 2]) == (1, 2, 3)
    assert benchmark.interval([2]) == (2, 2, 2)


def test_interval_holds_the_true_median_nine_times_in_ten():
    random.seed(0)
    hits = 0
    for _ in range(2000):
        low, _, high = benchmark.interval([random.gauss(1.0, 0.1) for _ in range(15)])
        hits += low <= 1.0 <= high
    assert 0.9 <= hits / 2000 < 0.99


def test_dims_belong_to_the_model_before_them():
    assert benchmark.cases(["a", "batch=1", "seq=8", "b.onnx", "c", "n=2"]) == [
        ("a", ["batch=1", "seq=8"]), ("b.onnx", []), ("c", ["n=2"])]


def test_a_row_has_ratios_of_the_same_round():
    rounds = [{"snug": 2.0, "onnxruntime": 4.0}, {"snug": 3.0, "onnxruntime": 6.0}, {"snug": 10.0, "onnxruntime": 20.0}]
    line = benchmark.row("m", rounds, 1)
    assert "3.0 ms" in line and "6.0 ms  0.50 (0.50 to 0.50)" in line and line.split()[-2:] == ["3", "1"]


def test_rank_correlation():
    assert time_model.spearman([1, 2, 3, 4], [10, 20, 40, 80]) == 1
    assert time_model.spearman([1, 2, 3], [3, 2, 1]) == -1
    # d = 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    assert abs(time_model.spearman([1, 2, 3, 4], [1, 3, 2, 4]) - 0.8) < 1e-12
    assert list(time_model.ranks([5, 1, 5, 9])) == [1.5, 0, 1.5, 3], "equal values share their mean rank"
