# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a bridge does with an arm: gate, motion, stops, recovery, the way home."""

from __future__ import annotations

import numpy as np
import pytest
from diwa_msgs.msg import RobotStatus

from diwa.control.arm import GUIDING, USER_STOPPED
from diwa_ros.arm_guards import Phase
from diwa_ros.backends.base import Job, finished
from fake_arm import START, SUBSTEPS, Drive

FORWARD = (0.3, 0, 0, 0, 0, 0, 1)


def test_phases_are_those_of_the_message():
    for phase in Phase:
        assert int(phase) == getattr(RobotStatus, phase.name)


def test_gate_opens_once_nothing_has_been_wrong_for_a_while():
    drive = Drive(settle_s=0.5)
    drive.backend.errors = ("joint_reflex",)
    drive.step(30)
    assert drive.phase == Phase.GATED
    assert "joint_reflex" in drive.session.problems[0]
    assert not drive.backend.targets
    drive.backend.errors = ()
    drive.step(14)
    assert drive.phase == Phase.GATED
    drive.step(3)
    assert drive.phase == Phase.READY
    np.testing.assert_allclose(drive.backend.targets[0][1].pose, START, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"senders": 2}, "2 nodes"),
        ({"trouble": ["nobody listens"]}, "nobody listens"),
        ({"age_s": 0.3}, "old"),
        ({"mode": GUIDING}, "guiding"),
        ({"pose": np.full(7, np.nan)}, "no valid pose"),
    ],
)
def test_gate_stays_shut_with_the_reason(change, words):
    drive = Drive()
    for name, value in change.items():
        setattr(drive.backend, name, value)
    drive.step(60)
    assert drive.phase == Phase.GATED
    assert any(words in problem for problem in drive.session.problems)
    assert not drive.backend.targets
    assert not drive.send(np.zeros((8, 7)))


def test_gate_wants_a_start_pose():
    away = START + np.array([0.2, 0, 0, 0, 0, 0, 0])
    drive = Drive(start_poses=away[None])
    drive.step(40)
    assert "start pose" in drive.session.problems[0]


def test_actions_move_the_arm_by_what_is_reported():
    drive = Drive().open_gate()
    executed = drive.move(8)
    assert drive.phase == Phase.MOVING
    moved = sum(float(step.safe.action[0]) for step in executed) * 0.02
    np.testing.assert_allclose(drive.backend.pose[0] - START[0], moved, atol=1e-6)
    assert moved > 0.02
    assert all(not step.held for step in executed)
    assert drive.session.motion.steps == 8


def test_targets_between_two_steps_lie_on_a_line_with_its_speed():
    drive = Drive().open_gate()
    drive.backend.targets.clear()
    drive.move(6)
    x = np.array([START[0], *(target.pose[0] for _, target in drive.backend.targets)])
    steps = np.diff(x).reshape(6, SUBSTEPS)
    assert np.ptp(steps, axis=1).max() < 1e-9
    for period, row in enumerate(steps):
        _, target = drive.backend.targets[period * SUBSTEPS]
        assert target.twist[0] == pytest.approx(row.sum() / drive.period_s, abs=1e-6)


def test_desired_pose_does_not_follow_an_arm_that_lags():
    drive = Drive().open_gate()
    drive.backend.frozen = True
    drive.move(30, action=(1, 0, 0, 0, 0, 0, 1))
    reached = max(target.pose[0] for _, target in drive.backend.targets)
    assert 0.03 < reached - START[0] <= drive.limits.motion.leash_m + 1e-6


def test_new_checkpoint_moves_slowly_until_it_is_confirmed():
    fast, slow = Drive().open_gate(), Drive().open_gate()
    fast.move(40, "known", action=(0.1, 0, 0, 0, 0, 0, 1))
    slow.move(40, "new", action=(0.1, 0, 0, 0, 0, 0, 1))
    ratio = (slow.backend.pose[0] - START[0]) / (fast.backend.pose[0] - START[0])
    assert ratio == pytest.approx(0.25, abs=0.01)
    assert slow.session.speed_scale == 0.25
    slow.session._confirmed.add("new")
    assert slow.session.speed_scale == 1.0


def test_without_actions_the_arm_holds_and_a_policy_has_to_recover():
    drive = Drive().open_gate()
    drive.move(4, "known")
    pose = None
    drive.step(2)
    pose = drive.backend.pose.copy()
    drive.step(5)
    assert drive.phase == Phase.HOLDING
    drive.step(35)
    assert drive.phase == Phase.STOPPED
    assert "no actions" in drive.session.reason
    np.testing.assert_array_equal(drive.backend.pose, pose)
    assert not drive.send(np.zeros((4, 7)))
    assert drive.session.recover(drive.now_s) == ""
    drive.until(Phase.READY)
    assert drive.session.chunks.epoch == 1


