# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Velocities that lead an arm along its targets, for controllers that take nothing else."""

from __future__ import annotations

import numpy as np

from diwa.control.filter import shortened
from diwa.control.poses import rotation_vector
from diwa.control.robots import MotionLimits
from diwa.control.targets import Target


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
