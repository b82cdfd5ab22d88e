# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the hand's thread makes of commands, with a stand-in for franky's gripper."""

from __future__ import annotations

import builtins
import threading
from types import ModuleType

import pytest

from diwa.control.gripper import GripperCommand
from diwa.control.robots import GripperLimits
from diwa.errors import ConfigError
from diwa_ros.backends import libfranka_hand
from diwa_ros.backends.libfranka_hand import Hand
from waiting import until

OPEN, CLOSE = GripperCommand.OPEN, GripperCommand.CLOSE
LIMITS = GripperLimits(speed=100.0)  # in a moment


class FakeFuture:
    def __init__(self):
        self.ended = threading.Event()
        self.error = None

    def wait(self, timeout):
        return self.ended.wait(timeout)

    def get(self):
        if self.error:
            raise self.error
        return True


class FakeHand:
    """Commands end when the test says so; `stops` ends the one under way, unless it is deaf."""

    def __init__(self):
        self.begun = []
        self.stops = 0
        self.deaf = False
        self.broken = None

    @property
    def width(self):
        if self.broken:
            raise self.broken
        return 0.05

    def stop(self):
        self.stops += 1
        if not self.deaf:
            self.begun[-1][1].ended.set()

    def _begin(self, *what):
        self.begun.append((what, FakeFuture()))
        return self.begun[-1][1]

    def move_async(self, width, speed):
        return self._begin("move", width)

    def grasp_async(self, width, speed, force, inner, outer):
        return self._begin("grasp", width, force)

    def homing_async(self):
        return self._begin("homing")


@pytest.fixture
def franky(monkeypatch):
    module = ModuleType("franky")
    module.Exception = type("Exception", (builtins.Exception,), {})
    module.GripperException = type("GripperException", (builtins.Exception,), {})
    module.NetworkException = type("NetworkException", (module.Exception,), {})
    module.CommandException = type("CommandException", (module.Exception,), {})
    module.hands = []

    def connect(address):
        module.hands.append(FakeHand())
        return module.hands[-1]

    module.Gripper = connect
    monkeypatch.setattr(libfranka_hand, "EXTRA_TIME_S", 0.02)
    monkeypatch.setattr(libfranka_hand, "STOP_TIMEOUT_S", 0.2)
    return module


@pytest.fixture
def hand(franky):
    hand = Hand(franky, LIMITS)
    hand.connect("10.0.0.1", 5.0)
    yield hand
    hand.close()


def test_commands_follow_one_another_and_only_the_newest_counts(hand, franky):
    fake = franky.hands[0]
    hand.command(CLOSE)
    (what, running) = until(lambda: fake.begun)[0]
    assert what == ("grasp", 0.0, LIMITS.force)
    hand.command(CLOSE)
    hand.command(OPEN)
    running.ended.set()
    until(lambda: len(fake.begun) == 2)
    assert fake.begun[1][0] == ("move", LIMITS.max_width)
    assert hand.width == 0.05


def test_command_that_does_not_end_is_stopped_when_the_next_is_due(hand, franky):
    fake = franky.hands[0]
    hand.command(OPEN)
    until(lambda: fake.begun)
    hand.command(CLOSE)
    until(lambda: len(fake.begun) == 2)
    assert fake.stops == 1


def test_failure_is_told_until_a_command_works(hand, franky):
    fake = franky.hands[0]
    hand.command(OPEN)
    running = until(lambda: fake.begun)[0][1]
    running.error = franky.CommandException("libfranka gripper: command failed")
    running.ended.set()
    until(lambda: hand.problem)
    assert "command failed" in hand.problem
    assert not hand.lost
    hand.command(CLOSE)
    until(lambda: len(fake.begun) == 2)
    until(lambda: not hand.problem)


def test_hand_that_never_answers_again_has_to_be_connected_anew(hand, franky):
    fake = franky.hands[0]
    fake.deaf = True
    hand.command(OPEN)
    until(lambda: fake.begun)
    hand.command(CLOSE)
    until(lambda: hand.lost)
    assert "recover" in hand.problem
    hand.connect("10.0.0.1", 5.0)
    assert not hand.problem
    hand.command(CLOSE)
    until(lambda: franky.hands[1].begun)


def test_lost_connection_is_told(hand, franky):
    franky.hands[0].broken = franky.NetworkException("libfranka: UDP receive: Timeout")
    until(lambda: hand.lost)
    assert "connection lost" in hand.problem


def test_homing_is_a_command_like_others(hand, franky):
    hand.find_width()
    assert until(lambda: franky.hands[0].begun)[0][0] == ("homing",)


def test_arm_without_a_hand_is_told_what_to_set(franky):
    def refuse(address):
        raise franky.NetworkException("libfranka gripper: Connection error")

    franky.Gripper = refuse
    with pytest.raises(ConfigError, match="hand: false"):
        Hand(franky, LIMITS).connect("10.0.0.1", 5.0)