def test_a_person_may_pause():
    drive = Drive().open_gate()
    drive.move(4)
    drive.step(90)
    assert drive.phase == Phase.HOLDING
    drive.move(2)
    assert drive.phase == Phase.MOVING


def test_chunk_without_steps_holds_and_is_no_fault():
    drive = Drive().open_gate()
    drive.send(np.tile(FORWARD, (16, 1)), "known")
    drive.step(3)
    assert drive.send(np.zeros((0, 7)), "known")
    executed = drive.step(60)
    assert all(step.held for step in executed)
    assert drive.phase == Phase.READY


@pytest.mark.parametrize(
    "how", [{"epoch": 7}, {"age_s": 2.0}, {"age_s": -0.5}, {"chunk": np.zeros((4, 6))}]
)
def test_chunk_of_another_time_epoch_or_size_is_discarded(how):
    drive = Drive().open_gate()
    drive.step(60)
    chunk = how.pop("chunk", np.tile(FORWARD, (4, 1)))
    assert not drive.send(chunk, **how)
    assert drive.session.chunks.discarded == 1
    assert all(step.held for step in drive.step(4))


def test_chunk_from_before_the_gate_is_discarded():
    drive = Drive().open_gate()
    assert not drive.send(np.tile(FORWARD, (4, 1)), age_s=0.2)


@pytest.mark.parametrize(
    ("change", "phase", "words", "at_once"),
    [
        ({"mode": 4, "errors": ("cartesian_reflex",)}, Phase.REFLEX, "cartesian_reflex", True),
        ({"mode": USER_STOPPED}, Phase.STOPPED, "user stopped", True),
        ({"mode": GUIDING}, Phase.STOPPED, "guiding", True),
        ({"senders": 2}, Phase.STOPPED, "1 other node", True),
        ({"trouble": ["nobody listens"]}, Phase.STOPPED, "nobody listens", True),
        ({"force": np.array([0, 0, 30.0, 0, 0, 0])}, Phase.STOPPED, "force guard: 30 N", False),
        ({"pose": np.full(7, np.nan)}, Phase.STOPPED, "no valid pose", True),
    ],
)
def test_fault_in_motion_stops_the_stream(change, phase, words, at_once):
    drive = Drive().open_gate()
    drive.send(np.tile(FORWARD, (60, 1)), "known")
    drive.step(3)
    before = len(drive.backend.targets)
    if "pose" in change:
        drive.backend.frozen = True
    for name, value in change.items():
        setattr(drive.backend, name, value)
    drive.step(3)
    assert drive.phase == phase
    assert words in drive.session.reason
    if at_once:
        assert len(drive.backend.targets) == before
    drive.step(6)
    assert drive.backend.calls[-1] == "stop"
    count = len(drive.backend.targets)
    drive.step(5)
    assert len(drive.backend.targets) == count, "something was sent after the stop"


def test_old_state_holds_and_then_stops():
    drive = Drive().open_gate()
    drive.send(np.tile(FORWARD, (90, 1)))
    drive.step(3)
    pose = None
    for age in np.arange(0.0, 0.9, 1 / 30):
        drive.backend.age_s = age
        drive.step()
        if age > 0.15:
            assert drive.phase == Phase.HOLDING
            pose = drive.backend.pose.copy() if pose is None else pose
    np.testing.assert_allclose(drive.backend.pose, pose, atol=1e-12)
    drive.backend.age_s = 1.1
    drive.step()
    assert drive.phase == Phase.STOPPED


def test_a_short_gap_of_states_ends_by_itself():
    drive = Drive().open_gate()
    drive.move(3)
    drive.backend.age_s = 0.3
    drive.step(2)
    drive.backend.age_s = 0.0
    drive.step(1)
    assert drive.phase == Phase.READY
    drive.move(2)
    assert drive.phase == Phase.MOVING


def test_reflex_waits_for_recovery_and_begins_again_where_the_arm_is():
    drive = Drive().open_gate()
    drive.move(4, "known")
    drive.backend.reflex("joint_reflex")
    drive.until(Phase.REFLEX)
    drive.backend.repaired()
    drive.step(60)
    assert drive.phase == Phase.REFLEX, "nobody has asked to go on"
    drive.backend.pose = START + np.array([0.0, 0.04, 0, 0, 0, 0, 0])
    drive.backend.job = Job()
    assert drive.session.recover(drive.now_s) == ""
    assert drive.session.recover(drive.now_s) == ""
    drive.step(5)
    assert drive.phase == Phase.REFLEX
    drive.backend.job.set_result("")
    drive.backend.targets.clear()
    drive.until(Phase.READY)
    assert drive.backend.calls.count("recover") == 1
    assert drive.session.chunks.epoch == 1
    np.testing.assert_allclose(drive.backend.targets[0][1].pose[1], 0.04, atol=1e-9)


