# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Figures for people and for JSON: fraction done, seconds left, sizes, finite numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class Meter:
    """A job of `total` units of which `done` were finished before this part began at `now` [s]."""

    def __init__(self, name: str, total: int, done: int, now: float) -> None:
        self.name = name
        self.total = max(total, 0)
        self.done = done
        self._first = done
        self._started = now

    @property
    def fraction(self) -> float:
        """Share that is done, in [0, 1]."""
        return min(self.done / self.total, 1.0) if self.total else 1.0

    def remaining(self, now: float) -> float | None:
        """Seconds left at the mean speed of this part; None before its first unit."""
        if self.done >= self.total:
            return 0.0
        if self.done <= self._first:
            return None
        return (now - self._started) / (self.done - self._first) * (self.total - self.done)


def finite_or_none(value: float) -> float | None:
    """`value` as a float, None where JSON has no word for it."""
    number = float(value)
    return number if math.isfinite(number) else None


def plain(value: Any) -> Any:
    """`value` as JSON data: arrays and tensors as lists, numbers that are not finite as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def format_metrics(metrics: Mapping[str, float]) -> str:
    """`loss 0.123  kl 1.2e-05`."""
    return "  ".join(f"{key} {float(value):.3g}" for key, value in metrics.items())


def format_seconds(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s` or `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(count: float) -> str:
    """`1.25 GB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
