# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Grippers on topics and actions. Nobody waits for one: it takes a second, the arm goes on.

The Franka hand cannot be streamed to. Closing is a grasp of any width, opening a move to the full
one; what is under way is stopped before the opposite begins.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from action_msgs.msg import GoalStatus
from rclpy.action.client import ActionClient
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from diwa.control.gripper import GripperCommand
from diwa.control.robots import GripperLimits
from diwa_ros import qos
from diwa_ros.backends.presets import GripperTopics


class Gripper(Protocol):
    """What a backend needs of a gripper."""

    def send(self, command: GripperCommand) -> None:
        """Open or close; returns at once."""

    def problems(self) -> list[str]:
        """Why it cannot be told anything, in words."""

    def notes(self) -> list[str]:
        """What is missing for good, in words."""

    def close(self) -> None:
        """Let go of publishers and clients."""


class PositionGripper:
    """One number on a topic, as the ros2_control command controllers want it."""

    def __init__(self, node: Node, topics: GripperTopics) -> None:
        self._values = {
            GripperCommand.OPEN: topics.position_open,
            GripperCommand.CLOSE: topics.position_closed,
        }
        self._node = node
        self._publisher = node.create_publisher(
            Float64MultiArray, f"{topics.prefix}/commands", qos.COMMAND
        )

    def send(self, command: GripperCommand) -> None:
        """Publish the command's number."""
        self._publisher.publish(Float64MultiArray(data=[self._values[command]]))

    def problems(self) -> list[str]:
        """Whether anybody listens."""
        if self._publisher.get_subscription_count():
            return []
        return [f"nobody listens to {self._publisher.topic_name}: is the gripper's driver running?"]

    def notes(self) -> list[str]:
        """Nothing is ever missing."""
        return []

    def close(self) -> None:
        """Publish no longer."""
        self._node.destroy_publisher(self._publisher)


class ActionGripper:
    """Actions of franka_gripper, or one of type control_msgs/GripperCommand.

    Args:
        node: to send goals from.
        prefix: of the names of actions and of the service `stop`.
        goals: how to make a goal: per command, the action's name, class and goal.
    """

    def __init__(
        self, node: Node, prefix: str, goals: dict[GripperCommand, tuple[str, Any, Any]]
    ) -> None:
        self._node = node
        self._goals = {command: (name, goal) for command, (name, _, goal) in goals.items()}
        self._clients: dict[str, ActionClient] = {
            name: ActionClient(node, kind, f"{prefix}/{name}") for name, kind, _ in goals.values()
        }
        self._prefix = prefix
        self._stop: Client = node.create_client(Trigger, f"{prefix}/stop")
        self._count = 0  # commands so far; answers to older ones are not looked at
        self._busy = False

    def send(self, command: GripperCommand) -> None:
        """Send the goal; after a stop, where another one is under way."""
        self._count += 1
        number = self._count
        if self._busy and self._stop.service_is_ready():
            future = self._stop.call_async(Trigger.Request())
            future.add_done_callback(lambda _: self._begin(command, number))
        else:
            self._begin(command, number)

    def problems(self) -> list[str]:
        """Which action servers are not there."""
        return [
            f"no action server {self._prefix}/{name}: is the gripper's node running? see "
            "gripper.prefix in the preset"
            for name, client in self._clients.items()
            if not client.server_is_ready()
        ]

    def notes(self) -> list[str]:
        """Nothing is missing for good."""
        return []

    def close(self) -> None:
        """Let go of the clients; what is under way is not stopped."""
        self._count += 1
        for client in self._clients.values():
            client.destroy()
        self._node.destroy_client(self._stop)

    def _begin(self, command: GripperCommand, number: int) -> None:
        if number != self._count:
            return
        name, goal = self._goals[command]
        self._busy = True
        sent = self._clients[name].send_goal_async(goal)
        sent.add_done_callback(lambda future: self._on_accepted(future, name, number))

    def _on_accepted(self, future: Future[Any], name: str, number: int) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._ended(name, number, "refused")
            return
        result = handle.get_result_async()
        result.add_done_callback(lambda future: self._on_result(future, name, number))

    def _on_result(self, future: Future[Any], name: str, number: int) -> None:
        answer = future.result()
        worked = answer is not None and answer.status == GoalStatus.STATUS_SUCCEEDED
        self._ended(name, number, "" if worked else "did not succeed")

    def _ended(self, name: str, number: int, problem: str) -> None:
        if number != self._count:
            return
        self._busy = False
        if problem:
            self._node.get_logger().warning(f"gripper: {self._prefix}/{name} {problem}")


class NoGripper:
    """Takes every command and does nothing.

    Args:
        reason: why, in words; empty where none is wanted.
    """

    def __init__(self, reason: str = "") -> None:
        self._reason = reason

    def send(self, command: GripperCommand) -> None:
        """Nothing."""

    def problems(self) -> list[str]:
        """None: the arm can be moved without."""
        return []

    def notes(self) -> list[str]:
        """The reason."""
        return [self._reason] if self._reason else []

    def close(self) -> None:
        """Nothing."""


def make_gripper(node: Node, topics: GripperTopics, limits: GripperLimits) -> Gripper:
    """The gripper of a preset."""
    if topics.kind == "none":
        return NoGripper()
    if topics.kind == "position":
        return PositionGripper(node, topics)
    package = {"franka": "franka_msgs", "command": "control_msgs"}[topics.kind]
    try:
        actions = importlib.import_module(f"{package}.action")
    except ImportError:
        return NoGripper(f"{package} is not installed: the gripper is off")
    make_goals = _franka_goals if topics.kind == "franka" else _command_goals
    return ActionGripper(node, topics.prefix, make_goals(actions, limits))


def _franka_goals(
    actions: Any, limits: GripperLimits
) -> dict[GripperCommand, tuple[str, Any, Any]]:
    grasp = actions.Grasp.Goal(width=0.0, speed=limits.speed, force=limits.force)
    grasp.epsilon.inner = grasp.epsilon.outer = limits.grasp_epsilon
    move = actions.Move.Goal(width=limits.max_width, speed=limits.speed)
    return {
        GripperCommand.CLOSE: ("grasp", actions.Grasp, grasp),
        GripperCommand.OPEN: ("move", actions.Move, move),
    }


def _command_goals(
    actions: Any, limits: GripperLimits
) -> dict[GripperCommand, tuple[str, Any, Any]]:
    kind = actions.GripperCommand
    goals = {}
    # Positions are per finger: half the width.
    for command, position in (
        (GripperCommand.OPEN, limits.max_width / 2),
        (GripperCommand.CLOSE, 0.0),
    ):
        goal = kind.Goal()
        goal.command.position, goal.command.max_effort = position, limits.force
        goals[command] = ("gripper_action", kind, goal)
    return goals
