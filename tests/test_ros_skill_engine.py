# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to chunks, with a countable agent and no ROS graph."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ExecutedAction, SceneState
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from diwa.data.frames import ACTION
from diwa_ros.conversions import set_stamp
from diwa_ros.serving_settings import Limits, ServingSettings
from diwa_ros.skill_engine import SkillEngine

PERIOD = 33_333_333
Result = RunSkill.Result
LIMITS = Limits(time_s=60.0, threshold=2.0, stale_s=5.0, stuck_s=10.0, resend_s=5.0)
SETTINGS = ServingSettings(
    checkpoint=None,
    skill="",
    device="cpu",
    threads=1,
    seed=0,
    serve_steps=None,
    plan_ahead=0,
    limits=LIMITS,
    budget_s=100.0,
    preempt=True,
    dry_run=False,
    record=False,
    recorder="",
    require_enable=False,
    require_contract=False,
    robot_status="",
)


class Agent:
    """Chunks say how many frames were seen. Planning waits for `may_plan`."""

    def __init__(self, contract):
        self.contract = contract
        self.seen = 0
        self.planning = threading.Event()
        self.may_plan = threading.Event()
        self.may_plan.set()

    def reset(self, seed=None):
        self.seen = 0

    def observe(self, observation, previous_action):
        self.seen += 1

    def plan(self):
        self.planning.set()
        assert self.may_plan.wait(60)
        return np.full((4, 7), self.seen / 100)

    def success_probability(self):
        return 0.0


class Robot:
    """Makes messages and remembers chunks."""

    def __init__(self, contract, settings=SETTINGS):
        self.contract = contract
        self.agent = Agent(contract)
        self.sent = []
        self.errors = []
        self.engine = SkillEngine(
            self.agent, "source", settings, self.sent.append, lambda: None, self.errors.append
        )

    def step(self, index, *, executed=True, epoch=0, x=0.0, action=0.0):
        """What arrives at one control step: the action before it, and the observation."""
        if executed and index > 1:
            done = ExecutedAction(epoch=epoch, action=np.full(7, action, dtype=np.float32))
            self.hear(ACTION, done, index - 1)
        pose = PoseStamped()
        pose.header.frame_id = self.contract.observations["ee_pose"].frame_id
        pose.pose.position.x = x
        self.hear("ee_pose", pose, index)
        names = list(self.contract.observations["joint_states"].names)
        self.hear("joint_states", JointState(name=names, position=[0.0] * len(names)), index)
        self.hear("scene_state", SceneState(epoch=epoch), index)

    def hear(self, key, message, index):
        set_stamp(message.header.stamp, index * PERIOD)
        self.engine.on_message(key, message)

    def settle(self):
        """Wait for the worker to have done what it was given."""
        done = threading.Event()
        self.engine._worker.submit(done.set)
        assert done.wait(60)

    @property
    def outcome(self):
        return self.engine.latest.done.result()


@pytest.fixture
def make(lowdim_contract):
    robots = []

    def make(**changes):
        robots.append(Robot(lowdim_contract, SETTINGS._replace(**changes)))
        return robots[-1]

    yield make
    for robot in robots:
        robot.agent.may_plan.set()
        robot.engine.close()


def stamps(robot):
    return [round((m.header.stamp.sec * 1e9 + m.header.stamp.nanosec) / PERIOD) for m in robot.sent]


def run(robot, steps, **changes):
    for index in steps:
        robot.step(index, **changes)
        robot.settle()


