# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The switch that a person holds down while the arm may move."""

from __future__ import annotations

from diwa.control.watchdog import Watchdog


class DeadMan:
    """Released until it is pressed, and again when it is not heard of for `timeout_s`.

    Args:
        required: false: there is no switch, and it counts as pressed.
        timeout_s: longest silence [s].
    """

    def __init__(self, required: bool, timeout_s: float = 0.25) -> None:
        self.required = required
        self._watchdog = Watchdog(timeout_s)

    def push(self, pressed: bool, now_s: float) -> None:
        """The switch said whether it is pressed, at `now_s` [s]."""
        if pressed:
            self._watchdog.feed(now_s)
        else:
            self._watchdog.reset()

    def released(self, now_s: float) -> bool:
        """Whether the arm must not move at `now_s` [s]."""
        return self.required and self._watchdog.expired(now_s)
