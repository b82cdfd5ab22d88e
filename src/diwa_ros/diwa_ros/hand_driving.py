# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Driving by a person's hand, whatever it holds: a keyboard or a joystick."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from diwa_msgs.srv import EndEpisode

from diwa.errors import ConfigError
from diwa_ros.driving import Driver

START, SUCCESS, FAILURE, DISCARD, RESET, RECOVER, QUIT = "1", "2", "3", "0", "9", "8", "q"
ENDS = {
    SUCCESS: (EndEpisode.Request.SUCCESS, False),
    FAILURE: (EndEpisode.Request.FAILURE, False),
    DISCARD: (EndEpisode.Request.UNKNOWN, True),
}


class Hand(Protocol):
    """What a person holds.

    Attributes:
        gripper: -1 closed, 1 open; in the beginning 1.
    """

    gripper: float

    def wishes(self, now_s: float) -> list[str]:
        """What is wanted since the last call: START and so on; others mean nothing."""

    def action(self, now_s: float) -> np.ndarray | None:
        """The action (7,) float32 in [-1, 1] that is wanted now; None: none."""


class HandDriving:
    """One action per observation while the hand moves, at the control rate at most.

    Args:
        driver: of the robot.
        hand: of the person.
        period_s: of control [s].
        task: of the episodes that are recorded; empty: play.
        note: of these episodes.
    """

    def __init__(self, driver: Driver, hand: Hand, period_s: float, task: str, note: str) -> None:
        self._driver = driver
        self._hand = hand
        self._period_s = period_s
        self._task = task
        self._note = note
        self._sent_at, self._sent_for = 0.0, -1
        self._knows_gripper = False

    def step(self) -> bool:
        """Handle one event; false when the person has had enough."""
        self._driver.spin_once()
        now = time.monotonic()
        for wish in self._hand.wishes(now):
            if wish == QUIT:
                return False
            try:
                self._fulfil(wish)
            except ConfigError as error:  # a refusal: the person sees it and goes on
                self._driver.logger.error(str(error))
        self._move(now)
        return True

    def _move(self, now_s: float) -> None:
        seen = self._driver.latest
        if seen is None:
            return
        if not self._knows_gripper:  # the first motion must not open a closed hand
            self._hand.gripper *= float(seen.robot_obs[14])  # turned by who pressed before
            self._knows_gripper = True
        action = self._hand.action(now_s)
        due = now_s - self._sent_at >= self._period_s and seen.stamp_ns != self._sent_for
        if action is not None and due:
            self._driver.send(action, seen)
            self._sent_at, self._sent_for = now_s, seen.stamp_ns

    def _fulfil(self, wish: str) -> None:
        driver = self._driver
        if wish == RESET and driver.simulated:
            driver.reset(-1, self._task)
            self._hand.gripper, self._knows_gripper = 1.0, False
        elif wish == RESET:
            driver.home()
        elif wish == RECOVER and not driver.simulated:
            driver.recover()
        elif wish == START:
            driver.start_episode(self._task, self._note, driver.observe())
        elif wish in ENDS:
            outcome, discard = ENDS[wish]
            driver.end_episode(driver.observe(), outcome, "by hand", discard=discard)
