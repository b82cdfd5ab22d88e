# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What trials are run on: the simulated table, or an arm behind a bridge."""

from __future__ import annotations

import time
from typing import Protocol

from diwa_msgs.msg import RobotStatus
from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import Trigger

from diwa.errors import ConfigError
from diwa.trials.series import Trial
from diwa_ros import qos
from diwa_ros.asking import Asking
from diwa_ros.driving import Driver

HOME_S = 60.0
FRESH_S = 2.0
SETTLE_S = 0.5  # a status that comes this soon after an answer may be older
READY = (RobotStatus.READY, RobotStatus.MOVING, RobotStatus.HOLDING)
STOPPED = (RobotStatus.STOPPED, RobotStatus.REFLEX)


class TrialRobot(Protocol):
    """Gets ready for a trial."""

    def prepare(self, trial: Trial) -> str:
        """Go to the start; returns why that was not possible, or nothing."""

    def require_fair(self) -> None:
        """Raise `ConfigError` when the trial that just ended says nothing about its policy."""


class SimulatedRobot:
    """Seeded starts by the bridge's own service."""

    def __init__(self, driver: Driver, task: str) -> None:
        self._driver = driver
        self._task = task

    def prepare(self, trial: Trial) -> str:
        """Reset the scene to the trial's start."""
        self._driver.reset(trial.seed, self._task)
        return ""

    def require_fair(self) -> None:
        """The simulation treats all alike."""


class RealRobot:
    """An arm that is led to its start pose before every trial.

    Args:
        node: to act through.
        asking: spins it.
        bridge: name of the bridge's node.
        home: lead the arm home; else a person brings it to the start.
    """

    def __init__(self, node: Node, asking: Asking, bridge: str, home: bool) -> None:
        self._asking = asking
        self._bridge = bridge
        self._leads_home = home
        self._asked = 0.0
        self._status: RobotStatus | None = None
        self._heard = 0.0
        self._slow = False
        self._home: Client = node.create_client(Trigger, f"{bridge}/home")
        node.create_subscription(RobotStatus, f"{bridge}/status", self._on_status, qos.STATUS)

    def prepare(self, trial: Trial) -> str:
        """Lead the arm home and wait until its start gate is passed."""
        self._slow = False
        self._asking.wait_until(lambda: self._fresh is not None, f"status of {self._bridge}")
        if (problem := self._stopped()) is not None:
            return problem
        if self._leads_home:
            answer = self._asking.call(self._home, Trigger.Request())
            if not answer.success:
                return f"the arm does not go home: {answer.message}"
        self._asked = time.monotonic()
        try:
            self._asking.wait_until(self._arrived, "arm at its start pose", HOME_S)
        except ConfigError as error:
            status = self._fresh
            problems = ", ".join(status.problems) if status is not None else ""
            return f"{error}; {problems}" if problems else str(error)
        return self._stopped() or ""

    def require_fair(self) -> None:
        """Both policies must have moved at full speed."""
        if self._slow:
            raise ConfigError(
                f"{self._bridge} slowed the arm down: a checkpoint is new to it",
                hint="run the skill once with each checkpoint, watch it, call "
                f"{self._bridge}/confirm after each, and go on with the same command; this trial "
                "is done again",
            )

    @property
    def _fresh(self) -> RobotStatus | None:
        return self._status if time.monotonic() - self._heard < FRESH_S else None

    def _stopped(self) -> str | None:
        status = self._fresh
        if status is None or status.state not in STOPPED:
            return None
        return f"the arm has stopped: {status.reason}; call {self._bridge}/recover"

    def _arrived(self) -> bool:
        status = self._fresh
        if status is None or self._heard - self._asked < SETTLE_S:
            return False
        return status.state in (*READY, *STOPPED)

    def _on_status(self, status: RobotStatus) -> None:
        self._status, self._heard = status, time.monotonic()
        self._slow |= status.state == RobotStatus.MOVING and status.speed_scale < 1.0
