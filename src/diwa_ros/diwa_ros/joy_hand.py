# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A joystick, gamepad or 3D mouse as the hand that drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from diwa.errors import ConfigError
from diwa_ros.hand_driving import RECOVER, RESET
from diwa_ros.keyboard import HOLD_S

AGE_S = 0.25  # a joystick not heard of for longer is let go
DEAD_ZONE = 0.1  # of an axis, around its middle
MOTIONS = 6


class JoyHand:
    """See `diwa_ros.hand_driving.Hand`.

    Args:
        node: to subscribe from.
        topic: of the joystick.
        axes: index of the axis for each of x, y, z, roll, pitch, yaw; below 0: none.
        buttons: index of the button for each of enable, gripper, home, recover; below 0: none.
        speed: share of the largest motion, in (0, 1].
        clock: monotonic time [s].
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        axes: Sequence[int],
        buttons: dict[str, int],
        speed: float,
        clock: Callable[[], float],
    ) -> None:
        self.gripper = 1.0
        self._axes = axes
        self._buttons = buttons
        self._speed = speed
        self._clock = clock
        self._message: Joy | None = None
        self._heard_s = 0.0
        self._grip_until = 0.0
        self._down: set[str] | None = None  # unknown before the first message
        self._wishes: list[str] = []
        node.create_subscription(Joy, topic, self._on_joy, qos_profile_sensor_data)

    def wishes(self, now_s: float) -> list[str]:
        """Home and recover, by their buttons."""
        wishes, self._wishes = self._wishes, []
        return wishes

    def action(self, now_s: float) -> np.ndarray | None:
        """Of the axes while the enabling button is held, and of the gripper's."""
        message = self._message
        if message is None or now_s - self._heard_s > AGE_S or not self._enabled():
            return None
        action = np.zeros(MOTIONS + 1, dtype=np.float32)
        for index, axis in enumerate(self._axes):
            if 0 <= axis < len(message.axes) and abs(message.axes[axis]) > DEAD_ZONE:
                action[index] = self._speed * np.clip(message.axes[axis], -1.0, 1.0)
        if not action.any() and now_s > self._grip_until:
            return None
        action[6] = self.gripper
        return action

    def _enabled(self) -> bool:
        return self._buttons["enable"] < 0 or "enable" in (self._down or ())

    def _on_joy(self, message: Joy) -> None:
        self._message, self._heard_s = message, self._clock()
        held = {index for index, value in enumerate(message.buttons) if value}
        down = {name for name, index in self._buttons.items() if index in held}
        pressed = down - self._down if self._down is not None else set()
        self._down = down
        if "gripper" in pressed and self._enabled():
            self.gripper = -self.gripper
            self._grip_until = self._heard_s + HOLD_S
        wishes = {"home": RESET, "recover": RECOVER}
        self._wishes += [wish for name, wish in wishes.items() if name in pressed]


def parse_axes(text: str) -> tuple[int, ...]:
    """Six numbers separated by commas.

    Raises:
        ConfigError: anything else.
    """
    try:
        axes = tuple(int(number) for number in text.split(","))
    except ValueError:
        axes = ()
    if len(axes) != MOTIONS:
        raise ConfigError(
            "parameter joy_axes", got=repr(text), expected="six numbers of axes: 1,0,4,-1,-1,3"
        )
    return axes
