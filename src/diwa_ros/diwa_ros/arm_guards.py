# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What may stop a moving arm, looked at once per control period. No ROS in here."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from diwa.control.arm import IDLE, MODE_NAMES, MOVE, REFLEX, UNKNOWN, ArmState
from diwa.control.deadman import DeadMan
from diwa.control.filter import valid_pose
from diwa.control.gate import FollowGuard, ForceGuard
from diwa.control.robots import RobotLimits


class Phase(IntEnum):
    """What the bridge does; the values are those of diwa_msgs/RobotStatus."""

    UNCONFIGURED = 0
    INACTIVE = 1
    GATED = 2
    READY = 3
    MOVING = 4
    HOLDING = 5
    STOPPED = 6
    REFLEX = 7
    HOMING = 8


class Verdict(NamedTuple):
    """What is to be done about a moving arm."""

    phase: Phase  # HOLDING, STOPPED or REFLEX
    reason: str
    at_once: bool = False  # send nothing more; else come to rest first


class Guards:
    """Everything that stops a moving arm but the lack of actions.

    Args:
        limits: of the robot.
        require_enable: a dead-man's switch must be held.
        stop_after_s: a state older than this stops; until then the arm holds [s].

    Attributes:
        estop: the emergency stop is on.
        switch: the dead-man's switch.
    """

    def __init__(self, limits: RobotLimits, require_enable: bool, stop_after_s: float) -> None:
        self.estop = False
        self.switch = DeadMan(require_enable, limits.guard.enable_age)
        self._limits = limits
        self._stop_after_s = stop_after_s
        self._force = ForceGuard(limits)
        self._follow = FollowGuard(limits)

    def reset(self) -> None:
        """Forget what has been measured."""
        self._force.reset()
        self._follow.reset()

    def verdict(
        self,
        state: ArmState | None,
        now_s: float,
        publishers: int,
        problems: list[str],
        stretch: float,
    ) -> Verdict | None:
        """What is to be done; None: go on.

        Args:
            state: the newest state of the arm.
            now_s: time of the same clock as its stamp [s].
            publishers: nodes that send commands, this one included.
            problems: of the backend.
            stretch: distance of the desired pose from the measured one [leashes].
        """
        if self.estop:
            return Verdict(Phase.STOPPED, "emergency stop")
        if publishers > 1:
            others = f"{publishers - 1} other node(s) send commands to the arm"
            return Verdict(Phase.STOPPED, others, at_once=True)
        if problems:
            return Verdict(Phase.STOPPED, "; ".join(problems), at_once=True)
        return (
            self._arm_verdict(state)
            or self._age_verdict(state, now_s)
            or self._measured_verdict(state, now_s, stretch)
            or self._switch_verdict(now_s)
        )

    def must_end(self, state: ArmState | None, publishers: int, problems: list[str]) -> bool:
        """Whether an arm that comes to rest must not be sent even its last target any more."""
        return publishers > 1 or bool(problems) or self._arm_verdict(state) is not None

    def _arm_verdict(self, state: ArmState | None) -> Verdict | None:
        if state is None:
            return Verdict(Phase.STOPPED, "the arm's state is lost", at_once=True)
        if state.errors or state.robot_mode == REFLEX:
            names = ", ".join(state.errors) or "no error is named"
            return Verdict(Phase.REFLEX, f"the arm stopped itself: {names}", at_once=True)
        if state.robot_mode not in (IDLE, MOVE, UNKNOWN):
            mode = MODE_NAMES.get(state.robot_mode, str(state.robot_mode))
            return Verdict(Phase.STOPPED, f"the arm's mode is {mode}", at_once=True)
        return None

    def _age_verdict(self, state: ArmState | None, now_s: float) -> Verdict | None:
        assert state is not None, "looked at before"
        age = now_s - state.stamp_s
        if age <= self._limits.guard.state_age:
            if valid_pose(state.pose) is None:
                return Verdict(Phase.STOPPED, "the arm reports no valid pose", at_once=True)
            return None
        text = f"the arm's state is {age:.2f} s old"
        return Verdict(Phase.STOPPED if age > self._stop_after_s else Phase.HOLDING, text)

    def _measured_verdict(
        self, state: ArmState | None, now_s: float, stretch: float
    ) -> Verdict | None:
        assert state is not None, "looked at before"
        if state.force is not None:
            force = float(np.linalg.norm(state.force[:3]))
            if self._force.push(force, now_s):
                limit = self._limits.guard.force
                return Verdict(Phase.STOPPED, f"force guard: {force:.0f} N, limit {limit:.0f} N")
        if self._follow.push(stretch, now_s):
            return Verdict(Phase.STOPPED, "the arm does not follow its targets")
        return None

    def _switch_verdict(self, now_s: float) -> Verdict | None:
        if self.switch.released(now_s):
            return Verdict(Phase.HOLDING, "the dead-man's switch is released")
        return None
