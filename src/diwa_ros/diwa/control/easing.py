# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How far one step may differ from the step before.

A step is the motion of one control period, as a vector. Slowing down is always possible, to a
standstill within one period: a command to stop is obeyed at once, and no limit ahead needs a
braking distance. Only speeding up and changing direction are eased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diwa.control.filter import shortened

ROUNDING = 1e-9
BISECTIONS = 20


class StepLimits(NamedTuple):
    """Lengths [m] or angles [rad] per control period."""

    length: float  # of a step
    ramp: float  # from the nearest slower step in the direction of the step before
    brake: float  # from the step before

    @classmethod
    def per_period(
        cls, speed: float, acceleration: float, deceleration: float, period_s: float
    ) -> StepLimits:
        """From a speed and two accelerations; no speed from which one period cannot stop."""
        brake = deceleration * period_s**2
        return cls(min(speed * period_s, brake), acceleration * period_s**2, brake)

    def scaled(self, share: float) -> StepLimits:
        """The same with a share of the speed."""
        return self._replace(length=self.length * share)


def fits(step: np.ndarray, previous: np.ndarray, limits: StepLimits) -> bool:
    """Whether `step` (3,) may follow `previous` (3,). A step of zero always may."""
    return (
        _length(step) <= limits.length + ROUNDING
        and _length(step - _slower(previous, step)) <= limits.ramp + ROUNDING
        and _length(step - previous) <= limits.brake + ROUNDING
    )


def eased(wanted: np.ndarray, previous: np.ndarray, limits: StepLimits) -> np.ndarray:
    """The step (3,) most like `wanted` that may follow `previous`."""
    step = shortened(wanted, limits.length)
    slower = _slower(previous, step)
    step = shortened(slower + shortened(step - slower, limits.ramp), limits.length)
    return step * largest_share(lambda share: fits(step * share, previous, limits))


def largest_share(allowed: Callable[[float], bool]) -> float:
    """The largest share in [0, 1] found by bisection that is `allowed`; 0 always counts as it."""
    if allowed(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _slower(previous: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The point on the line from standstill to `previous` that is nearest to `step`."""
    squared = float(previous @ previous)
    if squared == 0.0:
        return previous
    return previous * min(max(float(previous @ step) / squared, 0.0), 1.0)


def _length(vector: np.ndarray) -> float:
    return float(np.sqrt(vector @ vector))
