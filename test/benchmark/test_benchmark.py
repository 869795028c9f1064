# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The statistics of the benchmark."""
import random

import benchmark


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
