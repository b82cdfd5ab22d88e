# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Actions of franka_ros2 that move or mend the arm outside a stream: recovery and slow motions."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from rclpy.action.client import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from diwa_ros.backends.base import Job, finished
from diwa_ros.backends.presets import Recovery

HOME_TOLERANCE_RAD = 0.01


class FrankaActions:
    """Clients for error recovery and point-to-point motions, as far as they are installed.

    Args:
        node: to send goals from.
        names: of the actions; empty ones are not used.
    """

    def __init__(self, node: Node, names: Recovery) -> None:
        self._node = node
        self._names = names
        self._actions = _franka_actions()
        self._clients: dict[str, ActionClient] = {}
        for name, kind in ((names.action, "ErrorRecovery"), (names.home_action, "PTPMotion")):
            if name and hasattr(self._actions, kind):
                self._clients[name] = ActionClient(node, getattr(self._actions, kind), name)

    @property
    def can_home(self) -> bool:
        """Whether there is somebody to move the arm to joint positions."""
        client = self._clients.get(self._names.home_action)
        return client is not None and client.server_is_ready()

    def recover(self) -> Job:
        """Clear the arm's errors; at once, where nobody is there who could."""
        client = self._clients.get(self._names.action)
        if client is None:
            return finished()
        if not client.server_is_ready():
            return finished(f"no action server {self._names.action}: is the driver running?")
        return self._run(client, self._actions.ErrorRecovery.Goal(), self._names.action)

    def home(self, joints: np.ndarray, speeds: np.ndarray) -> Job:
        """Move to joint positions (7,) [rad], no joint faster than its speed (7,) [rad/s]."""
        goal = self._actions.PTPMotion.Goal(
            goal_joint_configuration=joints.tolist(),
            maximum_joint_velocities=speeds.tolist(),
            goal_tolerance=HOME_TOLERANCE_RAD,
        )
        return self._run(self._clients[self._names.home_action], goal, self._names.home_action)

    def notes(self) -> list[str]:
        """What is missing, in words."""
        if self._names.action and self._names.action not in self._clients:
            return ["franka_msgs is not installed: errors of the arm have to be cleared by hand"]
        return []

    def close(self) -> None:
        """Let go of the clients."""
        for client in self._clients.values():
            client.destroy()
        self._clients.clear()

    def _run(self, client: ActionClient, goal: Any, name: str) -> Job:
        job: Job = Job()

        def on_accepted(future: Future[Any]) -> None:
            handle = future.result()
            if handle is None or not handle.accepted:
                _end(job, f"{name} refused the goal")
                return
            handle.get_result_async().add_done_callback(on_result)
            job.add_done_callback(lambda _: handle.cancel_goal_async() if job.cancelled() else None)

        def on_result(future: Future[Any]) -> None:
            answer = future.result()
            worked = answer is not None and answer.status == GoalStatus.STATUS_SUCCEEDED
            _end(job, "" if worked else f"{name} did not succeed")

        client.send_goal_async(goal).add_done_callback(on_accepted)
        return job


def _end(job: Job, problem: str) -> None:
    if not job.done():
        job.set_result(problem)


def _franka_actions() -> Any:
    try:
        return importlib.import_module("franka_msgs.action")
    except ImportError:
        return None
