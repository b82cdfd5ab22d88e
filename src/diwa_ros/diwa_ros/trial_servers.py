# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Two policy servers for blind trials: both are loaded, one at a time is active.

They have neutral names, given out by chance, and their logs lie in the sealed folder: what can be
seen of the ROS graph tells one from the other, but not which is which.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from functools import partial

from diwa_msgs.msg import PolicyStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from diwa.errors import ConfigError
from diwa.trials.plan import ARMS, Arm
from diwa.trials.series import SEALED, Series
from diwa_ros import qos
from diwa_ros.asking import ASK_AGAIN_S, Asking
from diwa_ros.processes import NodeProcess, Parameter
from diwa_ros.skill_client import SkillClient

NAMES = ("policy_one", "policy_two")
LOAD_S = 120.0  # for a checkpoint to be loaded and tried out
CHANGE_S = 30.0
SERVING = (PolicyStatus.IDLE, PolicyStatus.WAITING, PolicyStatus.RUNNING, PolicyStatus.FAULT)


class TrialServers:
    """Starts both, and gives the arm to one of them.

    Args:
        node: to act through.
        asking: spins it.
        series: names the checkpoints.
        parameters: of both servers.
    """

    def __init__(
        self, node: Node, asking: Asking, series: Series, parameters: Mapping[str, Parameter]
    ) -> None:
        self._asking = asking
        names = NAMES if secrets.randbits(1) else NAMES[::-1]
        self.names: dict[Arm, str] = dict(zip(ARMS, names, strict=True))
        self.skills: dict[str, SkillClient] = {}
        self._processes: dict[str, NodeProcess] = {}
        self._clients: dict[str, Client] = {}
        self._states: dict[str, int] = {}
        for arm in sorted(ARMS, key=self.names.__getitem__):
            self._start(node, series, arm, parameters)

    def load(self) -> None:
        """Load both checkpoints; returns when both can be activated."""
        for name in NAMES:
            self._bring(name, Transition.TRANSITION_CONFIGURE, (PolicyStatus.INACTIVE,), LOAD_S)
        for skills in self.skills.values():
            skills.wait()

    def activate(self, arm: Arm) -> SkillClient:
        """Let one serve, and it alone."""
        name = self.names[arm]
        for other in NAMES:
            if other != name and self._states.get(other) in SERVING:
                self.rest(other)
        self._bring(name, Transition.TRANSITION_ACTIVATE, SERVING, CHANGE_S)
        return self.skills[name]

    def rest(self, name: str) -> None:
        """Let a server serve no longer; the arm holds."""
        deactivate = Transition.TRANSITION_DEACTIVATE
        self._bring(name, deactivate, (PolicyStatus.INACTIVE,), CHANGE_S)

    def close(self) -> None:
        """End both."""
        for skills in self.skills.values():
            skills.close()
        for process in self._processes.values():
            process.stop()

    def _start(
        self, node: Node, series: Series, arm: Arm, parameters: Mapping[str, Parameter]
    ) -> None:
        name = self.names[arm]
        settings = {
            **parameters,
            "autostart": False,
            "checkpoint": series.plan.candidate(arm).path,
        }
        self._processes[name] = NodeProcess(
            "policy_server",
            settings,
            series.folder / SEALED,
            name=name,
            namespace=node.get_namespace().rstrip("/"),
        )
        topic = f"{name}/status"
        node.create_subscription(PolicyStatus, topic, partial(self._on_status, name), qos.STATUS)
        self._clients[name] = node.create_client(ChangeState, f"{name}/change_state")
        self.skills[name] = SkillClient(node, self._asking, name)

    def _on_status(self, name: str, status: PolicyStatus) -> None:
        self._states[name] = status.state

    def _bring(self, name: str, transition: int, wanted: tuple[int, ...], timeout_s: float) -> None:
        """Ask for a transition until the server's status shows it; asking twice does no harm."""
        client, request = self._clients[name], ChangeState.Request()
        request.transition.id = transition
        first: Future | None = None
        asked = float("-inf")

        def done() -> bool:
            nonlocal first, asked
            if self._states.get(name) in wanted:
                return True
            self._require_alive(name)
            if client.service_is_ready() and time.monotonic() - asked > ASK_AGAIN_S:
                future = client.call_async(request)
                first = first or future
                asked = time.monotonic()
            answer = first.result() if first is not None and first.done() else None
            if answer is not None and not answer.success:
                raise ConfigError(
                    "a policy server could not be brought to work",
                    hint=f"see its log in the folder {SEALED} (it tells which checkpoint it has)",
                )
            return False

        self._asking.wait_until(done, f"answer of {name}", timeout_s)

    def _require_alive(self, name: str) -> None:
        process = self._processes[name]
        if process.poll() is not None:
            raise ConfigError(
                f"a policy server ended with code {process.poll()}",
                hint=f"see its log in the folder {SEALED} (it tells which checkpoint it has)",
            )
