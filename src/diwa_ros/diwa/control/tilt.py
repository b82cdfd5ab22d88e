# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How far a gripper leans from pointing straight down, whatever its yaw."""

from __future__ import annotations

import math

import numpy as np

from diwa.control.poses import matrix_from_quaternion


def tilt(quaternion: np.ndarray, hand_yaw: float = 0.0) -> tuple[float, float]:
    """Pitch and roll [rad] of a hand (quaternion xyzw of its frame) against pointing down.

    Args:
        quaternion: (4,) of the reported frame; its z axis leads out of the hand.
        hand_yaw: from the reported frame to the hand's, about z [rad]. The fingers move along y.

    Returns:
        pitch about the hand's y axis, roll about its x axis; 0 when it points down, and independent
        of a rotation about the vertical.
    """
    x, y, z = -matrix_from_quaternion(quaternion)[2]  # down, in the reported frame
    cosine, sine = math.cos(hand_yaw), math.sin(hand_yaw)
    return (
        math.atan2(cosine * x + sine * y, z),
        math.atan2(cosine * y - sine * x, z),
    )


def tilt_excess(
    quaternion: np.ndarray, max_pitch: float, max_roll: float, hand_yaw: float = 0.0
) -> float:
    """By how much the larger of pitch and roll is beyond its limit [rad]; 0 or less: neither is.

    A hand above the horizontal has no sensible pitch and roll: then it is the angle from straight
    down, which is more than any below it, and grows the farther it turns.
    """
    down = -float(matrix_from_quaternion(quaternion)[2, 2])
    if down <= 0.0:
        return math.acos(max(down, -1.0))
    pitch, roll = tilt(quaternion, hand_yaw)
    return max(abs(pitch) - max_pitch, abs(roll) - max_roll)
