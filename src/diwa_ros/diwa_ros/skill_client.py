# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Running a served skill from a script, and ending it when the script has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable

from diwa_msgs.action import RunSkill
from rclpy.action.client import ActionClient, ClientGoalHandle
from rclpy.node import Node

from diwa.errors import ConfigError
from diwa_ros.asking import Asking

NEVER = 2.0  # a success threshold that no probability reaches
Code = RunSkill.Result
ENDED = (Code.NONE, Code.TIME_LIMIT, Code.CANCELED)  # such a run says something about its policy
FATAL = (Code.UNKNOWN_SKILL, Code.DEACTIVATED, Code.INTERNAL)  # the next one would end like it
SETTLE_S = 0.5  # for the server to discover us: it drops answers to clients that it does not know


class SkillClient:
    """One policy server's action.

    Args:
        node: to act through.
        asking: spins it.
        server: name of the policy server's node.
    """

    def __init__(self, node: Node, asking: Asking, server: str) -> None:
        self._asking = asking
        self._server = server
        self._client: ActionClient = ActionClient(node, RunSkill, f"{server}/run_skill")

    def wait(self) -> None:
        """Until the server takes goals."""
        self._asking.wait_until(self._client.server_is_ready, f"policy server {self._server}")
        until = time.monotonic() + SETTLE_S
        self._asking.wait_until(lambda: time.monotonic() > until, "time")

    def run(self, goal: RunSkill.Goal, enough: Callable[[], bool]) -> RunSkill.Result:
        """Run a skill to its end; it is cancelled once `enough()`, which is asked all the time."""
        handle: ClientGoalHandle = self._asking.result_of(self._client.send_goal_async(goal))
        if not handle.accepted:
            raise ConfigError("the policy server refused the goal", hint="see its log")
        future = handle.get_result_async()
        cancelled = False
        while not future.done():
            self._asking.spin_once()
            if not cancelled and enough():
                handle.cancel_goal_async()
                cancelled = True
        answer = future.result()
        assert answer is not None, "a future that is done has a result"
        return answer.result

    def close(self) -> None:
        """Before the node goes."""
        self._client.destroy()
