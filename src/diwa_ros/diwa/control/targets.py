# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From actions at the control rate to targets at any rate, none of them beyond the limits.

Once per control period an action moves the desired pose, as far as `MotionFilter` lets it. Between
two desired poses the position goes straight and the rotation along the shortest arc, both at
constant speed, which the twist of every target tells. What an action could not do is not made up
for later: the pose never runs ahead of what was executed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diwa.control.filter import SafeAction, SafetyCounts, valid_pose
from diwa.control.motion_filter import Moment, MotionFilter
from diwa.control.poses import (
    angle_between,
    integrate_action,
    make_pose,
    rotated,
    rotation_vector,
)
from diwa.control.robots import RobotLimits
from diwa.data.contract import Contract


class Target(NamedTuple):
    """Where the arm is to be, and how fast it is to be moving there."""

    pose: np.ndarray  # (7,) float64: xyz [m], quaternion xyzw
    twist: np.ndarray  # (6,) float64 [m/s], [rad/s] about the base frame's axes


class TargetStream:
    """The desired pose of an arm, moved by actions.

    Seed it before anything else. Then, per control period: `step` once, and `sample` as often as
    targets are sent, with the share of the period that has passed. So the targets are one path over
    time, without a jump where one period follows another, whenever they are sent.

    Args:
        limits: of the robot.
        contract: gives the control rate, the action's units and the workspace.

    Attributes:
        counts: how often a limit had to act.
        period_s: of control [s].
    """

    def __init__(self, limits: RobotLimits, contract: Contract) -> None:
        self.counts = SafetyCounts()
        self.period_s = 1.0 / contract.rate_hz
        self._filter = MotionFilter(limits, contract)
        self._motion = limits.motion
        self._spec = contract.action
        self._before: np.ndarray | None = None
        self._after = np.zeros(7)
        self._move = np.zeros(3)  # of the latest period [m]
        self._turn = np.zeros(3)  # [rad]
        self._sampled = np.zeros(7)

    @property
    def seeded(self) -> bool:
        """Whether there is a desired pose."""
        return self._before is not None

    @property
    def desired(self) -> np.ndarray:
        """The desired pose (7,) at the end of the latest period."""
        assert self._before is not None, "seed the stream first"
        return self._after.copy()

    @property
    def gripper(self) -> float:
        """Last asked for: 1 open, -1 closed."""
        return self._filter.safety.gripper

    def seed(self, measured: np.ndarray, gripper: float | None = None) -> bool:
        """Take the measured pose (7,) for the desired one, at rest; false when it is no pose."""
        pose = valid_pose(measured)
        if pose is None:
            return False
        self._rest_at(make_pose(pose[:3], pose[3:]))
        if gripper is not None:
            self._filter.safety.gripper = 1.0 if gripper >= 0 else -1.0
        return True

    def hold(self) -> None:
        """Stop where the last target is."""
        if self.seeded:
            self._rest_at(self._sampled)

    def step(
        self,
        action: np.ndarray | None,
        measured: np.ndarray,
        speed_scale: float = 1.0,
        joints: np.ndarray | None = None,
    ) -> SafeAction:
        """Begin a control period: move the desired pose by one action.

        Args:
            action: (7,) as it came in, may be anything; None: there is none, stay.
            measured: (7,) pose of the TCP; the arm holds while it is none.
            speed_scale: (0, 1], of the motion and of the highest speed.
            joints: (7,) measured [rad]; None: the ends of the joints and singular poses are not
                looked at. What they take away counts as limited by the workspace.

        Returns:
            What is executed during this period, in units of the action.
        """
        assert self._before is not None, "seed the stream first"
        scale = min(max(speed_scale, 0.0), 1.0) if speed_scale == speed_scale else 0.0
        at = Moment(self._after, self._move, self._turn, measured, joints, scale)
        safe = self._filter.filter(self._filter.safety.hold() if action is None else action, at)
        self._advance(safe)
        return safe

    def sample(self, share: float) -> Target:
        """The target at a share in [0, 1] of the period; beyond it, the pose at its end.

        The twist fades to nothing during one period more: a late step stops the arm.
        """
        assert self._before is not None, "seed the stream first"
        share = max(share, 0.0) if share == share else 1.0
        along = min(share, 1.0)
        rotation = (
            self._after[3:] if along == 1.0 else rotated(self._before[3:], along * self._turn)
        )
        position = self._before[:3] + along * (self._after[:3] - self._before[:3])
        pose = np.concatenate([position, _same_side(rotation, self._sampled[3:])])
        fade = min(max(2.0 - share, 0.0), 1.0)
        self._sampled = pose
        twist = np.concatenate([self._move, self._turn]) * (fade / self.period_s)
        return Target(pose.copy(), twist)

    def stretch(self, measured: np.ndarray) -> float:
        """How far the last target is from the measured pose, in leashes; infinite without a pose.

        More than 1 is possible where the arm was pushed or does not follow.
        """
        pose = valid_pose(measured)
        if pose is None or not self.seeded:
            return float("inf")
        away = float(np.linalg.norm(self._sampled[:3] - pose[:3])) / self._motion.leash_m
        turned = float(angle_between(self._sampled[3:], pose[3:])) / self._motion.leash_rad
        return max(away, turned)

    def _rest_at(self, pose: np.ndarray) -> None:
        self._before = pose.copy()
        self._after, self._sampled = pose.copy(), pose.copy()
        self._move, self._turn = np.zeros(3), np.zeros(3)

    def _advance(self, safe: SafeAction) -> None:
        before = self._after
        after = integrate_action(before, safe.action, self._spec)
        after[3:] = _same_side(after[3:], before[3:])
        self._before, self._after = before, after
        self._move = after[:3] - before[:3]
        self._turn = rotation_vector(before[3:], after[3:])
        counts = self.counts
        counts.actions += 1
        counts.clipped += safe.clipped
        counts.workspace_limited += safe.workspace_limited
        counts.leashed += safe.leashed
        counts.rejected += safe.rejected


def _same_side(quaternion: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The one of a rotation's two quaternions that is nearer to `reference`."""
    return -quaternion if float(quaternion @ reference) < 0 else quaternion
