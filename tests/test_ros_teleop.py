# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A person drives an arm that has no scene: a keyboard or a joystick, and a bridge's topics."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rclpy
from diwa_msgs.msg import ActionChunk, ExecutedAction
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState, Joy
from std_srvs.srv import Trigger

from diwa.data.contract import load_contract
from diwa.errors import ConfigError
from diwa_ros import keyboard, qos
from diwa_ros.conversions import (
    decode_chunk,
    fill_joints,
    fill_pose,
    make_joints,
    make_pose,
    time_ns,
)
from diwa_ros.joy_hand import JoyHand, parse_axes
from diwa_ros.paths import find_contract
from diwa_ros.teleop import Teleop

CLOSED_M = 0.01
START = np.array([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
BUTTONS = {"enable": 4, "gripper": 0, "home": 6, "recover": 7}
LIMIT_S = 60.0


class Robot:
    """What franka_bridge has to do with a teleop, in this process."""

    def __init__(self, node):
        self.contract = load_contract(find_contract("fr3_franka"))
        streams = self.contract.observations
        self.node, self.epoch, self.homes, self.recoveries = node, 3, 0, 0
        self.chunks: list[ActionChunk] = []
        self.stamps: list[int] = []
        self._pose, self._joints = (
            make_pose("fr3_link0"),
            make_joints(streams["joint_states"].names),
        )
        create = node.create_publisher
        self._poses = create(PoseStamped, streams["ee_pose"].topic, qos.OBSERVATION)
        self._states = create(JointState, streams["joint_states"].topic, qos.OBSERVATION)
        self._executed = create(ExecutedAction, self.contract.action.topic, qos.OBSERVATION)
        self.joystick = create(Joy, "joy", 5)
        node.create_subscription(ActionChunk, "action_chunk", self.chunks.append, qos.COMMAND)
        node.create_service(Trigger, "franka_bridge/home", self._home)
        node.create_service(Trigger, "franka_bridge/recover", self._recover)
        node.create_timer(0.02, self._step)

    def actions(self):
        return [decode_chunk(chunk, self.contract.action)[0] for chunk in self.chunks]

    def _step(self):
        stamp_ns = self.node.get_clock().now().nanoseconds
        self.stamps.append(stamp_ns)
        fill_pose(self._pose, stamp_ns, START)
        fill_joints(self._joints, stamp_ns, np.array([0.0] * 7 + [CLOSED_M / 2] * 2))
        executed = ExecutedAction(epoch=self.epoch)
        executed.header.stamp = self._pose.header.stamp
        self._poses.publish(self._pose)
        self._states.publish(self._joints)
        self._executed.publish(executed)

    def _home(self, request, response):
        self.homes += 1
        response.success = True
        return response

    def _recover(self, request, response):
        self.recoveries += 1
        response.success, response.message = False, "the emergency stop is on"
        return response


class Typist:
    """A terminal whose keys are typed when something has happened."""

    def __init__(self, *script):
        self._script = list(script)
        self._deadline = time.monotonic() + LIMIT_S

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def read(self):
        assert time.monotonic() < self._deadline, f"left: {self._script}"
        if not self._script:
            return "q"
        keys, done = self._script[0]
        if done():
            self._script.pop(0)
            return ""
        return keys() if callable(keys) else keys


@pytest.fixture
def drive(ros_domain, monkeypatch):
    """Runs a teleop with some parameters and a typist."""

    def run(script, **parameters):
        settings = {"contract": "fr3_franka", "record": "false", **parameters}
        words = [word for key, value in settings.items() for word in ("-p", f"{key}:={value}")]
        rclpy.init(args=["--ros-args", *words], domain_id=ros_domain)
        executor = SingleThreadedExecutor()
        robot = Robot(rclpy.create_node("robot"))
        teleop = Teleop()
        executor.add_node(robot.node)
        executor.add_node(teleop)
        monkeypatch.setattr(keyboard, "Terminal", lambda: Typist(*script(robot)))
        teleop.work(executor)
        return robot

    yield run
    rclpy.try_shutdown()


def test_keys_move_an_arm_without_a_scene(drive):
    robot = drive(lambda robot: [("w", lambda: len(robot.chunks) >= 5)], mode="keyboard")
    assert all(chunk.steps == 1 and chunk.source == "" for chunk in robot.chunks)
    assert {chunk.epoch for chunk in robot.chunks[1:]} == {3}, "that of the executed actions"
    stamps = [time_ns(chunk.header.stamp) for chunk in robot.chunks]
    assert set(stamps) <= set(robot.stamps) and len(set(stamps)) == len(stamps)
    # The gripper was closed when it began: the first motion does not open it.
    for action in robot.actions():
        np.testing.assert_allclose(action, [0, 0.5, 0, 0, 0, 0, -1])


def test_gripper_key_before_the_first_observation_counts(drive):
    typed = []

    def space():
        typed.append(" ")  # at once: closed, as it is, becomes open
        return " "

    def script(robot):
        yield space, lambda: typed
        yield "w", lambda: len(robot.chunks) >= 3

    assert {action[6] for action in drive(script, mode="keyboard").actions()} == {1.0}


def test_keys_send_a_real_arm_home_and_refusals_do_not_end_it(drive):
    def script(robot):
        keys = iter("98")
        yield (lambda: next(keys, "")), lambda: robot.homes and robot.recoveries
        yield "w", lambda: len(robot.chunks) >= 2

    robot = drive(script, mode="keyboard")
    assert (robot.homes, robot.recoveries) == (1, 1)


def test_scripts_still_want_a_scene(drive):
    with pytest.raises(ConfigError, match="scene"):
        drive(lambda robot: [], mode="play")


class Clock:
    now_s = 10.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def joystick(ros_domain):
    rclpy.init(domain_id=ros_domain)
    clock = Clock()
    node = rclpy.create_node("teleop")
    hand = JoyHand(node, "joy", parse_axes("1,0,4,-1,-1,3"), BUTTONS, 0.5, clock)

    def push(*down, **axes):
        message = Joy(axes=[0.0] * 6, buttons=[int(index in down) for index in range(8)])
        for name, value in axes.items():
            message.axes[int(name[1:])] = value
        hand._on_joy(message)

    yield hand, push, clock
    rclpy.try_shutdown()


def test_joystick_moves_only_while_its_enabling_button_is_held(joystick):
    hand, push, clock = joystick
    assert hand.action(clock()) is None
    push(a1=1.0)
    assert hand.action(clock()) is None
    push(4, a1=1.0, a0=-0.5, a3=0.05, a4=-3.0)
    np.testing.assert_allclose(hand.action(clock()), [0.5, -0.25, -0.5, 0, 0, 0, 1])
    push(4)
    assert hand.action(clock()) is None, "at rest"


def test_joystick_that_has_gone_silent_is_let_go(joystick):
    hand, push, clock = joystick
    push(4, a1=1.0)
    clock.now_s += 0.2
    assert hand.action(clock()) is not None
    clock.now_s += 0.1
    assert hand.action(clock()) is None


def test_joystick_gripper_turns_once_per_press_and_is_told_for_a_while(joystick):
    hand, push, clock = joystick
    push(4)
    push(4, 0)
    push(4, 0)
    np.testing.assert_allclose(hand.action(clock()), [0, 0, 0, 0, 0, 0, -1])
    push(0)
    push()
    push(0)
    assert hand.gripper == -1.0, "not enabled"
    clock.now_s += keyboard.HOLD_S + 0.01
    push(4)
    assert hand.action(clock()) is None


def test_joystick_buttons_ask_for_home_and_recovery_once(joystick):
    hand, push, clock = joystick
    push(6)
    assert hand.wishes(clock()) == [], "it may have been down before"
    push()
    push(6)
    push(6, 7)
    assert hand.wishes(clock()) == ["9", "8"]
    assert hand.wishes(clock()) == []


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d,e,f", ""])
def test_axes_are_six_numbers(text):
    with pytest.raises(ConfigError, match="six numbers"):
        parse_axes(text)
