# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What others have to say about whether a policy may move the arm.

The emergency stop, the dead-man's switch, the arm's bridge, and the robot's contract.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from diwa_msgs.action import RunSkill
from diwa_msgs.msg import RobotStatus
from rclpy.node import Node
from std_msgs.msg import Bool

from diwa.control.deadman import DeadMan
from diwa.data.contract import Contract
from diwa_ros import qos
from diwa_ros.robot_contract import ContractWatcher
from diwa_ros.stop_inputs import StopInputs

Result = RunSkill.Result
SILENT_S = 2.0  # a bridge that has spoken and says nothing for this long is taken for dead
MOVING = (RobotStatus.READY, RobotStatus.MOVING, RobotStatus.HOLDING)  # a skill may run
STATES = {
    RobotStatus.UNCONFIGURED: "not configured",
    RobotStatus.INACTIVE: "not active",
    RobotStatus.GATED: "not ready",
    RobotStatus.STOPPED: "stopped",
    RobotStatus.REFLEX: "stopped by the arm's own protection",
    RobotStatus.HOMING: "on its way home",
}


class Outcome(NamedTuple):
    """How a skill ended: an error code of RunSkill, and the same in words."""

    code: int
    message: str


class Interlocks:
    """Listens from the node's start on.

    Args:
        node: to subscribe with.
        require_enable: whether there is a dead-man's switch.
        require_contract: whether an unknown contract of the robot is a problem.
        robot_status: topic of the bridge's status; empty: none.
        on_change: called when something was said that may end a skill.
    """

    def __init__(
        self,
        node: Node,
        *,
        require_enable: bool,
        require_contract: bool,
        robot_status: str,
        on_change: Callable[[], None],
    ) -> None:
        self._stopped = False
        self._switch = DeadMan(require_enable)
        self._require_contract = require_contract
        self._status: RobotStatus | None = None
        self._status_at = 0.0
        self._on_change = on_change
        self._contract = ContractWatcher(node)
        self._stops = StopInputs(node, self._on_estop, self._on_enable)
        if robot_status:
            node.create_subscription(RobotStatus, robot_status, self._on_status, qos.STATUS)

    def problem(self, contract: Contract, name: str) -> Outcome | None:
        """Why a policy must not move the arm; None if it may.

        Args:
            contract: of the checkpoint.
            name: of the checkpoint.
        """
        now_s = time.monotonic()
        if self._stopped:
            return Outcome(Result.STOPPED, "emergency stop: topic estop is true")
        if self._switch.released(now_s):
            return Outcome(Result.STOPPED, "the dead-man's switch is not held down: topic enable")
        if self._require_contract and self._contract.contract is None:
            return Outcome(Result.ROBOT, "no bridge publishes its contract: topic robot_contract")
        difference = self.contract_difference(contract, name)
        if difference:
            return Outcome(Result.ROBOT, difference)
        return self._robot_problem(now_s)

    def contract_difference(self, contract: Contract, name: str) -> str:
        """How the robot's contract differs; empty where it does not, or is not known."""
        return self._contract.difference(contract, name)

    def _robot_problem(self, now_s: float) -> Outcome | None:
        status = self._status
        if status is None:
            return None
        if now_s - self._status_at > SILENT_S:
            return Outcome(Result.ROBOT, f"the arm's bridge is silent for more than {SILENT_S:g} s")
        if status.state in MOVING:
            return None
        why = "; ".join(filter(None, [status.reason, *status.problems, *status.errors]))
        state = STATES.get(status.state, f"in state {status.state}")
        return Outcome(Result.ROBOT, f"the arm is {state}{': ' if why else ''}{why}")

    def _on_estop(self, message: Bool) -> None:
        self._stopped = bool(message.data)
        self._on_change()

    def _on_enable(self, message: Bool) -> None:
        self._switch.push(bool(message.data), time.monotonic())
        self._on_change()

    def _on_status(self, message: RobotStatus) -> None:
        self._status, self._status_at = message, time.monotonic()
        self._on_change()
