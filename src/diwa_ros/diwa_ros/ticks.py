# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Control periods, each divided into ticks, on a timer that may be late."""

from __future__ import annotations

import math


class Ticks:
    """Says, at every tick, whether a control period begins and how much of it has passed.

    A timer fires a little early or late; so periods begin half a tick before their first one.

    Args:
        period_s: of control [s].
        substeps: ticks per period.

    Attributes:
        tick_s: between two ticks [s].
        missed: periods in which there was no tick at all.
    """

    def __init__(self, period_s: float, substeps: int) -> None:
        self.tick_s = period_s / substeps
        self.missed = 0
        self._period_s = period_s
        self._origin_s = 0.0
        self._period = -1

    def start(self, now_s: float) -> None:
        """Begin anew: the first tick will come one tick from now."""
        self._origin_s = now_s + self.tick_s / 2
        self._period = -1

    def begins_period(self, now_s: float) -> bool:
        """Whether this tick is the first one of its period."""
        period = math.floor((now_s - self._origin_s) / self._period_s)
        if period <= self._period:
            return False
        self.missed += period - self._period - 1
        self._period = period
        return True

    def share(self, now_s: float) -> float:
        """How much of the latest period has passed; 1 at its end, more when the next is late."""
        begun_s = self._origin_s + self._period * self._period_s
        return max((now_s - begun_s) / self._period_s, 0.0)
