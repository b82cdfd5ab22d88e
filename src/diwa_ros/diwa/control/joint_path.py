# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A smooth way from one set of joint positions to another, for going home."""

from __future__ import annotations

import math

import numpy as np

# Of the polynomial 10 s^3 - 15 s^4 + 6 s^5: its highest first and second derivative.
TOP_SPEED = 15 / 8
TOP_ACCELERATION = 10 / math.sqrt(3)


class JointPath:
    """All joints leave and arrive together, at rest; in between none is beyond its limits.

    Args:
        start: (7,) float64 [rad].
        goal: (7,) float64 [rad].
        velocity: (7,) highest speeds [rad/s].
        acceleration: (7,) highest accelerations [rad/s2].

    Attributes:
        duration_s: of the whole way.
    """

    def __init__(
        self, start: np.ndarray, goal: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray
    ) -> None:
        self._start = np.array(start, dtype=np.float64)
        self._way = np.asarray(goal, dtype=np.float64) - self._start
        far = np.abs(self._way)
        by_speed = TOP_SPEED * far / np.asarray(velocity)
        by_acceleration = np.sqrt(TOP_ACCELERATION * far / np.asarray(acceleration))
        self.duration_s = float(np.maximum(by_speed, by_acceleration).max())

    def sample(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions (7,) [rad] and velocities (7,) [rad/s] at `time_s`, at rest beyond the ends."""
        if time_s <= 0.0:
            return self._start.copy(), np.zeros_like(self._way)
        if time_s >= self.duration_s:
            return self._start + self._way, np.zeros_like(self._way)
        s = time_s / self.duration_s
        along = s**3 * (10 - 15 * s + 6 * s**2)
        speed = 30 * s**2 * (1 - s) ** 2 / self.duration_s
        return self._start + along * self._way, speed * self._way
