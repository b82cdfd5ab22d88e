# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps an arm from being started, looked at once per control period. No ROS in here."""

from __future__ import annotations

from diwa.control.arm import ArmState
from diwa.control.gate import StartGate
from diwa.control.robots import RobotLimits
from diwa.data.contract import Contract
from diwa_ros.arm_guards import Guards
from diwa_ros.arm_rules import Rules
from diwa_ros.backends.base import Backend


class ArmGate:
    """Opens once nothing has been wrong for a while.

    Args:
        backend: connected.
        limits: of the robot.
        contract: of the robot.
        rules: see there.
        guards: know of the emergency stop and the dead-man's switch.
    """

    def __init__(
        self,
        backend: Backend,
        limits: RobotLimits,
        contract: Contract,
        rules: Rules,
        guards: Guards,
    ) -> None:
        self._backend = backend
        self._gate = StartGate(limits, contract.workspace)
        self._rules = rules
        self._guards = guards
        self._free_s: float | None = None  # since when nothing is wrong

    def shut(self) -> None:
        """Begin to wait anew."""
        self._free_s = None

    def opens(self, now_s: float) -> bool:
        """Whether nothing has been wrong for long enough, now that nothing is."""
        self._free_s = now_s if self._free_s is None else self._free_s
        return now_s - self._free_s >= self._rules.settle_s

    def start_problems(self, state: ArmState | None, now_s: float) -> list[str]:
        """Why the arm must not start."""
        if self._guards.estop:
            return ["the emergency stop is on"]
        others = max(self._backend.publishers(), 1)
        found = self._gate.problems(state, now_s, others, self._rules.start_poses)
        return found + self._backend.problems()

    def home_problems(self, state: ArmState | None, now_s: float) -> list[str]:
        """Why it must not even go home, from wherever it is."""
        if self._guards.estop or state is None:
            return self.start_problems(state, now_s)
        others = self._backend.publishers()
        found = self._gate.state_problems(state, now_s)
        if self._guards.switch.released(now_s):
            found.append("the dead-man's switch is released: hold it down on the way home")
        if others > 1:
            found.append(f"{others} nodes send commands to the arm")
        return found + self._backend.problems()
