# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Which observations a skill goes on with, and which end it."""

from __future__ import annotations

import numpy as np
import pytest

from diwa.data.frames import ACTION, Frame
from diwa_ros.input_watch import MANY_BREAKS, InputWatch

PERIOD = 33_333_333
SECOND = 1_000_000_000


@pytest.fixture
def watch(camera_contract):
    return InputWatch(camera_contract, stale_s=1.0, now_s=100.0)


def hear(watch, contract, stamp_s, now_s, *, but=()):
    for key in (*contract.observations, ACTION):
        if key not in but:
            watch.heard(key, round(stamp_s * 1e9), now_s)


def frame(contract, index, *, x=0.0, picture=None, first=False, cause="", **changes):
    observation = {"proprio": np.zeros(contract.proprio_size, dtype=np.float32)}
    observation["proprio"][0] = x
    for key in contract.image_keys:
        shade = index % 256 if picture is None else picture
        observation[key] = np.full((4, 4, 3), shade, dtype=np.uint8)
    action = np.zeros(7, dtype=np.float32)
    values = {"observation": observation, "previous_action": action, **changes}
    return Frame(index * PERIOD, is_first=first, cause=cause, **values)


def test_inputs_that_arrive_together_are_no_problem(watch, camera_contract):
    for step in range(90):
        hear(watch, camera_contract, step / 30, 100 + step / 30)
        assert watch.silent(100 + step / 30) == watch.apart() == ""
        assert watch.frame_problem(frame(camera_contract, step, first=step == 0)) == ""


def looked(watch, start_s, end_s):
    """What it says at the end, having looked ten times a second."""
    said = ""
    for tenth in range(round(10 * start_s), round(10 * end_s) + 1):
        said = watch.silent(tenth / 10)
    return said


def test_silence_counts_from_the_start_and_names_the_topic(watch, camera_contract):
    assert looked(watch, 100.0, 100.9) == ""
    assert "ee_pose" in looked(watch, 101.0, 101.1)
    hear(watch, camera_contract, 5.0, 101.1, but=["rgb_static"])
    assert watch.silent(101.2) == "nothing arrives on cameras/static/image_raw"


def test_own_standstill_is_not_taken_for_the_robots_silence(watch, camera_contract):
    hear(watch, camera_contract, 5.0, 100.0)
    assert looked(watch, 100.0, 100.5) == ""
    assert watch.silent(103.0) == ""  # messages of two seconds may wait behind this call
    assert looked(watch, 103.1, 104.0) == ""
    assert looked(watch, 104.1, 104.2) != ""


def test_repeated_stamps_are_a_pause_if_all_repeat_and_a_fault_if_one_does(watch, camera_contract):
    for now in range(100, 110):  # a simulation that waits says the same again
        hear(watch, camera_contract, 5.0, now)
        assert watch.apart() == ""
    hear(watch, camera_contract, 6.1, 110, but=["rgb_gripper"])
    watch.heard("rgb_gripper", 5 * SECOND, 110)
    assert "cameras/gripper/image_raw are more than 1 s behind" in watch.apart()


def test_stamps_from_the_future_are_told_from_late_ones(watch, camera_contract):
    hear(watch, camera_contract, 5.0, 100.5, but=["joint_states"])
    watch.heard("joint_states", 9 * SECOND, 100.5)
    assert watch.apart() == "stamps on joint_states are 4.00 s ahead of the others"


def test_executed_actions_that_stop_are_missed(watch, camera_contract):
    hear(watch, camera_contract, 5.0, 100.1)
    hear(watch, camera_contract, 6.5, 101.6, but=[ACTION])
    assert "executed_action" in watch.apart()
    fresh = InputWatch(camera_contract, 1.0, 100.0)  # and those that never come
    hear(fresh, camera_contract, 5.0, 100.1, but=[ACTION])
    assert fresh.apart() == ""
    hear(fresh, camera_contract, 6.5, 101.6, but=[ACTION])
    assert "executed_action" in fresh.apart()


def test_numbers_that_are_not_finite_are_named(watch, camera_contract):
    bad = frame(camera_contract, 1)
    bad.observation["proprio"][3] = np.nan
    assert "proprio" in watch.frame_problem(bad)
    action = np.full(7, np.inf, dtype=np.float32)
    assert "executed action" in watch.frame_problem(
        frame(camera_contract, 2, previous_action=action)
    )


def test_one_short_break_is_forgiven_and_many_are_not(watch, camera_contract):
    problems = [
        watch.frame_problem(frame(camera_contract, index, first=True, cause="no joint_states"))
        for index in range(0, 30 * (MANY_BREAKS + 1), 20)
    ]
    assert problems[:MANY_BREAKS] == [""] * MANY_BREAKS
    assert "no joint_states" in problems[MANY_BREAKS]


def test_breaks_that_are_far_apart_are_forgiven(watch, camera_contract):
    for index in range(0, 6000):
        found = frame(camera_contract, index, first=index % 100 == 0)
        assert watch.frame_problem(found) == ""


@pytest.mark.parametrize(("index", "words"), [(60, "a gap of 1.67 s"), (3, "set back by 0.23 s")])
def test_gap_and_clock_that_was_set_back_end_a_skill(watch, camera_contract, index, words):
    assert watch.frame_problem(frame(camera_contract, 10, first=True)) == ""
    assert words in watch.frame_problem(frame(camera_contract, index, first=True))


def test_camera_that_stands_still_is_noticed_when_the_arm_moves(watch, camera_contract):
    def problems(speed):
        watch.restart()
        frames = (frame(camera_contract, i, x=speed * i, picture=7) for i in range(90))
        return {watch.frame_problem(item) for item in frames}

    assert problems(speed=0.0) == {""}
    assert problems(speed=0.002) == {
        "",
        "the picture on cameras/static/image_raw stands still, and the arm moves",
    }


def test_another_episode_may_begin_earlier(watch, camera_contract):
    watch.frame_problem(frame(camera_contract, 500, first=True))
    watch.restart()
    assert watch.frame_problem(frame(camera_contract, 3, first=True)) == ""
