# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps an arm that follows poses away from the ends of its joints and from singular poses.

The arm's own controller turns poses into joint motion. What that will be is estimated from the
Jacobian, without what the controller does with the seventh degree of freedom: an estimate that
stops early, not a plan. An arm that is already too near may always move away.
"""

from __future__ import annotations

import numpy as np

from diwa.control.kinematics import franka_chain
from diwa.control.poses import rotation_vector
from diwa.control.robots import RobotLimits
from diwa.control.singularity import smallest_singular_value

REACH = 0.5  # [m] a TCP that is farther from the flange is in another frame than the arm's base
SPEED_SHARE = 0.5  # of the joints' speed
ROUNDING = 1e-9
HAND = 0.1034  # [m] from the flange to the TCP of the Franka Hand


def manipulability(joints: np.ndarray) -> float:
    """Smallest singular value of the Jacobian at the hand's TCP, for joints (7,) [rad]."""
    if not np.isfinite(joints).all():
        return 0.0
    chain = franka_chain(joints)
    return smallest_singular_value(chain.jacobian(chain.flange + HAND * chain.rotation[:, 2]))


class JointGuard:
    """Says whether the arm's joints can follow a motion of the desired pose.

    Args:
        limits: of the robot.
        period_s: of control [s].
    """

    def __init__(self, limits: RobotLimits, period_s: float) -> None:
        self._low = np.array(limits.arm.joint_minimum)
        self._high = np.array(limits.arm.joint_maximum)
        self._margin = limits.motion.joint_margin
        self._least = limits.motion.min_manipulability
        self._fastest = SPEED_SHARE * period_s * np.array(limits.arm.joint_velocity)
        self._inverse: np.ndarray | None = None  # (7, 6); None: nothing is known, all is allowed
        self._target = np.zeros(7)  # joints that the desired pose takes

    def look(self, joints: np.ndarray | None, measured: np.ndarray, desired: np.ndarray) -> None:
        """Take the arm as it is, before the motions that `allowed` is asked about.

        Args:
            joints: (7,) [rad], or None where the arm does not tell.
            measured: (7,) pose of the TCP in the frame of the arm's base.
            desired: (7,) pose that the arm is on its way to.
        """
        self._inverse = None
        if joints is None or np.shape(joints) != (7,) or not np.isfinite(joints).all():
            return
        chain = franka_chain(joints)
        if np.linalg.norm(measured[:3] - chain.flange) > REACH:
            return
        self._inverse = damped_inverse(chain.jacobian(measured[:3]), self._least)
        left = np.append(desired[:3] - measured[:3], rotation_vector(measured[3:], desired[3:]))
        self._target = joints + self._inverse @ left

    def allowed(self, move: np.ndarray, turn: np.ndarray) -> bool:
        """Whether the desired pose may move by `move` (3,) [m] and `turn` (3,) [rad]."""
        if self._inverse is None or not (move.any() or turn.any()):
            return True
        step = self._inverse @ np.append(move, turn)
        if (np.abs(step) > self._fastest).any():
            return False
        after = self._target + step
        if (
            self._room(after) < np.minimum(self._room(self._target), self._margin) - ROUNDING
        ).any():
            return False
        left = manipulability(after)
        return left >= self._least or left >= manipulability(self._target) - ROUNDING

    def _room(self, joints: np.ndarray) -> np.ndarray:
        return np.minimum(joints - self._low, self._high - joints)


def damped_inverse(jacobian: np.ndarray, least: float) -> np.ndarray:
    """Inverse (7, 6) of a Jacobian (6, 7) whose values below `least` are not inverted fully."""
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    inverted = values / np.maximum(values, least) ** 2
    return np.asarray((right.T * inverted) @ left.T)
