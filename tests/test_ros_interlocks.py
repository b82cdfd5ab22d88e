# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Emergency stop, dead-man's switch, the arm's bridge and its contract, by their own topics."""

from __future__ import annotations

import time
from functools import partial

import pytest
import rclpy
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import RobotStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Bool

from diwa_ros import interlocks, qos
from diwa_ros.interlocks import SILENT_S, Interlocks
from diwa_ros.robot_contract import publish_contract

Result = RunSkill.Result


class Bench:
    """A node with interlocks, and one that talks to them."""

    def __init__(self, domain, contract):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("server", context=self.context)
        self.other = rclpy.create_node("other", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)
        self.contract = contract
        self.changes = 0

    def make(self, **changes):
        settings = {"require_enable": False, "require_contract": False, "robot_status": "status"}
        self.interlocks = Interlocks(self.node, **{**settings, **changes}, on_change=self.on_change)

    def on_change(self):
        self.changes += 1

    def say(self, publisher, message):
        """Publish and wait until it was heard."""
        before, deadline = self.changes, time.monotonic() + 60
        while not publisher.get_subscription_count():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.1)
        publisher.publish(message)
        while self.changes == before:
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.1)

    def until(self, true):
        """Spin until something is true."""
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.1)

    @property
    def may_go(self):
        """Whether nothing keeps a policy from moving the arm."""
        return self.problem() is None

    def problem(self):
        return self.interlocks.problem(self.contract, "checkpoint")

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.other.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def bench(ros_domain, lowdim_contract):
    bench = Bench(ros_domain, lowdim_contract)
    yield bench
    bench.close()


def test_nobody_there_is_no_problem(bench):
    bench.make()
    assert bench.problem() is None


def test_emergency_stop_holds_until_it_is_released_also_for_latecomers(bench):
    publisher = bench.other.create_publisher(Bool, "estop", qos.LATCHED)
    publisher.publish(Bool(data=True))
    bench.make()
    bench.until(lambda: bench.problem() is not None)
    assert bench.problem().code == Result.STOPPED
    publisher.publish(Bool(data=False))
    bench.until(lambda: bench.may_go)


@pytest.mark.parametrize("profile", [qos.LATCHED, qos.COMMAND, qos_profile_sensor_data])
@pytest.mark.parametrize("topic", ["estop", "enable"])
def test_stops_are_heard_from_every_kind_of_publisher(bench, topic, profile):
    bench.make(require_enable=topic == "enable")
    publisher = bench.other.create_publisher(Bool, topic, profile)
    bench.until(publisher.get_subscription_count)
    go = topic == "enable"

    def heard(value):
        publisher.publish(Bool(data=value))
        return bench.may_go == (value == go)

    for value in (go, not go, go):
        bench.until(partial(heard, value))
    assert bench.may_go


def test_switch_must_be_held_down_and_heard_of(bench, monkeypatch):
    bench.make(require_enable=True)
    assert bench.problem().code == Result.STOPPED
    publisher = bench.other.create_publisher(Bool, "enable", qos.COMMAND)
    now = time.monotonic()
    monkeypatch.setattr(interlocks.time, "monotonic", lambda: now)
    monkeypatch.setattr(bench, "say", _say_without_clock(bench))
    bench.say(publisher, Bool(data=True))
    assert bench.problem() is None
    now += 0.2
    assert bench.problem() is None
    now += 0.1
    assert "enable" in bench.problem().message
    bench.say(publisher, Bool(data=True))
    assert bench.problem() is None
    bench.say(publisher, Bool(data=False))
    assert bench.problem().code == Result.STOPPED


def _say_without_clock(bench):
    def say(publisher, message):
        before = bench.changes
        while not publisher.get_subscription_count():
            bench.executor.spin_once(timeout_sec=0.1)
        publisher.publish(message)
        while bench.changes == before:
            bench.executor.spin_once(timeout_sec=0.1)

    return say


@pytest.mark.parametrize("state", [RobotStatus.READY, RobotStatus.MOVING, RobotStatus.HOLDING])
def test_arm_that_works_is_no_problem(bench, state):
    bench.make()
    publisher = bench.other.create_publisher(RobotStatus, "status", qos.STATUS)
    bench.say(publisher, RobotStatus(state=state))
    assert bench.problem() is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (RobotStatus(state=RobotStatus.GATED, problems=["far from the start"]), "far from the"),
        (RobotStatus(state=RobotStatus.REFLEX, errors=["joint_reflex"]), "joint_reflex"),
        (RobotStatus(state=RobotStatus.STOPPED, reason="pushed"), "stopped: pushed"),
        (RobotStatus(state=RobotStatus.HOMING), "on its way home"),
    ],
)
def test_arm_that_does_not_work_is_one(bench, status, words):
    bench.make()
    bench.say(bench.other.create_publisher(RobotStatus, "status", qos.STATUS), status)
    assert bench.problem().code == Result.ROBOT
    assert words in bench.problem().message


def test_bridge_that_falls_silent_is_taken_for_dead(bench, monkeypatch):
    bench.make()
    publisher = bench.other.create_publisher(RobotStatus, "status", qos.STATUS)
    bench.say(publisher, RobotStatus(state=RobotStatus.MOVING))
    now = time.monotonic() + SILENT_S + 1.0
    monkeypatch.setattr(interlocks.time, "monotonic", lambda: now)
    assert "silent" in bench.problem().message


def test_contract_of_the_robot_must_be_the_checkpoints(bench, camera_contract):
    bench.make(require_contract=True)
    assert "robot_contract" in bench.problem().message
    publisher = publish_contract(bench.other, camera_contract)
    deadline = time.monotonic() + 60
    while "rgb_static" not in bench.problem().message:
        assert time.monotonic() < deadline
        bench.executor.spin_once(timeout_sec=0.1)
    assert bench.problem().code == Result.ROBOT
    bench.contract = camera_contract
    assert bench.problem() is None
    assert publisher.get_subscription_count() == 1
