# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The Franka Hand by libfranka, from a thread of its own: its commands take about a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import ModuleType
from typing import Any

from diwa.control.gripper import GripperCommand
from diwa.control.robots import GripperLimits
from diwa_ros.backends.libfranka_link import failures, in_words, within

READ_PERIOD_S = 0.05
STOP_TIMEOUT_S = 2.0
EXTRA_TIME_S = 1.0  # beyond the way there and back, for a command to end by itself


class Hand:
    """Opens and closes; only the newest command counts.

    One command follows another. One that does not end, as an opening that something blocks, is
    stopped when the next is due.

    Attributes:
        width: of the opening [m], as of late; None: not known.
        problem: why the hand does not do what it should, in words.
        lost: it has to be connected again.
    """

    def __init__(self, franky: ModuleType, limits: GripperLimits) -> None:
        self.width: float | None = None
        self.problem = ""
        self.lost = False
        self._limits = limits
        self._franky = franky
        self._errors = failures(franky)
        self._hand: Any = None
        self._running: Any = None  # future of the command under way
        self._ends_s = 0.0  # by when it should end
        self._wanted: deque[GripperCommand | None] = deque(maxlen=1)  # None: find the width
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._dead: list[Any] = []  # their destructors would wait for ever

    def connect(self, address: str, timeout_s: float) -> None:
        """Connect and begin to listen; `ConfigError` where no hand answers."""
        self.close()
        what = f"hand at {address} (without a Franka Hand: `hand: false`)"
        self._hand = within(lambda: self._franky.Gripper(address), timeout_s, what, self._errors)
        self._closing, self.problem, self.lost = False, "", False
        self._thread = threading.Thread(target=self._work, name="hand", daemon=True)
        self._thread.start()

    def command(self, command: GripperCommand) -> None:
        """Open or close, soon."""
        self._wanted.append(command)
        self._wake.set()

    def find_width(self) -> None:
        """Find the widest opening, soon: opens and closes once."""
        self._wanted.append(None)
        self._wake.set()

    def close(self) -> None:
        """Stop the thread and disconnect."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S + EXTRA_TIME_S)
            if self._thread.is_alive() or self._running is not None:
                self._dead.append(self._hand)
        self._thread = self._hand = self._running = self.width = None
        self._wanted.clear()

    def _work(self) -> None:
        while not self._closing and not self.lost:
            self._wake.wait(READ_PERIOD_S)
            self._wake.clear()
            try:
                self._step()
            except self._errors as error:
                self._running = None
                self.lost = isinstance(error, self._franky.NetworkException | TimeoutError)
                lost = ": connection lost, call ~/recover" if self.lost else ""
                self.problem = f"hand{lost} ({in_words(error)})"

    def _step(self) -> None:
        self.width = float(self._hand.width)
        if self._running is not None:
            self._follow()
        if self._running is None and self._wanted and not self._closing:
            self._running = self._begin(self._wanted.popleft())
            way_s = 2 * self._limits.max_width / self._limits.speed
            self._ends_s = time.monotonic() + way_s + EXTRA_TIME_S
            self.problem = ""

    def _follow(self) -> None:
        if not self._running.wait(0.0):
            if not self._wanted or time.monotonic() < self._ends_s:
                return
            self._hand.stop()
            if not self._running.wait(STOP_TIMEOUT_S):
                self._dead.append(self._hand)
                raise TimeoutError("a command does not end")
        ended, self._running = self._running, None
        ended.get()  # raises what the command failed with; that it held nothing is no failure

    def _begin(self, command: GripperCommand | None) -> Any:
        limits, margin = self._limits, self._limits.grasp_epsilon
        if command is None:
            return self._hand.homing_async()
        if command is GripperCommand.OPEN:
            return self._hand.move_async(limits.max_width, limits.speed)
        return self._hand.grasp_async(0.0, limits.speed, limits.force, margin, margin)
