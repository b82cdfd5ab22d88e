# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From chunks to targets and gripper commands for a backend. No ROS in here."""

from __future__ import annotations

import numpy as np

from diwa.control.arm import ArmState
from diwa.control.filter import SafeAction
from diwa.control.gripper import GripperCommand, GripperLogic
from diwa.control.robots import RobotLimits
from diwa.control.schedule import ChunkSchedule
from diwa.control.targets import TargetStream
from diwa.data.contract import Contract
from diwa_ros.backends.base import Backend
from diwa_ros.table import Executed

SIDES = {GripperCommand.OPEN: 1.0, GripperCommand.CLOSE: -1.0}


class ArmMotion:
    """The stream of targets, from its beginning at the measured pose to its end.

    Args:
        backend: connected.
        limits: of the robot.
        contract: of the robot.
        fade_steps: see `ChunkSchedule`.

    Attributes:
        sending: targets are sent.
        rejected: actions in a row, up to the latest, that were no numbers.
        steps: control steps with an action of a chunk, so far.
        targets: the desired pose.
        schedule: the chunks.
    """

    def __init__(
        self, backend: Backend, limits: RobotLimits, contract: Contract, fade_steps: int
    ) -> None:
        self.sending = False
        self.rejected = 0
        self.steps = 0
        self.targets = TargetStream(limits, contract)
        self.schedule = ChunkSchedule(contract.action, contract.period_ns, fade_steps)
        self._backend = backend
        self._open_m = limits.gripper.max_width / 2  # a wider hand is open
        hand = limits.gripper
        self._hand = GripperLogic(hand.hysteresis, hand.votes, hand.lockout)

    @property
    def commanded_width(self) -> float:
        """Width of the gripper [m] as it was told last."""
        return 2 * self._open_m if self.gripper > 0 else 0.0

    @property
    def gripper(self) -> float:
        """What the gripper was told last: 1 open, -1 close."""
        state = self._hand.state
        return SIDES[state] if state is not None else self.targets.gripper

    def begin(self, state: ArmState) -> bool:
        """Begin to send targets, at the measured pose; false where that is none."""
        gripper = None
        if self._hand.state is None and state.gripper_width is not None:
            is_open = state.gripper_width > self._open_m
            self._hand.seed(GripperCommand.OPEN if is_open else GripperCommand.CLOSE)
            gripper = self.gripper
        self.schedule.flush()
        if not self.targets.seed(state.pose, gripper):
            return False
        self._backend.start(self.targets.desired)
        self.rejected = 0
        self.sending = True
        return True

    def end(self) -> None:
        """Send nothing more."""
        self.schedule.flush()
        if self.sending:
            self.sending = False
            self._backend.stop()

    def halt(self, stamp_ns: int) -> None:
        """End with the pose where the last target was."""
        if self.sending:
            self.targets.hold()
            self._backend.hold()
            self._backend.send(self.targets.sample(1.0), stamp_ns)
        self.end()

    def act(
        self, action: np.ndarray, state: ArmState, scale: float, now_s: float, stamp_ns: int
    ) -> Executed:
        """One control step with an action of a chunk."""
        safe = self.targets.step(action, state.pose, scale, state.joints)
        self.rejected = self.rejected + 1 if safe.rejected else 0
        if not safe.rejected:
            command = self._hand.push(float(action[6]), now_s)
            if command is not None:
                self._backend.gripper(command)
        self.steps += 1
        return Executed(stamp_ns, action, self._with_gripper(safe), held=False)

    def lead(self, action: np.ndarray, state: ArmState, scale: float, stamp_ns: int) -> Executed:
        """One control step on the bridge's own account; nobody has asked for this action."""
        safe = self.targets.step(action, state.pose, scale, state.joints)
        return Executed(stamp_ns, self._nothing(), self._with_gripper(safe), held=True)

    def hold(self, state: ArmState, stamp_ns: int) -> Executed:
        """One control step without an action: come to rest, and stay."""
        safe = self.targets.step(None, state.pose)
        return Executed(stamp_ns, self._nothing(), self._with_gripper(safe), held=True)

    def idle(self, stamp_ns: int) -> Executed:
        """One control step in which nothing is sent."""
        nothing = self._nothing()
        return Executed(stamp_ns, nothing, SafeAction(nothing, False, False, False, False), True)

    def send(self, share: float, stamp_ns: int) -> bool:
        """Send the target at a share of the control period; false when nothing is sent."""
        if self.sending:
            self._backend.send(self.targets.sample(share), stamp_ns)
        return self.sending

    def stretch(self, state: ArmState | None) -> float:
        """How far the desired pose is from the measured one [leashes]; 0 when nothing is sent."""
        if not self.sending or state is None:
            return 0.0
        return self.targets.stretch(state.pose)

    def _nothing(self) -> np.ndarray:
        return np.array([0.0] * 6 + [self.gripper], dtype=np.float32)

    def _with_gripper(self, safe: SafeAction) -> SafeAction:
        """What the hand was really told, instead of what was asked for."""
        return safe._replace(action=np.append(safe.action[:6], self.gripper).astype(np.float32))
