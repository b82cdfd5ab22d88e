# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The slow way back to where episodes start, when there is nobody else to lead the arm."""

from __future__ import annotations

import numpy as np

from diwa.control.filter import valid_pose
from diwa.control.poses import angle_between, relative_motion
from diwa.control.robots import RobotLimits
from diwa.data.contract import ActionSpec

ARRIVED = 1e-3  # of an action: the desired pose is at the goal
NEAR = 0.5  # of the start gate's tolerances, within which the arm counts as arrived


class StraightHome:
    """Actions that lead the desired pose straight to the start pose nearest to the arm.

    Args:
        measured: (7,) pose of the arm.
        start_poses: (N, 7), at least one.
        limits: of the robot.
        spec: units of an action.
        now_s: when it begins [s].
    """

    def __init__(
        self,
        measured: np.ndarray,
        start_poses: np.ndarray,
        limits: RobotLimits,
        spec: ActionSpec,
        now_s: float,
    ) -> None:
        away = np.linalg.norm(start_poses[:, :3] - measured[:3], axis=1)
        self.goal: np.ndarray = start_poses[int(away.argmin())]
        self._guard = limits.guard
        self._spec = spec
        self._deadline_s = now_s + limits.home.timeout

    def action(self, desired: np.ndarray, gripper: float) -> np.ndarray:
        """The next action (7,), not clipped; zeros at the goal."""
        return np.append(relative_motion(desired, self.goal, self._spec), gripper)

    def arrived(self, desired: np.ndarray, measured: np.ndarray) -> bool:
        """Whether the arm is at the goal."""
        pose = valid_pose(measured)
        if pose is None or np.abs(self.action(desired, 0.0)).max() > ARRIVED:
            return False
        away = float(np.linalg.norm(pose[:3] - self.goal[:3]))
        turned = float(angle_between(pose[3:], self.goal[3:]))
        return (
            away <= NEAR * self._guard.start_position
            and turned <= NEAR * self._guard.start_rotation
        )

    def late(self, now_s: float) -> bool:
        """Whether it takes too long."""
        return now_s > self._deadline_s