def test_chunks_carry_source_epoch_stamp_and_sequence(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    run(robot, range(1, 10))
    assert stamps(robot) == [1, 5, 9]
    assert [m.sequence for m in robot.sent] == [1, 2, 3]
    assert {(m.source, m.epoch, m.steps) for m in robot.sent} == {("source", 0, 4)}
    assert [round(m.data[0], 3) for m in robot.sent] == [0.01, 0.05, 0.09]


def test_nothing_follows_the_hold_even_if_a_plan_was_under_way(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    robot.agent.may_plan.clear()
    robot.step(1)
    assert robot.agent.planning.wait(60)
    robot.engine.end(Result.STOPPED, "stop")
    robot.agent.may_plan.set()
    robot.settle()
    robot.engine.finish()
    assert [m.steps for m in robot.sent] == [0] * len(robot.sent) and robot.sent
    assert robot.outcome == (Result.STOPPED, "stop")


def test_first_reason_counts(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    robot.engine.end(Result.STOPPED, "first")
    robot.engine.end(Result.CANCELED, "second")
    assert robot.outcome.message == "first"


def test_slow_models_never_block_who_brings_messages(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    robot.agent.may_plan.clear()
    for index in range(1, 30):  # returns although nothing is planned
        robot.step(index, executed=False)
    robot.agent.may_plan.set()
    robot.settle()
    assert robot.agent.seen > 0


def test_planning_ahead_counts_the_steps_that_will_be_skipped(make):
    robot = make(plan_ahead=1)
    robot.engine.begin(LIMITS, None)
    run(robot, range(1, 4))
    assert stamps(robot) == [1]
    robot.agent.may_plan.clear()
    robot.agent.planning.clear()
    robot.step(4)
    assert robot.agent.planning.wait(60)
    robot.step(5)  # the last action of the first chunk is executed while the second is planned
    robot.agent.may_plan.set()
    robot.settle()
    assert stamps(robot) == [1, 4]
    assert robot.engine.latest.late_steps == 1
    run(robot, range(6, 8))
    assert stamps(robot) == [1, 4, 7]  # of the second chunk three were left, now one is


def test_misses_of_the_budget_are_counted(make):
    robot = make(budget_s=0.0)
    robot.engine.begin(LIMITS, None)
    run(robot, range(1, 6))
    assert robot.engine.latest.budget_misses == len(robot.sent) == 2
    assert make().engine.latencies.percentiles() == (0.0, 0.0, 0.0)


def test_dry_run_plans_although_nothing_is_executed(make):
    robot = make(dry_run=True)
    robot.engine.begin(LIMITS, None)
    for index in range(1, 10):
        robot.hear(ACTION, ExecutedAction(held=True), index - 1)
        robot.step(index, executed=False)
        robot.settle()
    assert stamps(robot) == [1, 5, 9]


@pytest.mark.parametrize("changes", [{"x": np.nan}, {"action": np.nan}])
def test_numbers_that_are_not_finite_end_the_skill(make, changes):
    robot = make()
    robot.engine.begin(LIMITS, None)
    run(robot, range(1, 4))
    run(robot, range(4, 6), **changes)
    assert robot.outcome.code in (Result.STALE_OBSERVATION, Result.INTERNAL)
    assert robot.sent[-1].steps == 0


def test_messages_that_do_not_fit_end_the_skill_with_the_reason(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    wrong = PoseStamped()
    wrong.header.frame_id = "camera"
    robot.hear("ee_pose", wrong, 1)
    assert robot.outcome.code == Result.INTERNAL
    assert "pose in another frame" in robot.outcome.message


def test_message_of_any_shape_ends_the_skill_and_not_the_node(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    stamp = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=PERIOD), frame_id="")
    robot.engine.on_message("scene_state", SimpleNamespace(header=stamp))
    assert robot.outcome.code == Result.INTERNAL
    assert robot.engine.fault and "Traceback" in robot.errors[0]


def test_reset_while_the_arm_moves_ends_the_skill(make):
    robot = make()
    robot.engine.begin(LIMITS, None)
    run(robot, range(1, 7))
    run(robot, range(7, 9), epoch=1)
    assert robot.outcome.code == Result.EPISODE_CHANGED


def test_gap_in_the_frames_ends_the_skill(make):
    robot = make()
    robot.engine.begin(LIMITS._replace(stale_s=0.5), None)
    run(robot, range(1, 4))
    run(robot, range(60, 63))
    assert robot.outcome.code == Result.STALE_OBSERVATION
    assert "a gap of" in robot.outcome.message


def test_newest_stamp_is_known_before_a_skill_begins(make):
    robot = make()
    robot.step(7)
    assert robot.engine.stamp_ns == 7 * PERIOD
    assert not robot.sent
