# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The Franka Hand by libfranka, from a thread of its own: its commands take about a second."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

from diwa.control.gripper import GripperCommand
from diwa.control.robots import GripperLimits
from diwa_ros.backends.libfranka_link import failures, in_words, within

READ_PERIOD_S = 0.05
STOP_TIMEOUT_S = 5.0


class Hand:
    """Opens and closes; only the newest command counts.

    A command under way is stopped before another begins: closing on an object that is held, or
    opening against something, would otherwise never end.
    """

    def __init__(self, franky: ModuleType, limits: GripperLimits) -> None:
        self._limits = limits
        self._errors = failures(franky)
        self._franky = franky
        self._hand: Any = None
        self._running: Any = None  # future of the command under way
        self._wanted: GripperCommand | None = None
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.width: float | None = None  # [m]
        self.problem = ""

    def connect(self, address: str, timeout_s: float) -> None:
        """Connect and begin to listen; `ConfigError` where no hand answers."""
        self.close()
        what = f"hand at {address} (without a Franka Hand: `hand: false`)"
        hand = within(lambda: self._franky.Gripper(address), timeout_s, what, self._errors)
        self._hand, self._closing, self.problem = hand, False, ""
        self._thread = threading.Thread(target=self._work, name="hand", daemon=True)
        self._thread.start()

    def command(self, command: GripperCommand) -> None:
        """Open or close, soon."""
        self._wanted = command
        self._wake.set()

    def find_width(self) -> None:
        """Find the widest opening: opens and closes once; waits for it."""
        self._finish()
        self._hand.homing()

    def close(self) -> None:
        """Stop the thread and disconnect."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
        self._thread = self._hand = self._running = None
        self.width = None

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(READ_PERIOD_S)
            self._wake.clear()
            try:
                self._look()
                wanted, self._wanted = self._wanted, None
                if wanted is not None and not self._closing:
                    self._finish()
                    self._running = self._begin(wanted)
                    self.problem = ""
            except self._errors as error:
                self._running = None
                self.problem = f"hand: {in_words(error)}"

    def _look(self) -> None:
        self.width = float(self._hand.width)
        if self._running is not None and self._running.wait(0.0):
            ended, self._running = self._running, None
            ended.get()  # raises what the command failed with; that it held nothing is no failure

    def _begin(self, command: GripperCommand) -> Any:
        limits = self._limits
        if command is GripperCommand.OPEN:
            return self._hand.move_async(limits.max_width, limits.speed)
        margin = limits.grasp_epsilon
        return self._hand.grasp_async(0.0, limits.speed, limits.force, margin, margin)

    def _finish(self) -> None:
        if self._running is not None and not self._running.wait(0.0):
            self._hand.stop()
            self._running.wait(STOP_TIMEOUT_S)
        self._running = None
