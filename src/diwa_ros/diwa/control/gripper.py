# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""When to open and when to close a hand that needs a second for each.

A hand of this kind cannot be streamed: it gets a command only where the answer has changed, a few
steps agree, and the command before was not just now.
"""

from __future__ import annotations

import enum
import math


class GripperCommand(enum.Enum):
    """What a hand can be told."""

    OPEN = "open"
    CLOSE = "close"


class GripperLogic:
    """Turns gripper values into commands.

    Args:
        hysteresis: values from above it are for open, below its negative for closed; between, none.
        votes: successive values that must agree.
        lockout_s: shortest time between two commands [s].
    """

    def __init__(self, hysteresis: float = 0.2, votes: int = 3, lockout_s: float = 0.6) -> None:
        self.state: GripperCommand | None = None  # last commanded
        self._hysteresis = hysteresis
        self._votes = votes
        self._lockout_s = lockout_s
        self._candidate: GripperCommand | None = None
        self._count = 0
        self._commanded_s: float | None = None

    def push(self, value: float, now_s: float) -> GripperCommand | None:
        """The command that the value (positive: open) of one control step leads to, or None."""
        wanted = self._wanted(value)
        self._count = self._count + 1 if wanted is self._candidate else 1
        self._candidate = wanted
        if wanted is None or wanted is self.state or self._count < self._votes:
            return None
        if self._locked(now_s):
            return None
        self.state, self._commanded_s = wanted, now_s
        return wanted

    def seed(self, state: GripperCommand | None) -> None:
        """What the hand is known to do, for instance from its width; None: not known."""
        self.state = state
        self._candidate, self._count = None, 0

    def _wanted(self, value: float) -> GripperCommand | None:
        if not math.isfinite(value) or abs(value) <= self._hysteresis:
            return None
        return GripperCommand.OPEN if value > 0 else GripperCommand.CLOSE

    def _locked(self, now_s: float) -> bool:
        if self._commanded_s is None:
            return False
        self._commanded_s = min(self._commanded_s, now_s)  # a clock set back locks no longer
        return now_s - self._commanded_s < self._lockout_s
