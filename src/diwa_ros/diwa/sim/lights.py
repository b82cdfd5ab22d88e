# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which lights are on: a level-triggered switch and an edge-triggered button."""

from __future__ import annotations

from diwa.sim.geometry import BUTTON_PRESSED, SWITCH_ON


class Lights:
    """Logic that runs once per control step, after physics.

    The bulb is on exactly while the switch is past the middle of its range. The LED toggles each
    time the button goes from not pressed to pressed.
    """

    def __init__(self) -> None:
        self.bulb = False
        self.led = False
        self._pressed = False

    def reset(self, switch: float, button: float, led: bool) -> None:
        """Start from joint positions [m] and a remembered LED; the bulb follows the switch."""
        self.bulb = switch > SWITCH_ON
        self.led = led
        self._pressed = button > BUTTON_PRESSED

    def update(self, switch: float, button: float) -> bool:
        """Take the joint positions [m] of this step; true when a light changed."""
        before = (self.bulb, self.led)
        self.bulb = switch > SWITCH_ON
        pressed = button > BUTTON_PRESSED
        if pressed and not self._pressed:
            self.led = not self.led
        self._pressed = pressed
        return before != (self.bulb, self.led)
