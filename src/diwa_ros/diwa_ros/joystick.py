# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Buttons of a joystick or gamepad that start and end the recorder's episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Joy

from diwa.data.episode import EpisodeRecord, Outcome
from diwa.errors import ConfigError
from diwa_ros.recording import Recording
from diwa_ros.recording_session import RecordingSession

OUTCOMES: dict[str, Outcome] = {"success": "success", "failure": "failure", "end": "unknown"}
REASON = "by joystick"


class Joystick:
    """Listens to a joystick; a button counts when it goes down.

    Args:
        node: to subscribe from.
        topic: of the joystick.
        buttons: index of the button for each of start, success, failure, end, discard and restore;
            below 0: none.
        press: is told what is wanted, with one of these words.
    """

    def __init__(
        self, node: Node, topic: str, buttons: Mapping[str, int], press: Callable[[str], None]
    ) -> None:
        self._buttons = {index: word for word, index in buttons.items() if index >= 0}
        self._press = press
        self._down: set[int] | None = None  # unknown before the first message
        if self._buttons:
            node.create_subscription(Joy, topic, self._on_joy, qos_profile_sensor_data)

    def _on_joy(self, message: Joy) -> None:
        down = {index for index, value in enumerate(message.buttons) if value}
        pressed = down - self._down if self._down is not None else set()
        self._down = down
        for index in sorted(pressed & set(self._buttons)):
            self._press(self._buttons[index])


def press_button(
    word: str, session: RecordingSession, begin: Callable[[], Recording]
) -> Recording | EpisodeRecord | None:
    """Do what a button stands for.

    Without an open episode, an outcome relabels the last one, and discard throws it away.

    Raises:
        ConfigError: that makes no sense now, or cannot be done.
        OSError: the disk does not want to.
    """
    is_open = session.recording is not None
    if word == "start":
        return begin()
    if word == "restore":
        return session.finished.restore("")
    if word == "discard":
        if is_open:
            return session.throw_away("", "unknown", REASON)
        return session.finished.discard("", REASON)
    if is_open:
        return session.keep("", OUTCOMES[word], REASON)
    if word == "end":
        raise ConfigError("no episode is open")
    return session.finished.label("", None, OUTCOMES[word], None)
