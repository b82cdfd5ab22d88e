# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Where a plot's axes have their numbers, and how those are written."""

from __future__ import annotations

import math
from collections.abc import Sequence


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside [low, high], with 2 and 5 between them where there are few."""
    factors = (1,) if math.log10(high / low) > 2.5 else (1, 2, 5)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**decade for decade in decades for factor in factors]
    return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def format_tick(value: float) -> str:
    """Short: 0.25, 1500 as 1.5k, 2e-05."""
    if abs(value) < 1e-12:
        return "0"
    if abs(value) >= 1e4 or (abs(value) >= 1000 and value % 1000 == 0):
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{unit}"
    return f"{value:.4g}" if abs(value) >= 1000 else f"{value:.3g}"


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """All ticks of an axis, with as many digits as tell them apart."""
    texts = [format_tick(tick) for tick in ticks]
    digits = 4
    while len(set(texts)) < len(set(ticks)) and digits < 12:
        texts = [f"{tick:.{digits}g}" for tick in ticks]
        digits += 1
    return texts
