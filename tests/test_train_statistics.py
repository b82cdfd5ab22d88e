# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals against published values, and against what they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from diwa.train.statistics import Estimate, mcnemar_exact, paired_difference, wilson


def pairs(both: int, gained: int, lost: int, neither: int) -> tuple[list[bool], list[bool]]:
    """(base, adapted) outcomes with these counts."""
    base = [True] * both + [False] * gained + [True] * lost + [False] * neither
    adapted = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return base, adapted


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_intervals(
    successes: int, episodes: int, low: float, high: float
) -> None:
    estimate = wilson(successes, episodes)
    assert estimate.value == successes / episodes
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilson_and_mcnemar_equal_scipys(gained: int, lost: int) -> None:
    if gained + lost == 0:
        return
    expected = binomtest(gained, gained + lost)
    interval = expected.proportion_ci(0.95, method="wilson")
    found = wilson(gained, gained + lost)
    assert found[1:] == pytest.approx((interval.low, interval.high), abs=1e-12)
    p_value = mcnemar_exact(*pairs(3, gained, lost, 2))
    assert p_value == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 2635-2650, table II, method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        # Fagerland, Lydersen, Laake, "Statistical Analysis of Contingency Tables" (2017), ch. 8
        ((1, 1, 7, 12), -0.5069, -0.0256),
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_paired_difference_equals_published_intervals(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    estimate = paired_difference(*pairs(*table))
    assert estimate.value == pytest.approx((table[1] - table[2]) / sum(table))
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


def tango(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Tango's score interval (Statistics in Medicine 17 (1998) 891-908), by bisection."""
    n = both + gained + lost + neither

    def score(delta: float) -> float:
        b = -gained - lost + (2 * n - gained + lost) * delta
        q21 = (math.sqrt(b * b + 8 * n * lost * delta * (1 - delta)) - b) / (4 * n)
        variance = n * (2 * q21 + delta * (1 - delta))
        return (gained - lost - n * delta) / math.sqrt(max(variance, 1e-300))

    def solve(target: float) -> float:
        low, high = -1.0 + 1e-12, 1.0 - 1e-12
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > target else (low, middle)
        return low

    return solve(1.959964), solve(-1.959964)


@pytest.mark.parametrize(
    "table", [(20, 15, 3, 22), (10, 12, 2, 6), (25, 18, 1, 16), (30, 5, 5, 20), (8, 20, 4, 28)]
)
def test_paired_difference_is_close_to_tangos_interval(table: tuple[int, int, int, int]) -> None:
    estimate = paired_difference(*pairs(*table))
    assert estimate[1:] == pytest.approx(tango(*table), abs=0.025)


@pytest.mark.parametrize(
    ("probabilities", "episodes"),
    [
        ((0.40, 0.10, 0.10, 0.40), 50),  # no difference, strong pairing
        ((0.30, 0.30, 0.05, 0.35), 50),  # +25 points
        ((0.05, 0.20, 0.05, 0.70), 60),  # weak base
        ((0.70, 0.25, 0.00, 0.05), 50),  # strong base, nothing lost
    ],
)
def test_paired_difference_covers_the_truth(
    probabilities: tuple[float, ...], episodes: int
) -> None:
    rng = np.random.default_rng(5)
    tables, counts = np.unique(
        rng.multinomial(episodes, probabilities, size=2000), axis=0, return_counts=True
    )
    truth = probabilities[1] - probabilities[2]
    intervals = [paired_difference(*pairs(*table)) for table in tables]
    covered = sum(
        count
        for (_, low, high), count in zip(intervals, counts, strict=True)
        if low <= truth <= high
    )
    assert 0.935 <= covered / 2000 <= 0.995


def test_pairing_that_agrees_gives_a_shorter_interval() -> None:
    agreeing = paired_difference(*pairs(20, 10, 2, 18))
    crossing = paired_difference(*pairs(0, 29, 21, 0))
    assert agreeing.value == crossing.value == 8 / 50
    assert agreeing.high - agreeing.low < 0.6 * (crossing.high - crossing.low)


counts = st.integers(0, 30)


@given(counts, counts, counts, counts)
def test_paired_difference_is_a_sound_interval(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    base, adapted = pairs(a, b, c, d)
    value, low, high = paired_difference(base, adapted)
    assert -1 - 1e-12 <= low <= value <= high <= 1 + 1e-12
    mirrored = paired_difference(adapted, base)
    assert mirrored == pytest.approx(Estimate(-value, -high, -low), abs=1e-12)


def test_paired_difference_without_a_single_change_is_not_certain() -> None:
    for table in [(50, 0, 0, 0), (0, 0, 0, 50)]:
        value, low, high = paired_difference(*pairs(*table))
        assert value == 0
        assert low < -0.05 < 0.05 < high


def test_paired_difference_needs_pairs() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([True], [True, False])
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([], [])


def test_mcnemar_equals_the_sum_over_all_coin_tosses() -> None:
    for gained, lost in itertools.product(range(6), repeat=2):
        p = mcnemar_exact(*pairs(3, gained, lost, 4))
        n = gained + lost
        tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
        assert p == pytest.approx(min(2 * tail, 1.0))
