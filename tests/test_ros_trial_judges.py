# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Judging by the scene: no step is overlooked, none is waited for in vain."""

import numpy as np
import pytest
from diwa_msgs.action import RunSkill

from diwa.errors import ConfigError
from diwa.sim.tasks import DRAWER_JOINT
from diwa_ros import conversions
from diwa_ros.observing import Observed, Observer
from diwa_ros.scene_oracle import SceneOracle
from diwa_ros.trial_judges import Judgement, SceneJudge

Result = RunSkill.Result
PERIOD_NS = 33_333_333
START_NS = 5_000_000_000
OPEN, SHUT = 0.2, 0.0  # of the drawer [m]


def observed(step: int, drawer: float = SHUT, epoch: int = 1) -> Observed:
    scene = np.zeros(24, dtype=np.float32)
    scene[DRAWER_JOINT] = drawer
    return Observed(START_NS + step * PERIOD_NS, epoch, np.zeros(15, dtype=np.float32), scene)


class SlowDriver:
    """Observations are delivered one at a time, while somebody waits."""

    def __init__(self) -> None:
        self.under_way: list[Observed] = []
        self.watcher = lambda seen: None

    def watch(self, watcher) -> None:
        self.watcher = watcher

    def observe(self) -> Observed:
        return observed(0)

    def deliver(self, number: int = 1) -> None:
        for _ in range(number):
            self.watcher(self.under_way.pop(0))

    def wait_until(self, condition, what: str) -> None:
        while not condition():
            if not self.under_way:
                raise ConfigError(f"no {what}")
            self.deliver()


@pytest.fixture
def driver():
    return SlowDriver()


@pytest.fixture
def oracle(driver):
    oracle = SceneOracle(driver, "open_drawer", PERIOD_NS)
    oracle.begin(driver.observe())
    return oracle


@pytest.fixture
def judge(driver, oracle):
    judge = SceneJudge(driver, oracle, lambda text: None)
    judge.start()
    return judge


@pytest.mark.parametrize("code", [Result.NONE, Result.TIME_LIMIT, Result.CANCELED])
def test_result_that_overtakes_the_last_steps_does_not_hide_success(driver, judge, code):
    driver.under_way = [observed(step, OPEN if step == 5 else SHUT) for step in range(1, 6)]
    driver.deliver(2)
    assert not judge.enough()
    assert judge.judge(Result(error_code=code, steps=6)) == Judgement("success")


def test_success_ends_the_trial_at_once_and_stays(driver, judge):
    driver.under_way = [observed(1), observed(2, OPEN), observed(3, SHUT)]
    driver.deliver(2)
    assert judge.enough()
    driver.deliver()
    assert judge.enough()
    assert judge.judge(Result(error_code=Result.CANCELED, steps=9)) == Judgement("success")


def test_failure_is_said_once_all_steps_of_the_policy_were_seen(driver, judge):
    driver.under_way = [observed(step) for step in range(1, 9)]
    assert judge.judge(Result(error_code=Result.TIME_LIMIT, steps=6)) == Judgement("failure")
    assert [seen.stamp_ns for seen in driver.under_way] == [
        observed(step).stamp_ns for step in (6, 7, 8)
    ]


def test_steps_of_another_episode_do_not_count(driver, judge):
    driver.under_way = [observed(0, OPEN, epoch=0), observed(1, OPEN, epoch=2), observed(1)]
    assert judge.judge(Result(error_code=Result.TIME_LIMIT, steps=2)) == Judgement("failure")


def test_broken_run_is_void_and_nothing_is_waited_for(driver, judge):
    broken = Result(error_code=Result.STALE_OBSERVATION, error_msg="camera", steps=6)
    assert judge.judge(broken) == Judgement("void", "camera")


def test_run_that_broke_after_success_was_a_success(driver, judge):
    driver.under_way = [observed(1, OPEN)]
    driver.deliver()
    assert judge.judge(Result(error_code=Result.ROBOT, steps=6)) == Judgement("success")


def test_steps_that_never_come_are_an_error_and_no_failure(driver, judge):
    driver.under_way = [observed(1)]
    with pytest.raises(ConfigError, match="last observations"):
        judge.judge(Result(error_code=Result.TIME_LIMIT, steps=6))


def test_new_trial_forgets_the_last_one(driver, judge):
    driver.under_way = [observed(1, OPEN)]
    driver.deliver()
    judge.start()
    assert not judge.enough()
    assert judge.judge(Result(error_code=Result.TIME_LIMIT, steps=0)) == Judgement("failure")


def test_oracle_counts_the_steps_until_success(driver, oracle):
    driver.under_way = [observed(step, OPEN if step >= 3 else SHUT) for step in range(1, 6)]
    assert oracle.wait_for(Result(steps=6))
    driver.deliver(2)
    assert oracle.steps == 3


def test_oracle_knows_its_tasks(driver):
    with pytest.raises(ConfigError, match="task"):
        SceneOracle(driver, "fly", PERIOD_NS)


class PlayedNode:
    """Keeps the callbacks of its subscriptions."""

    def __init__(self) -> None:
        self.callbacks = {}

    def create_subscription(self, kind, topic, callback, profile) -> None:
        self.callbacks[topic] = callback


def test_every_complete_step_is_passed_on_once(lowdim_contract):
    """Whatever the order in which its messages arrive."""
    node = PlayedNode()
    seen: list[Observed] = []
    observer = Observer(node, lowdim_contract)
    observer.watchers.append(seen.append)
    pose, scene = conversions.make_pose("world"), conversions.make_scene()
    joints = conversions.make_joints(lowdim_contract.observations["joint_states"].names)
    orders = (
        ("ee_pose", "joint_states", "scene_state"),
        ("scene_state", "joint_states", "ee_pose"),
    )
    for step, topics in enumerate(orders * 2):
        stamp_ns = START_NS + step * PERIOD_NS
        conversions.fill_pose(pose, stamp_ns, np.array([0, 0, 0.5, 0, 0, 0, 1.0]))
        conversions.fill_joints(joints, stamp_ns, np.zeros(9))
        conversions.fill_scene(scene, stamp_ns, 7, np.full(24, step))
        messages = {"ee_pose": pose, "joint_states": joints, "scene_state": scene}
        for topic in topics:
            node.callbacks[topic](messages[topic])
    assert [one.stamp_ns for one in seen] == [START_NS + step * PERIOD_NS for step in range(4)]
    assert [one.scene_obs[0] for one in seen] == [0, 1, 2, 3]
    assert {one.epoch for one in seen} == {7} and observer.latest is seen[-1]
