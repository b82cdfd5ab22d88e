# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which action comes at which control step, when chunks are late, early, old or interrupted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwa.control.poses import angle_between, integrate_action
from diwa.control.schedule import ChunkSchedule, mixed_pose
from diwa.data.contract import ActionSpec

PERIOD = 33_333_333
SPEC = ActionSpec()
HERE = np.array([0.3, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0])


def chunk(*values, gripper=1.0):
    """Actions that move by `values` along x."""
    actions = np.zeros((len(values), 7), dtype=np.float32)
    actions[:, 0], actions[:, 6] = values, gripper
    return actions


def popped(schedule, steps):
    """What the steps get: x of the action, or None where the arm holds."""
    actions = [schedule.pop(step * PERIOD) for step in steps]
    return [None if action is None else round(float(action[0]), 6) for action in actions]


@pytest.fixture
def schedule():
    return ChunkSchedule(SPEC, PERIOD)


def test_chunk_that_is_in_time_is_executed_from_its_first_action(schedule):
    assert schedule.push(chunk(0.1, 0.2), 1 * PERIOD, 0, 1)
    assert popped(schedule, [1, 2, 3]) == [0.1, 0.2, None]
    assert schedule.late_steps == 0


def test_steps_that_others_were_executed_for_are_skipped(schedule):
    schedule.push(chunk(0.1, 0.2, 0.3, 0.4), 1 * PERIOD, 0, 1)
    assert popped(schedule, [1, 2]) == [0.1, 0.2]
    assert schedule.push(chunk(0.5, 0.6, 0.7, 0.8), 2 * PERIOD, 0, 2)  # computed before step 2
    assert popped(schedule, [3, 4, 5, 6]) == [0.6, 0.7, 0.8, None]
    assert schedule.late_steps == 1


def test_late_chunk_skips_nothing_while_the_arm_holds(schedule):
    assert popped(schedule, range(1, 60)) == [None] * 59  # a slow first inference
    assert schedule.push(chunk(0.1, 0.2), 1 * PERIOD, 0, 1)
    assert popped(schedule, [60, 61]) == [0.1, 0.2]
    assert schedule.late_steps == 0


def test_held_steps_between_are_not_skipped(schedule):
    schedule.push(chunk(0.1), 1 * PERIOD, 0, 1)
    assert popped(schedule, [1, 2, 3]) == [0.1, None, None]
    schedule.push(chunk(0.5, 0.6, 0.7), 1 * PERIOD, 0, 2)
    assert popped(schedule, [4, 5]) == [0.6, 0.7]


def test_stamps_of_steps_need_not_be_those_of_frames(schedule):
    schedule.push(chunk(0.1, 0.2, 0.3), 1 * PERIOD, 0, 1)
    schedule.pop(1 * PERIOD + 10_000_000)
    schedule.pop(2 * PERIOD + 10_000_000)
    schedule.push(chunk(0.5, 0.6, 0.7), 2 * PERIOD, 0, 2)
    assert popped(schedule, [3]) == [0.6]


def test_chunk_of_which_nothing_is_left_is_refused_and_the_old_one_goes_on(schedule):
    schedule.push(chunk(0.1, 0.2, 0.3, 0.4), 1 * PERIOD, 0, 1)
    popped(schedule, [1, 2, 3])
    assert not schedule.push(chunk(0.5, 0.6), 1 * PERIOD, 0, 2)
    assert schedule.discarded == 1
    assert popped(schedule, [4]) == [0.4]


def test_single_action_is_meant_for_now(schedule):
    for sequence in range(1, 6):  # a person who is faster than the camera
        assert schedule.push(chunk(sequence / 10), 1 * PERIOD, 0, sequence)
        assert popped(schedule, [sequence]) == [sequence / 10]
    assert schedule.late_steps == schedule.discarded == 0


@pytest.mark.parametrize(
    ("data", "stamp", "epoch", "sequence"),
    [
        (chunk(0.1), 5 * PERIOD, 0, 3),  # again
        (chunk(0.1), 4 * PERIOD, 0, 9),  # from an older observation
        (chunk(0.1), 6 * PERIOD, 1, 4),  # of another episode
        (np.zeros((0, 7)), 6 * PERIOD, 0, 4),
        (np.zeros((2, 6)), 6 * PERIOD, 0, 4),
        (np.zeros(7), 6 * PERIOD, 0, 4),
        (np.zeros((1, 2, 7)), 6 * PERIOD, 0, 4),
    ],
)
def test_chunk_that_does_not_fit_is_refused(schedule, data, stamp, epoch, sequence):
    schedule.push(chunk(0.9), 5 * PERIOD, 0, 3)
    assert not schedule.push(data, stamp, epoch, sequence)
    assert popped(schedule, [5]) == [0.9]


