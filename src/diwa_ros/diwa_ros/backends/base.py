# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the bridge needs of whatever moves the arm.

A backend does no arithmetic and takes no decisions: it hands on what the bridge says, and tells
what it sees. Nothing here may wait, except `connect` and `close`: everything is called from the
thread that streams.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from rclpy.node import Node

from diwa.data.contract import Contract

if TYPE_CHECKING:
    from diwa.control.arm import ArmState
    from diwa.control.gripper import GripperCommand
    from diwa.control.robots import RobotLimits
    from diwa.control.targets import Target

# Result: empty when it worked, else why it did not, in words.
Job = Future[str]


class Setup(NamedTuple):
    """What a backend is made from."""

    node: Node
    limits: RobotLimits
    contract: Contract
    preset: Path  # YAML with the backend's own settings
    robot_ip: str  # of the control box, for backends that talk to it themselves
    command_rate_hz: float  # at which `send` will be called


class Backend(Protocol):
    """One way to an arm. Every module of a backend has `make(setup: Setup) -> Backend`."""

    name: str

    def connect(self) -> None:
        """Make everything ready; nothing moves. `ConfigError` where that is impossible."""

    def state(self) -> ArmState | None:
        """The newest state of the arm; None before the first."""

    def start(self, pose: np.ndarray) -> None:
        """Begin to stream; the first targets will be at `pose`, (7,), where the arm is."""

    def send(self, target: Target, stamp_ns: int) -> None:
        """Hand on a target, meant for `stamp_ns` [ns] of ROS time."""

    def hold(self) -> None:
        """The arm is to stay where its last target is, whatever is still under way."""

    def stop(self) -> None:
        """Stop streaming; harmless when nothing streams."""

    def gripper(self, command: GripperCommand) -> None:
        """Open or close; a command that is still under way is given up."""

    def home(self, joints: np.ndarray, timeout_s: float) -> Job | None:
        """Move slowly to joint positions (7,) [rad]; None where this backend cannot.

        The bridge does not stream meanwhile; where this is None, it leads the arm there itself.
        """

    def recover(self) -> Job:
        """Clear the arm's errors, so that it can be moved again; nothing moves."""

    def publishers(self) -> int:
        """How many nodes send commands on the way that this backend uses; itself included."""

    def problems(self) -> list[str]:
        """What keeps the arm from being moved, in words; empty when nothing does."""

    def notes(self) -> list[str]:
        """What does not work here and is not needed to move the arm, in words."""

    def close(self) -> None:
        """Let go of everything; harmless when nothing is held."""


def finished(problem: str = "") -> Job:
    """A job that has already ended."""
    job: Job = Future()
    job.set_result(problem)
    return job
