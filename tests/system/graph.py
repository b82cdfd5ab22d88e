# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes in processes of their own, and a node of the test's that talks to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diwa_msgs.msg import ActionChunk
from rclpy.executors import SingleThreadedExecutor

from diwa_ros import qos
from diwa_ros.processes import NodeProcess, Parameter

TIMEOUT_S = 90.0
RESEND_S = 10.0  # without an answer for this long, a request is sent again
SETTLE_S = 0.5  # for the server to discover the client: it drops answers to clients unknown to it


class Graph:
    """A ROS graph with a node `tester` in this process."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder = folder
        self.processes: dict[str, NodeProcess] = {}
        self._clients: dict[str, Any] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("tester", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.node.create_timer(0.1, lambda: None)

    @property
    def executor(self) -> SingleThreadedExecutor:
        """That spins the tester."""
        return self._executor

    def start(
        self, node: str, remappings=None, environment=None, **parameters: Parameter
    ) -> NodeProcess:
        process = NodeProcess(
            node, parameters, self.folder, remappings=remappings, environment=environment
        )
        self.processes[node] = process
        return process

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.stop()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_until(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S):
        """Spin until `condition()` is true; returns its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            self._executor.spin_once(timeout_sec=0.1)
            assert time.monotonic() < deadline, f"no {what} within {timeout_s} s\n{self.logs()}"
        return value

    def result_of(self, future: Any, what: str = "answer") -> Any:
        self.wait_until(future.done, what)
        return future.result()

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Answer of a service; the request goes out again when an answer seems lost."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, name)
            self.wait_until(client.service_is_ready, name)
            self.settle()
        answers: list[Any] = []
        asked_at = float("-inf")

        def answer() -> Any:
            nonlocal asked_at
            if time.monotonic() - asked_at > RESEND_S:
                answers.append(client.call_async(request))
                asked_at = time.monotonic()
            return next((future for future in answers if future.done()), None)

        return self.wait_until(answer, name).result()

    def settle(self) -> None:
        """Let a server discover a client made a moment ago."""
        until = time.monotonic() + SETTLE_S
        self.wait_until(lambda: time.monotonic() > until, "time")

    def collect(self, kind: type, topic: str, profile: Any = qos.OBSERVATION) -> list[Any]:
        """A list that grows with every message of a topic."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, profile)
        return messages

    def publisher(self, topic: str = "action_chunk") -> Any:
        """A publisher of chunks that somebody listens to."""
        publisher = self.node.create_publisher(ActionChunk, topic, qos.COMMAND)
        self.wait_until(publisher.get_subscription_count, f"subscriber of {topic}")
        return publisher

    def logs(self) -> str:
        return "\n".join(f"--- {n}\n{p.log_text()[-3000:]}" for n, p in self.processes.items())
