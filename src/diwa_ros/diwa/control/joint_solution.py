# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of a Franka arm in closed form, by `frankik` where that is installed.

A pose leaves one degree of freedom: for every angle of the last joint the others follow in closed
form. They may race where the last joint turns back along what is free, and there are several
branches. So the caller says where the joints will be about, and takes no other answer.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from diwa.control.robots import RobotLimits

NEAR = 1e-4  # [rad] farther from what was expected is another branch, or about to race
FR3_ONLY = 4.0  # [rad] a sixth joint that turns beyond is an FR3's


class JointSolution:
    """Solves for joints that are known roughly.

    Args:
        library: `frankik`.
        limits: of the robot.
    """

    def __init__(self, library: ModuleType, limits: RobotLimits) -> None:
        self._branches = library.ik_full
        self._is_fr3 = limits.arm.joint_maximum[5] > FR3_ONLY

    def solve(
        self, position: np.ndarray, rotation: np.ndarray, expected: np.ndarray
    ) -> np.ndarray | None:
        """Joints (7,) [rad] for a pose, with the last joint as expected.

        Args:
            position: (3,) [m] of the flange, in the frame of the arm's base.
            rotation: (3, 3) of the flange.
            expected: (7,) [rad].

        Returns:
            None where no solution is near what was expected.
        """
        flange = np.eye(4)
        flange[:3, :3], flange[:3, 3] = rotation, position
        found = self._branches(flange, expected, expected[-1], self._is_fr3)
        near = np.abs(found - expected).max(axis=1) < NEAR  # false for NaN, which is no solution
        return np.asarray(found[np.argmax(near)]) if near.any() else None


def load_solution(limits: RobotLimits) -> JointSolution | None:
    """The solution in closed form; None without `frankik`."""
    try:
        import frankik
    except ImportError:
        return None
    return JointSolution(frankik, limits)
