# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What an arm does on its own, between two skills: it recovers, or it goes home. No ROS in here."""

from __future__ import annotations

import numpy as np

from diwa.control.arm import ArmState
from diwa.control.robots import RobotLimits
from diwa.data.contract import ActionSpec
from diwa_ros.arm_homing import StraightHome
from diwa_ros.arm_rules import RunningJob
from diwa_ros.backends.base import Backend

RECOVERY_S = 30.0  # longest recovery


class Errands:
    """One at a time.

    Args:
        backend: connected.
        limits: of the robot.
        spec: units of an action.
        start_poses: (N, 7) where episodes start, if known.

    Attributes:
        straight: the way home that the bridge leads itself, while it is on it.
    """

    def __init__(
        self,
        backend: Backend,
        limits: RobotLimits,
        spec: ActionSpec,
        start_poses: np.ndarray | None,
    ) -> None:
        self.straight: StraightHome | None = None
        self._backend = backend
        self._home = limits.home
        self._limits = limits
        self._spec = spec
        self._start_poses = start_poses
        self._job: RunningJob | None = None

    @property
    def busy(self) -> bool:
        """Whether the backend works on one."""
        return self._job is not None

    def recover(self, now_s: float) -> None:
        """Have the backend clear the arm's errors."""
        self._job = RunningJob(self._backend.recover(), now_s + RECOVERY_S)

    def home(self, state: ArmState, now_s: float) -> str:
        """Begin the way home, with the backend where it can; returns why not, or empty."""
        job = self._backend.home(np.array(self._home.joints), self._home.timeout)
        if job is not None:
            self._job = RunningJob(job, now_s + self._home.timeout)
            return ""
        poses = self._start_poses
        if poses is None or not len(poses):
            return "nobody here can lead the arm home: give the bridge start_poses"
        self.straight = StraightHome(state.pose, poses, self._limits, self._spec, now_s)
        return ""

    def outcome(self, now_s: float) -> str | None:
        """Of the backend's work: empty when it has worked, else why not; None while it runs."""
        return None if self._job is None else self._job.outcome(now_s)

    def give_up(self) -> None:
        """End whatever runs."""
        job, self.straight, self._job = self._job, None, None
        if job is not None and job.give_up():
            self._backend.stop()
