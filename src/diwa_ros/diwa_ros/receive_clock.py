# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The clock by which the recorder stamps what it receives."""

from __future__ import annotations

import time
from collections.abc import Callable

JUMP_NS = 100_000_000  # of the system clock between two looks at it


class ReceiveClock:
    """System time that goes on steadily when the system's clock is set."""

    def __init__(
        self,
        system_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._system_ns = system_ns
        self._steady_ns = steady_ns
        self._ahead_ns = self._seen_ns = system_ns() - steady_ns()

    def now_ns(self) -> int:
        """The time [ns]."""
        return self._steady_ns() + self._ahead_ns

    def follow(self) -> None:
        """Take over the system's time, between two episodes."""
        self._ahead_ns = self._seen_ns = self._system_ns() - self._steady_ns()

    def jump_ns(self) -> int:
        """By how much the system's clock was set since the last call; 0: it was not."""
        ahead_ns = self._system_ns() - self._steady_ns()
        jump_ns, self._seen_ns = ahead_ns - self._seen_ns, ahead_ns
        return jump_ns if abs(jump_ns) > JUMP_NS else 0
