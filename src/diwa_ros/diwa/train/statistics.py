# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Success rates and their differences, with 95 % intervals that hold for few episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A rate or a difference of rates, with its interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> Estimate:
    """A success rate with Wilson's score interval (Wilson 1927, without continuity correction)."""
    if not 0 <= successes <= episodes or episodes < 1:
        raise ValueError(f"{successes} of {episodes} is no rate")
    rate = successes / episodes
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    shrink = 1 + z**2 / episodes
    middle = (rate + z**2 / (2 * episodes)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / episodes + (z / (2 * episodes)) ** 2)
    low = middle - half if successes else 0.0  # rounding must not lead below
    high = middle + half if successes < episodes else 1.0
    return Estimate(rate, low, high)


def paired_difference(
    base: Sequence[bool], adapted: Sequence[bool], confidence: float = 0.95
) -> Estimate:
    """`adapted` minus `base` success rate when episode i of both had the same start.

    The interval is Newcombe's hybrid score interval for paired proportions: method 10 of
    R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998) 2635-2650. It combines the two Wilson
    intervals through the continuity-corrected correlation of the pairs, never leaves [-1, 1], and
    keeps its coverage at the small counts of a robot evaluation.

    Raises:
        ValueError: different lengths, or no episode.
    """
    first, second = np.asarray(adapted, dtype=bool), np.asarray(base, dtype=bool)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(f"pairs needed, got {first.shape} and {second.shape}")
    n = first.size
    p1, low1, high1 = wilson(int(first.sum()), n, confidence)
    p2, low2, high2 = wilson(int(second.sum()), n, confidence)
    phi = _corrected_correlation(first, second)
    below = _combined(p1 - low1, high2 - p2, phi)
    above = _combined(high1 - p1, p2 - low2, phi)
    difference = (int(first.sum()) - int(second.sum())) / n
    return Estimate(difference, difference - below, difference + above)


def mcnemar_exact(base: Sequence[bool], adapted: Sequence[bool]) -> float:
    """Two-sided p-value of "both succeed equally often": the exact McNemar test."""
    first, second = np.asarray(adapted, dtype=bool), np.asarray(base, dtype=bool)
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    return min(2 * tail / 2**n, 1.0)


def _corrected_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Newcombe's phi: 0 at empty margins; a positive numerator is shrunk by n/2, not below 0."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    margins = [
        both + only_first,
        only_second + neither,
        both + only_second,
        only_first + neither,
    ]
    if 0 in margins:
        return 0.0
    numerator: float = both * neither - only_first * only_second
    if numerator > 0:
        numerator = max(numerator - first.size / 2, 0.0)
    return numerator / math.sqrt(math.prod(margins))


def _combined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))
