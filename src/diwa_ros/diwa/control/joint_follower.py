# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Joint positions that follow a stream of poses, for controllers that take joints.

Every target is a short way from the one before, so a few damped least-squares steps from the last
answer solve it: no choice between branches, and near a singular pose the joints lag behind
instead of racing. Where `frankik` is installed, the first step only says about where the joints
will be, and the rest is solved in closed form (`joint_solution`). What the pose leaves free leads
the elbow back to where it was at the start. The hand's tool does not matter: where its TCP sits on
the flange is told by the arm at the start.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diwa.control.joint_guard import damped_inverse
from diwa.control.joint_solution import JointSolution
from diwa.control.kinematics import Chain, franka_chain
from diwa.control.poses import matrix_from_quaternion
from diwa.control.robots import RobotLimits

ITERATIONS = 4
SHARES = (1.0, 0.25, 0.0625)
CLOSE = 1e-7  # [m], [rad]
SPEED_SHARE = 0.5  # of the joints' speed
ELBOW_RATE = 0.5  # [1/s] of the way back to the elbow of the start


Goal = tuple[np.ndarray, np.ndarray]  # of the TCP: position (3,) [m], rotation (3, 3)


class JointTarget(NamedTuple):
    """Where the joints are to be."""

    positions: np.ndarray  # (7,) float64 [rad]
    velocities: np.ndarray  # (7,) float64 [rad/s]
    error: float  # what is left between the pose asked for and that of `positions` [m + rad]


class JointFollower:
    """Inverse kinematics of a stream; seed it where the arm is, then `follow` every target.

    Args:
        limits: of the robot.
        period_s: between two targets [s].
        solution: in closed form; None: damped steps alone.
    """

    def __init__(
        self, limits: RobotLimits, period_s: float, solution: JointSolution | None = None
    ) -> None:
        margin = limits.motion.joint_margin
        self._low = np.array(limits.arm.joint_minimum) + margin
        self._high = np.array(limits.arm.joint_maximum) - margin
        self._longest = SPEED_SHARE * period_s * np.array(limits.arm.joint_velocity)
        self._least = limits.motion.min_manipulability
        self._period_s = period_s
        self._solution = solution
        self._joints = np.zeros(7)
        self._start = np.zeros(7)
        self._offset = np.zeros(3)  # of the TCP, in the flange's frame [m]
        self._turn = np.eye(3)

    def seed(self, joints: np.ndarray, pose: np.ndarray) -> None:
        """Begin at measured joints (7,) [rad], where the TCP has the measured pose (7,)."""
        self._joints = self._start = np.array(joints, dtype=np.float64)
        chain = franka_chain(self._joints)
        self._offset = chain.rotation.T @ (pose[:3] - chain.flange)
        self._turn = chain.rotation.T @ matrix_from_quaternion(pose[3:])

    def follow(self, pose: np.ndarray) -> JointTarget:
        """The joints for a TCP pose (7,), as near as the joints' limits and speeds allow."""
        before = self._joints
        goal = (pose[:3], matrix_from_quaternion(pose[3:]))
        low = np.maximum(np.minimum(self._low, before), before - self._longest)
        high = np.minimum(np.maximum(self._high, before), before + self._longest)
        joints, error = self._solve(before, goal, low, high)
        self._joints = joints
        velocities = (joints - before) / self._period_s
        return JointTarget(joints.copy(), velocities, error)

    def _solve(
        self, before: np.ndarray, goal: Goal, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Joints for a goal within `low` and `high`, and what is left [m + rad]."""
        joints = np.clip(before + self._elbow(before), low, high)
        error, inverse = self._left(joints, *goal)
        for _ in range(ITERATIONS):
            if np.abs(error).max() < CLOSE:
                break
            step = inverse @ error
            exact = self._exact(joints + step, goal)
            if exact is not None and (low <= exact).all() and (exact <= high).all():
                return exact, 0.0
            for share in SHARES:  # a full step may overshoot where the pose is out of reach
                tried = np.clip(joints + share * step, low, high)
                left, then = self._left(tried, *goal)
                if left @ left < error @ error:
                    joints, error, inverse = tried, left, then
                    break
            else:
                break
        return joints, float(np.abs(error).sum())

    def _exact(self, expected: np.ndarray, goal: Goal) -> np.ndarray | None:
        """The solution in closed form near joints (7,), where there is one."""
        if self._solution is None:
            return None
        rotation = goal[1] @ self._turn.T
        return self._solution.solve(goal[0] - rotation @ self._offset, rotation, expected)

    def _left(
        self, joints: np.ndarray, position: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Way (6,) that is left from `joints` to a pose, and the Jacobian's inverse (7, 6)."""
        chain = franka_chain(joints)
        tcp = self._tcp(chain)
        error = np.append(position - tcp, _turn_left(chain.rotation @ self._turn, rotation))
        return error, damped_inverse(chain.jacobian(tcp), self._least)

    def _elbow(self, joints: np.ndarray) -> np.ndarray:
        """Step (7,) towards the joints of the start that leaves the TCP where it is."""
        chain = franka_chain(joints)
        jacobian = chain.jacobian(self._tcp(chain))
        back = ELBOW_RATE * self._period_s * (self._start - joints)
        return np.asarray(back - damped_inverse(jacobian, self._least) @ (jacobian @ back))

    def _tcp(self, chain: Chain) -> np.ndarray:
        return np.asarray(chain.flange + chain.rotation @ self._offset)


def _turn_left(now: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Axis times angle [rad], (3,), between two rotation matrices that are close."""
    difference = goal @ now.T
    skew = difference - difference.T
    sine = 0.5 * np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
    length = float(np.sqrt(sine @ sine))
    cosine = 0.5 * (float(np.trace(difference)) - 1.0)
    if length < CLOSE:
        return sine
    return sine * (float(np.arctan2(length, cosine)) / length)
