# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The gate opens for an arm in order only; guards trip in time and stay tripped."""

import numpy as np
import pytest

from diwa.control.arm import GUIDING, IDLE, MOVE, REFLEX, USER_STOPPED, ArmState
from diwa.control.deadman import DeadMan
from diwa.control.gate import FollowGuard, ForceGuard, StartGate
from diwa.control.poses import make_pose, quaternion_from_euler
from diwa.control.robots import load_robot

LIMITS = load_robot("fr3")
POSE = make_pose((0.0, -0.2, 0.5), quaternion_from_euler((np.pi, 0.0, 0.3)))
GOOD = ArmState(
    stamp_s=10.0,
    pose=POSE,
    joints=np.array(LIMITS.home.joints),
    robot_mode=IDLE,
    success_rate=0.0,  # of an arm that does not move
)
NOW = 10.05


@pytest.fixture
def gate(camera_contract):
    return StartGate(LIMITS, camera_contract.workspace)


def moved(position=(0.0, 0.0, 0.0), yaw=0.0):
    return make_pose(POSE[:3] + position, quaternion_from_euler((np.pi, 0.0, 0.3 + yaw)))


def test_gate_opens_for_an_arm_in_order(gate):
    assert gate.problems(GOOD, NOW, publishers=1, start_poses=POSE[None]) == []


def test_gate_opens_for_an_arm_that_tells_only_its_pose(gate):
    assert gate.problems(ArmState(10.0, POSE), NOW) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stamp_s": 9.9}, "0.15 s old"),
        ({"stamp_s": 11.0}, "old"),
        ({"pose": np.full(7, np.nan)}, "no valid pose"),
        ({"pose": np.zeros(7)}, "no valid pose"),
        ({"pose": moved((0.0, 0.45, 0.0))}, "0.050 m outside the workspace along y"),
        ({"robot_mode": REFLEX}, "mode is reflex"),
        ({"robot_mode": USER_STOPPED}, "user stopped"),
        ({"robot_mode": GUIDING}, "guiding"),
        ({"robot_mode": 17}, "mode is 17"),
        ({"errors": ("joint_reflex", "power_limit_violation")}, "joint_reflex, power_limit"),
        ({"robot_mode": MOVE, "success_rate": 0.5}, "50% of the commands"),
        ({"robot_mode": MOVE, "success_rate": float("nan")}, "of the commands"),
        ({"joints": np.array([0, 0, 0, -0.2, 0, 1.57, 0.785])}, "joint 4 is 0.083 rad from"),
        ({"joints": np.full(7, np.nan)}, "joint 1"),
        ({"joints": np.array([0, 0, 0, -0.6, 0, 1.57, 0.785])}, "near a singular pose"),
        ({"manipulability": 0.01}, "singular value 0.010, at least 0.04"),
    ],
)
def test_gate_names_what_is_wrong_with_the_arm(gate, change, message):
    problems = gate.problems(GOOD._replace(**change), NOW)
    assert any(message in problem for problem in problems), problems


def test_gate_is_shut_without_a_state(gate):
    assert gate.problems(None, NOW)


@pytest.mark.parametrize("publishers", [0, 2])
def test_gate_is_shut_unless_one_node_sends_commands(gate, publishers):
    assert "commands" in gate.problems(GOOD, NOW, publishers=publishers)[0]


def test_start_poses_have_a_tolerance_and_the_nearest_counts(gate):
    far = moved((0.3, 0.0, 0.0))
    assert gate.problems(GOOD, NOW, start_poses=np.array([far, moved((0.049, 0.0, 0.0))])) == []
    assert gate.problems(GOOD, NOW, start_poses=np.array([far, moved(yaw=0.19)])) == []
    assert gate.problems(GOOD, NOW, start_poses=np.empty((0, 7))) == []
    for start in (moved((0.051, 0.0, 0.0)), moved(yaw=0.21)):
        (problem,) = gate.problems(GOOD, NOW, start_poses=np.array([far, start]))
        assert "go home first" in problem


def test_moving_arm_is_held_to_the_state_only(gate):
    outside = GOOD._replace(pose=moved((0.0, 0.45, 0.0)))
    assert gate.state_problems(outside, NOW) == []
    assert gate.state_problems(outside._replace(errors=("x",)), NOW)


def test_force_guard_trips_after_fifty_milliseconds_and_stays_tripped():
    guard = ForceGuard(LIMITS)
    assert not guard.push(25.0, 1.00)
    assert not guard.push(25.0, 1.04)
    assert guard.push(25.0, 1.05)
    assert guard.push(0.0, 1.06)
    guard.reset()
    assert not guard.push(0.0, 1.07)


def test_force_guard_forgives_a_bump():
    guard = ForceGuard(LIMITS)
    for k in range(20):
        assert not guard.push(25.0 if k % 4 else 19.0, 0.016 * k)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_force_that_is_no_number_counts_as_too_large(value):
    guard = ForceGuard(LIMITS)
    guard.push(value, 1.0)
    assert guard.push(value, 1.06)


def test_guard_begins_anew_when_the_clock_is_set_back():
    guard = ForceGuard(LIMITS)
    guard.push(25.0, 100.0)
    assert not guard.push(25.0, 1.0)
    assert guard.push(25.0, 1.06)


def test_follow_guard_trips_when_the_arm_stays_behind():
    guard = FollowGuard(LIMITS)
    assert not guard.push(1.6, 0.0)
    assert not guard.push(1.4, 0.1)
    assert not guard.push(float("inf"), 0.15)
    assert guard.push(1.6, 0.36)


def test_dead_man_is_released_until_pressed_when_let_go_and_when_silent():
    switch = DeadMan(required=True, timeout_s=0.25)
    assert switch.released(0.0)
    switch.push(True, 1.0)
    assert not switch.released(1.2)
    assert switch.released(1.3)
    switch.push(True, 2.0)
    switch.push(False, 2.01)
    assert switch.released(2.02)
    switch.push(True, 3.0)
    assert switch.released(2.9)  # the clock was set back


def test_dead_man_that_is_not_required_is_never_released():
    switch = DeadMan(required=False)
    switch.push(False, 1.0)
    assert not switch.released(100.0)
