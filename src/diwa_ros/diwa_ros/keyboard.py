# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal as actions.

A terminal tells of key presses and repeats, not of releases: a key counts as held until a short
time has passed without a repeat.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import IO

import numpy as np

from diwa.errors import ConfigError
from diwa_ros.hand_driving import QUIT

HOLD_S = 0.15  # a key press counts for this long, a repeat extends it
MOTIONS: dict[str, tuple[int, float]] = {
    "w": (1, 1.0),  # index into the action, direction
    "s": (1, -1.0),
    "d": (0, 1.0),
    "a": (0, -1.0),
    "r": (2, 1.0),
    "f": (2, -1.0),
    "i": (4, 1.0),
    "k": (4, -1.0),
    "u": (3, 1.0),
    "o": (3, -1.0),
    "j": (5, 1.0),
    "l": (5, -1.0),
}
GRIPPER = " "
HELP = """\
  w/s  y + / -      r/f  z + / -      a/d  x - / +
  u/o  roll + / -   i/k  pitch + / -  j/l  yaw + / -
  space  gripper open / close
  1 start an episode   2 end: success   3 end: failure   0 end: discard
  9 reset the scene; a real arm: go home   8 recover a real arm   q quit"""


class Keys:
    """What is held now.

    Args:
        speed: share of the largest motion, in (0, 1].

    Attributes:
        gripper: -1 closed, 1 open; toggled by the space bar.
    """

    def __init__(self, speed: float) -> None:
        self.gripper = 1.0
        self._speed = speed
        self._until: dict[str, float] = {}

    def press(self, key: str, now_s: float) -> bool:
        """Take a key; false when it is none of a motion or the gripper."""
        if key == GRIPPER:
            self.gripper = -self.gripper
            self._until[GRIPPER] = now_s + HOLD_S
        elif key in MOTIONS:
            self._until[key] = now_s + HOLD_S
        else:
            return False
        return True

    def action(self, now_s: float) -> np.ndarray | None:
        """The action (7,) float32 of the held keys; None when none is held."""
        held = [key for key, until in self._until.items() if until > now_s]
        if not held:
            return None
        action = np.zeros(7, dtype=np.float32)
        for key in held:
            if key in MOTIONS:
                index, direction = MOTIONS[key]
                action[index] += self._speed * direction
        action[6] = self.gripper
        return action


class Terminal:
    """Standard input, key by key, for the length of a `with` block."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._descriptor = (stream or sys.stdin).fileno()
        if not os.isatty(self._descriptor):
            raise ConfigError(
                "keyboard mode without a terminal",
                hint="run teleop in a terminal of its own, not from a launch file",
            )

    def read(self) -> str:
        """The keys pressed since the last call."""
        pressed = ""
        while select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, 64)
            if not data:
                return pressed + QUIT  # the terminal is gone
            pressed += data.decode("utf-8", "ignore")
        return pressed

    def __enter__(self) -> Terminal:
        self._saved = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)


class KeyHand(Keys):
    """Keys of a terminal as a hand, see `diwa_ros.hand_driving.Hand`.

    Args:
        terminal: that is typed in.
        speed: share of the largest motion, in (0, 1].
    """

    def __init__(self, terminal: Terminal, speed: float) -> None:
        super().__init__(speed)
        self._terminal = terminal

    def wishes(self, now_s: float) -> list[str]:
        """Keys that are neither motions nor the gripper."""
        return [key for key in self._terminal.read() if not self.press(key, now_s)]
