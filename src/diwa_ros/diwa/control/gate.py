# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an arm may start to move, and what stops it when it does."""

from __future__ import annotations

import math

import numpy as np

from diwa.control.arm import IDLE, MODE_NAMES, MOVE, UNKNOWN, ArmState
from diwa.control.filter import valid_pose
from diwa.control.joint_guard import manipulability
from diwa.control.poses import angle_between
from diwa.control.robots import RobotLimits
from diwa.data.contract import Workspace


class StartGate:
    """Says in words why the arm must not start to move.

    Args:
        limits: of the robot.
        workspace: where the TCP may be.
    """

    def __init__(self, limits: RobotLimits, workspace: Workspace) -> None:
        self._limits = limits
        self._workspace = workspace

    def problems(
        self,
        state: ArmState | None,
        now_s: float,
        publishers: int = 1,
        start_poses: np.ndarray | None = None,
    ) -> list[str]:
        """What keeps the gate shut; empty: the arm may start.

        Args:
            state: the newest state of the arm, if any.
            now_s: time of the same clock as its stamp [s].
            publishers: how many nodes send commands on the way that is used, this one included.
            start_poses: (N, 7) the arm should be near one of them; None or empty: anywhere.
        """
        if state is None:
            return ["no state of the arm has come yet: is its driver running?"]
        found = self.state_problems(state, now_s)
        if publishers != 1:
            found.append(f"{publishers} nodes send commands to the arm, there must be one: this")
        if valid_pose(state.pose) is not None:
            found += self._pose_problems(state.pose, start_poses)
        found += self._joint_problems(state.joints)
        least, left = self._limits.motion.min_manipulability, state.manipulability
        if left is None and state.joints is not None:
            left = manipulability(state.joints)
        if left is not None and not left >= least:
            found.append(
                f"the arm is near a singular pose (smallest singular value {left:.3f}, at least"
                f" {least:g}): go home first"
            )
        return found

    def state_problems(self, state: ArmState, now_s: float) -> list[str]:
        """The part that must hold while the arm moves, too."""
        guard, found = self._limits.guard, []
        age = now_s - state.stamp_s
        if not 0.0 <= age <= guard.state_age:
            found.append(f"the arm's state is {age:.2f} s old, limit {guard.state_age:.2f} s")
        if valid_pose(state.pose) is None:
            found.append("the arm reports no valid pose")
        if state.robot_mode not in (IDLE, MOVE, UNKNOWN):
            mode = MODE_NAMES.get(state.robot_mode, str(state.robot_mode))
            found.append(f"the arm's mode is {mode}, it must be idle or move")
        if state.errors:
            found.append(f"the arm reports errors: {', '.join(state.errors)}")
        rate = state.success_rate
        if rate is not None and state.robot_mode == MOVE and not rate >= guard.success_rate:
            found.append(
                f"only {rate:.0%} of the commands reach the arm in time, limit"
                f" {guard.success_rate:.0%}"
            )
        return found

    def _pose_problems(self, pose: np.ndarray, start_poses: np.ndarray | None) -> list[str]:
        low, high = np.array(self._workspace.minimum), np.array(self._workspace.maximum)
        found = []
        outside = np.maximum(low - pose[:3], pose[:3] - high)
        if outside.max() > 0:
            axis = "xyz"[int(outside.argmax())]
            found.append(f"the TCP is {outside.max():.3f} m outside the workspace along {axis}")
        if start_poses is not None and len(start_poses):
            found += self._start_problems(pose, np.asarray(start_poses, dtype=np.float64))
        return found

    def _start_problems(self, pose: np.ndarray, start_poses: np.ndarray) -> list[str]:
        guard = self._limits.guard
        away = np.linalg.norm(start_poses[:, :3] - pose[:3], axis=1)
        turned = angle_between(start_poses[:, 3:], pose[3:])
        worst = np.maximum(away / guard.start_position, turned / guard.start_rotation)
        nearest = int(worst.argmin())
        if worst[nearest] <= 1.0:
            return []
        return [
            f"the nearest start pose is {away[nearest]:.3f} m and {turned[nearest]:.2f} rad away,"
            f" limits {guard.start_position:.3f} m, {guard.start_rotation:.2f} rad: go home first"
        ]

    def _joint_problems(self, joints: np.ndarray | None) -> list[str]:
        if joints is None:
            return []
        arm, margin = self._limits.arm, self._limits.motion.joint_margin
        room = np.minimum(joints - np.array(arm.joint_minimum), arm.joint_maximum - joints)
        return [
            f"joint {i + 1} is {room[i]:.3f} rad from its limit, margin {margin:.2f} rad"
            for i in range(len(room))
            if not room[i] >= margin
        ]


class SustainedGuard:
    """Trips when a value is beyond `limit` for `time_s`; tripped until it is reset.

    A value that is not a number counts as beyond.
    """

    def __init__(self, limit: float, time_s: float) -> None:
        self.tripped = False
        self._limit = limit
        self._time_s = time_s
        self._since: float | None = None

    def push(self, value: float, now_s: float) -> bool:
        """Take a value at `now_s` [s]; whether the guard has tripped."""
        if math.isfinite(value) and value <= self._limit:
            self._since = None
            return self.tripped
        if self._since is None or now_s < self._since:
            self._since = now_s
        # Half a microsecond: two stamps that are 50 ms apart differ by a little less in floats.
        self.tripped = self.tripped or now_s - self._since >= self._time_s - 5e-7
        return self.tripped

    def reset(self) -> None:
        """Begin anew."""
        self.tripped, self._since = False, None


class ForceGuard(SustainedGuard):
    """Trips when the force on the TCP [N] is too large for longer than a moment."""

    def __init__(self, limits: RobotLimits) -> None:
        super().__init__(limits.guard.force, limits.guard.force_time)


class FollowGuard(SustainedGuard):
    """Trips when the arm does not follow: see `TargetStream.stretch` [leashes]."""

    def __init__(self, limits: RobotLimits) -> None:
        super().__init__(limits.guard.stretch, limits.guard.stretch_time)
