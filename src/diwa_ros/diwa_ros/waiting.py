# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Coroutines of a node that wait for a condition, which messages or time make true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from rclpy.task import Future


class _Waiting(NamedTuple):
    condition: Callable[[], bool]
    deadline_s: float  # on the monotonic clock
    woken: Future[None]


class Waiting:
    """Everything that waits now; `check` is to be called when something may have changed."""

    def __init__(self) -> None:
        self._all: list[_Waiting] = []

    async def until(self, condition: Callable[[], bool], timeout_s: float = float("inf")) -> bool:
        """Wait until `condition()` is true; whether it is, after `timeout_s` at the latest."""
        if condition():
            return True
        entry = _Waiting(condition, time.monotonic() + timeout_s, Future())
        self._all.append(entry)
        await entry.woken
        return condition()

    def check(self) -> None:
        """Wake those whose condition is true or whose time is up."""
        if not self._all:
            return
        now = time.monotonic()
        due = [entry for entry in self._all if entry.condition() or now > entry.deadline_s]
        self._all = [entry for entry in self._all if entry not in due]
        for entry in due:
            entry.woken.set_result(None)
