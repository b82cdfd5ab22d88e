# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A hand that needs a second per command gets few of them, and only when they mean something."""

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from diwa.control.gripper import GripperCommand, GripperLogic

OPEN, CLOSE = GripperCommand.OPEN, GripperCommand.CLOSE
PERIOD = 1 / 30


def push_all(logic, values, start=0.0):
    """Commands with the index of the value that led to them."""
    commands = [(i, logic.push(v, start + i * PERIOD)) for i, v in enumerate(values)]
    return [(i, command) for i, command in commands if command is not None]


def test_command_needs_votes_that_agree_in_a_row():
    logic = GripperLogic(votes=3)
    assert push_all(logic, [-1, -1, 1, -1, -1, 1]) == []
    assert push_all(logic, [-1, -1, -1, -1, -1], start=1.0) == [(2, CLOSE)]


def test_command_is_given_at_the_change_only():
    logic = GripperLogic(votes=1, lockout_s=0.1)
    values = [1] * 10 + [-1] * 10 + [1] * 10
    assert push_all(logic, values) == [(0, OPEN), (10, CLOSE), (20, OPEN)]


def test_values_in_the_middle_and_no_numbers_are_no_vote():
    logic = GripperLogic(hysteresis=0.2, votes=2)
    assert push_all(logic, [-0.2, -0.1, 0.0, 0.2, math.nan, -math.inf, 0.19]) == []
    assert push_all(logic, [-1, 0.0, -1, math.nan, -1]) == []


def test_opposite_command_waits_for_the_lockout_and_then_comes():
    logic = GripperLogic(votes=1, lockout_s=0.6)
    assert logic.push(-1.0, 10.0) is CLOSE
    assert logic.push(1.0, 10.3) is None
    assert logic.push(1.0, 10.59) is None
    assert logic.push(1.0, 10.61) is OPEN


def test_change_of_mind_during_the_lockout_is_no_command():
    logic = GripperLogic(votes=1, lockout_s=0.6)
    assert logic.push(-1.0, 0.0) is CLOSE
    assert logic.push(1.0, 0.3) is None
    assert logic.push(-1.0, 0.7) is None


def test_clock_set_back_does_not_lock_the_hand_for_long():
    logic = GripperLogic(votes=1, lockout_s=0.6)
    assert logic.push(-1.0, 1000.0) is CLOSE
    assert logic.push(1.0, 5.0) is None
    assert logic.push(1.0, 5.7) is OPEN


def test_hand_known_to_be_open_is_not_told_to_open():
    logic = GripperLogic(votes=1)
    logic.seed(OPEN)
    assert push_all(logic, [1, 1, 1]) == []
    assert push_all(logic, [-1], start=1.0) == [(0, CLOSE)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats(0.0, 0.4)), max_size=60))
def test_commands_alternate_and_keep_their_distance(sequence):
    logic, now, given_at, commands = GripperLogic(votes=2, lockout_s=0.6), 0.0, [], []
    for value, wait in sequence:
        now += wait
        command = logic.push(value, now)
        if command is not None:
            given_at.append(now)
            commands.append(command)
    assert all(first is not second for first, second in pairwise(commands))
    assert all(b - a >= 0.6 - 1e-9 for a, b in pairwise(given_at))
