# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting and asking in a script that spins its own executor.

A script reads from top to bottom, and a signal ends it wherever it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from diwa.errors import ConfigError

WAIT_S = 30.0
TICK_S = 0.1  # the executor returns at least this often
ASK_AGAIN_S = 5.0  # a request of a service: its answer is lost if the server does not know us yet


class Asking:
    """A script's ears.

    Args:
        node: to act through.
        executor: that spins it.
    """

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self._executor = executor
        node.create_timer(TICK_S, lambda: None)

    def spin_once(self) -> None:
        """Handle one event; returns within a tenth of a second."""
        self._executor.spin_once()

    def wait_until(
        self, condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S
    ) -> None:
        """Spin until `condition()` is true; `what` is waited for, as named in the error."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._executor.spin_once()
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"no {what} within {timeout_s:g} s",
                    hint="start the other nodes, in the same namespace and DDS domain; see logs",
                )

    def result_of(self, future: Future) -> Any:
        """Spin until `future` is done; returns its result."""
        self.wait_until(future.done, "answer")
        return future.result()

    def call(self, client: Client, request: Any) -> Any:
        """Answer of a service; the request goes out again when an answer seems lost."""
        self.wait_until(client.service_is_ready, f"service {client.srv_name}")
        answers = [client.call_async(request)]
        asked = time.monotonic()

        def answered() -> bool:
            nonlocal asked
            if time.monotonic() - asked > ASK_AGAIN_S:
                answers.append(client.call_async(request))
                asked = time.monotonic()
            return any(answer.done() for answer in answers)

        self.wait_until(answered, f"answer of {client.srv_name}")
        return next(answer for answer in answers if answer.done()).result()
