# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of an arm at one moment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Robot modes, as in franka_msgs/FrankaRobotState.
OTHER, IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED, RECOVERING, UNKNOWN = 0, 1, 2, 3, 4, 5, 6, 255
MODE_NAMES = {
    OTHER: "other",
    IDLE: "idle",
    MOVE: "move",
    GUIDING: "guiding",
    REFLEX: "reflex",
    USER_STOPPED: "user stopped",
    RECOVERING: "automatic error recovery",
    UNKNOWN: "unknown",
}


class ArmState(NamedTuple):
    """The newest state of an arm; None where it does not tell."""

    stamp_s: float  # [s] monotonic, when it was received
    pose: np.ndarray  # (7,) float64, of the TCP in the base frame: xyz [m], quaternion xyzw
    joints: np.ndarray | None = None  # (7,) float64 [rad]
    joint_velocities: np.ndarray | None = None  # (7,) float64 [rad/s]
    gripper_width: float | None = None  # [m]
    force: np.ndarray | None = None  # (6,) float64 [N, N m], external, on the TCP
    robot_mode: int = UNKNOWN
    errors: tuple[str, ...] = ()
    success_rate: float | None = None  # [0, 1], of the commands, while it moves
    manipulability: float | None = None  # smallest singular value of the Jacobian [m, rad per rad]
