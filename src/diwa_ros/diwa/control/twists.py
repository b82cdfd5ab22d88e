# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Velocities that lead an arm along its targets, for controllers that take nothing else."""

from __future__ import annotations

import numpy as np

from diwa.control.filter import shortened
from diwa.control.poses import normalized
from diwa.control.robots import MotionLimits
from diwa.control.targets import Target

SMALL = 1e-9  # [rad/2], where the sine is the angle


def tracking_twist(
    target: Target, measured: np.ndarray, gain: float, limits: MotionLimits
) -> np.ndarray:
    """The target's own velocity and a share of the way that is left to it.

    Args:
        target: pose (7,) and twist (6,) wanted.
        measured: (7,) pose of the arm.
        gain: of the way that is left, per second [1/s].
        limits: no velocity is beyond its speed and turn rate.

    Returns:
        (6,) float64, linear [m/s] and angular [rad/s], in the base frame.
    """
    linear = target.twist[:3] + gain * (target.pose[:3] - measured[:3])
    angular = target.twist[3:] + gain * rotation_vector(measured[3:], target.pose[3:])
    return np.concatenate(
        [shortened(linear, limits.max_speed), shortened(angular, limits.max_turn_rate)]
    )


def rotation_vector(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Axis times angle [rad], (3,) in the base frame, of the rotation from one quaternion on."""
    x, y, z, w = normalized(first)
    a, b, c, d = normalized(second)
    # second * conjugate(first)
    vector = np.array(
        [
            a * w - d * x - b * z + c * y,
            b * w - d * y - c * x + a * z,
            c * w - d * z - a * y + b * x,
        ]
    )
    scalar = d * w + a * x + b * y + c * z
    if scalar < 0:
        vector, scalar = -vector, -scalar
    length = float(np.sqrt(vector @ vector))
    if length < SMALL:
        return 2.0 * vector
    return vector * (2.0 * float(np.arctan2(length, scalar)) / length)