def test_failed_recovery_says_why():
    drive = Drive().open_gate()
    drive.backend.reflex("joint_reflex")
    drive.until(Phase.REFLEX)
    drive.backend.job = finished("the brakes are closed")
    drive.session.recover(drive.now_s)
    drive.step()
    assert drive.phase == Phase.REFLEX
    assert "the brakes are closed" in drive.session.reason


def test_emergency_stop_comes_to_rest_within_a_few_periods_and_stays():
    drive = Drive().open_gate()
    drive.send(np.tile((1, 0, 0, 0, 0, 0, 1), (90, 1)), "known")
    drive.step(10)
    at = drive.backend.pose[0]
    drive.session.set_estop(True)
    assert drive.phase == Phase.STOPPED
    drive.step(20)
    assert drive.backend.pose[0] - at < 0.02
    assert drive.backend.calls[-1] == "stop"
    assert "emergency stop" in drive.session.recover(drive.now_s)
    drive.session.set_estop(False)
    drive.step(60)
    assert drive.phase == Phase.STOPPED
    drive.session.recover(drive.now_s)
    drive.until(Phase.READY)


BAD = (np.nan, 0, 0, 0, 0, 0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_actions_that_are_no_numbers_hold_and_stop_after_three_in_a_row(value):
    drive = Drive().open_gate()
    drive.move(4, "known")
    bad = np.tile((value, 0, 0, 0, 0, 0, 1), (8, 1))
    assert drive.send(bad, "known")
    executed = drive.step(2)
    assert all(step.safe.rejected and not step.safe.action[:6].any() for step in executed)
    assert drive.phase == Phase.MOVING
    drive.step()
    assert drive.phase == Phase.STOPPED
    assert "3 actions in a row" in drive.session.reason
    drive.step(6)
    assert np.isfinite([target.pose for _, target in drive.backend.targets]).all()
    assert drive.backend.calls[-1] == "stop"
    assert drive.session.recover(drive.now_s) == ""
    drive.until(Phase.READY)
    drive.move(4, "known")
    assert drive.phase == Phase.MOVING


def test_a_bad_action_now_and_then_is_not_executed_and_no_reason_to_stop():
    drive = Drive().open_gate()
    for _ in range(4):
        assert drive.send([BAD, BAD, FORWARD, FORWARD], "known")
        rejected = [step.safe.rejected for step in drive.step(4)]
        assert rejected == [True, True, False, False]
    assert drive.phase == Phase.MOVING


def test_bad_actions_count_on_from_one_chunk_to_the_next():
    drive = Drive().open_gate()
    for _ in range(3):
        assert drive.phase != Phase.STOPPED
        drive.send([BAD])
        drive.step()
    assert drive.phase == Phase.STOPPED


def test_three_chunks_of_the_wrong_size_in_a_row_stop():
    drive = Drive().open_gate()
    wrong = np.zeros((4, 6))
    for _ in range(4):
        assert not drive.send(wrong)
        assert not drive.send(wrong)
        drive.move(2)
    assert drive.phase == Phase.MOVING
    assert drive.session.chunks.discarded == 8
    for _ in range(3):
        assert drive.phase == Phase.MOVING
        drive.send(wrong)
    assert drive.phase == Phase.STOPPED
    assert "3 chunks in a row" in drive.session.reason
    assert drive.session.recover(drive.now_s) == ""
    drive.until(Phase.READY)
    drive.send(wrong)
    assert drive.phase == Phase.READY


def test_chunks_that_do_not_fit_do_not_matter_before_the_gate():
    drive = Drive()
    for _ in range(5):
        assert not drive.send(np.zeros((4, 6)))
    assert drive.phase == Phase.GATED
    drive.until(Phase.READY)


def test_dead_mans_switch_holds_until_it_is_pressed_again():
    drive = Drive(require_enable=True).open_gate()
    drive.send(np.tile(FORWARD, (30, 1)))
    assert all(step.held for step in drive.step(3))
    assert drive.phase == Phase.HOLDING and "released" in drive.session.reason
    for _ in range(10):
        drive.session.guards.switch.push(True, drive.now_s)
        drive.send(np.tile(FORWARD, (4, 1)))
        drive.step()
    assert drive.phase == Phase.MOVING
    drive.step(9)  # nothing is heard of the switch
    assert drive.phase == Phase.HOLDING and "released" in drive.session.reason


def test_clock_set_back_stops_and_a_recovery_goes_on_with_the_new_time():
    drive = Drive().open_gate()
    drive.move(4, "known")
    drive.offset_ns -= 3600 * 10**9
    drive.step()
    assert drive.phase == Phase.STOPPED and "clock" in drive.session.reason
    drive.session.recover(drive.now_s)
    drive.until(Phase.READY)
    drive.move(4, "known")
    assert drive.phase == Phase.MOVING


def test_gripper_is_told_at_changes_only_and_reported_as_told():
    drive = Drive().open_gate()
    executed = drive.move(30, action=(0, 0, 0, 0, 0, 0, -1))
    told = [call for call in drive.backend.calls if call.startswith("gripper")]
    assert told == ["gripper close"]
    closed = [step.safe.action[6] for step in executed]
    assert closed[0] == 1.0 and closed[-1] == -1.0
    assert closed == sorted(closed, reverse=True)


def test_home_leads_straight_to_the_nearest_start_pose_at_low_speed():
    near = START + np.array([-0.05, 0.12, 0.1, 0, 0, 0, 0])
    far = START + np.array([0.3, 0, 0, 0, 0, 0, 0])
    drive = Drive(start_poses=np.stack([far, near]))
    drive.step(3)
    assert drive.session.home(drive.now_s) == ""
    assert drive.phase == Phase.HOMING
    assert drive.session.home(drive.now_s) == ""
    drive.until(Phase.GATED)
    np.testing.assert_allclose(drive.backend.pose[:3], near[:3], atol=1e-3)
    points = np.array([target.pose[:3] for _, target in drive.backend.targets])
    speed = np.linalg.norm(np.diff(points, axis=0), axis=1) * SUBSTEPS / drive.period_s
    assert speed.max() <= 0.4 * drive.limits.motion.max_speed + 1e-6
    drive.until(Phase.READY)


def test_home_begins_where_the_arm_is_now_not_where_it_was_a_period_ago():
    goal = START + np.array([0.0, 0.1, 0, 0, 0, 0, 0])
    drive = Drive(start_poses=goal[None])
    drive.step(3)
    drive.backend.pose = moved = START + np.array([0.0, 0.03, 0, 0, 0, 0, 0])
    drive.backend.now_s = drive.now_s + 0.001  # the state is even newer than the call
    assert drive.session.home(drive.now_s) == ""
    np.testing.assert_allclose(drive.session.motion.targets.desired, moved, atol=1e-9)
    drive.step()
    first = drive.backend.targets[0][1].pose
    assert np.linalg.norm(first[:3] - moved[:3]) < 0.01


def test_home_sees_what_has_happened_since_the_last_period():
    drive = Drive(start_poses=START[None])
    drive.step(3)
    drive.backend.reflex("joint_reflex")
    assert "joint_reflex" in drive.session.home(drive.now_s)


def test_home_by_the_backend_sends_no_targets():
    drive = Drive()
    drive.backend.leads_home, drive.backend.job = True, Job()
    drive.open_gate()
    drive.session.home(drive.now_s)
    count = len(drive.backend.targets)
    drive.step(30)
    assert drive.phase == Phase.HOMING and len(drive.backend.targets) == count
    drive.backend.job.set_result("")
    drive.until(Phase.READY)


def test_home_is_given_up_when_the_arm_is_in_trouble():
    drive = Drive()
    drive.backend.leads_home, drive.backend.job = True, Job()
    drive.open_gate()
    drive.session.home(drive.now_s)
    drive.backend.senders = 2
    drive.step(2)
    assert drive.phase == Phase.STOPPED
    assert drive.backend.job.cancelled()


def test_home_is_refused_with_the_reason():
    drive = Drive()
    drive.step(2)
    assert "start_poses" in drive.session.home(drive.now_s)
    drive.open_gate()
    drive.move(3)
    assert "moving" in drive.session.home(drive.now_s)
    drive.backend.reflex("joint_reflex")
    drive.step(2)
    assert "reflex" in drive.session.home(drive.now_s)


def test_home_needs_the_dead_mans_switch_before_anything_moves():
    drive = Drive(require_enable=True)
    drive.backend.leads_home, drive.backend.job = True, Job()
    drive.step(2)
    assert "dead-man" in drive.session.home(drive.now_s)
    assert "home" not in drive.backend.calls and drive.phase == Phase.GATED
    drive.session.guards.switch.push(True, drive.now_s)
    assert drive.session.home(drive.now_s) == ""
    assert "home" in drive.backend.calls and drive.phase == Phase.HOMING
    drive.session.guards.switch.push(False, drive.now_s)
    drive.step()
    assert drive.phase == Phase.STOPPED and drive.backend.job.cancelled()


def test_closing_leaves_the_arm_where_it_is():
    drive = Drive().open_gate()
    drive.send(np.tile((1, 0, 0, 0, 0, 0, 1), (90, 1)), "known")
    drive.step(10)
    at = drive.backend.pose.copy()
    drive.session.close(drive.stamp_ns)
    assert drive.backend.calls[-2:] == ["hold", "stop"]
    np.testing.assert_allclose(drive.backend.targets[-1][1].pose, at, atol=1e-9)
    assert not drive.backend.targets[-1][1].twist.any()
