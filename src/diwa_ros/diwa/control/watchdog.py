# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Notices that commands have stopped coming."""

from __future__ import annotations


class Watchdog:
    """Expired when it was not fed for longer than `timeout_s`, and until it is fed at all.

    Time is passed in, so that wall clocks, simulated clocks and tests are alike.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._fed: float | None = None

    def feed(self, now_s: float) -> None:
        """A command came at `now_s` [s]."""
        self._fed = now_s

    def expired(self, now_s: float) -> bool:
        """Whether at `now_s` [s] the last command is too old; a clock set back counts as well."""
        if self._fed is None:
            return True
        return not 0.0 <= now_s - self._fed <= self.timeout_s

    def reset(self) -> None:
        """Forget the last command."""
        self._fed = None