def test_restarted_sender_is_heard_again(schedule):
    schedule.push(chunk(0.1), 1 * PERIOD, 0, 900)
    assert schedule.push(chunk(0.2), 2 * PERIOD, 0, 0)


def test_schedule_keeps_its_own_copy(schedule):
    mine = chunk(0.1)
    schedule.push(mine, 1 * PERIOD, 0, 1)
    mine[:] = 0.9
    assert popped(schedule, [1]) == [0.1]


def test_new_episode_voids_what_is_held_and_what_was_executed(schedule):
    schedule.push(chunk(0.1, 0.2), 8 * PERIOD, 0, 1)
    popped(schedule, [8])
    schedule.set_epoch(1)
    assert len(schedule) == 0
    assert not schedule.push(chunk(0.3), 9 * PERIOD, 0, 2)
    assert schedule.push(chunk(0.3), 1 * PERIOD, 1, 1)
    assert popped(schedule, [1]) == [0.3]


def test_flushed_chunk_does_not_come_back(schedule):
    schedule.push(chunk(0.1, 0.2), 1 * PERIOD, 0, 1)
    schedule.flush()
    assert popped(schedule, [1]) == [None]
    assert not schedule.push(chunk(0.1, 0.2), 1 * PERIOD, 0, 1)


numbers = st.floats(-1, 1, width=32)
actions = st.lists(st.tuples(*[numbers] * 7), min_size=4, max_size=4)


def path(start, steps):
    poses = [start]
    for step in steps:
        poses.append(integrate_action(poses[-1], step, SPEC))
    return poses


@given(actions, actions)
def test_cross_fade_leads_from_one_path_to_the_other_in_pose_space(old, new):
    schedule = ChunkSchedule(SPEC, PERIOD, fade_steps=3)
    old, new = np.asarray(old, np.float32), np.asarray(new, np.float32)
    schedule.push(old, PERIOD, 0, 1)
    schedule.push(new, PERIOD, 0, 2, HERE)
    steps = [schedule.pop(k * PERIOD) for k in range(1, 5)]
    taken, first, second = path(HERE, steps), path(HERE, old), path(HERE, new)
    for step in range(1, 5):
        expected = mixed_pose(first[step], second[step], min(step / 3, 1.0))
        assert np.abs(taken[step][:3] - expected[:3]).max() < 1e-6
        assert angle_between(taken[step][3:], expected[3:]) < 1e-5
    assert all(step[6] in (-1.0, 1.0) for step in steps[:3])


def test_without_a_pose_or_an_old_chunk_nothing_is_faded():
    schedule = ChunkSchedule(SPEC, PERIOD, fade_steps=3)
    schedule.push(chunk(0.1, 0.1, 0.1), PERIOD, 0, 1, HERE)
    assert popped(schedule, [1, 2, 3]) == [0.1] * 3
    schedule.push(chunk(0.2, 0.2, 0.2), 4 * PERIOD, 0, 2, HERE)
    schedule.push(chunk(0.3, 0.3, 0.3), 4 * PERIOD, 0, 3)
    assert popped(schedule, [4, 5, 6]) == [0.3] * 3


def test_actions_that_are_not_finite_are_left_to_the_safety_filter():
    schedule = ChunkSchedule(SPEC, PERIOD, fade_steps=3)
    schedule.push(chunk(0.1, 0.1, 0.1), PERIOD, 0, 1)
    schedule.push(chunk(0.2, np.nan, 0.2), PERIOD, 0, 2, HERE)
    assert np.isnan(popped(schedule, [1, 2, 3])[1])


@pytest.mark.parametrize(
    ("last", "old", "new", "expected"),
    [(1, 1, -1, 1), (-1, 1, -1, -1), (1, -1, -1, -1), (-1, 1, 1, 1), (None, 1, -1, -1)],
)
def test_gripper_of_a_fade_is_voted_for_and_never_an_average(last, old, new, expected):
    schedule = ChunkSchedule(SPEC, PERIOD, fade_steps=2)
    if last is not None:
        schedule.push(chunk(0.0, gripper=last), PERIOD, 0, 1)
        schedule.pop(PERIOD)
    schedule.push(chunk(0.1, 0.1, gripper=old), 2 * PERIOD, 0, 2)
    schedule.push(chunk(0.2, 0.2, gripper=new), 2 * PERIOD, 0, 3, HERE)
    assert schedule.pop(2 * PERIOD)[6] == expected
