# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""MoveIt Servo has to be told which kind of command it is to listen to."""

from __future__ import annotations

import importlib
import time
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

COMMAND_TYPES = {"twist": 1, "pose": 2}  # of moveit_msgs/ServoCommandType
ASK_AGAIN_S = 2.0  # an answer is lost if the server does not know us yet


class Servo:
    """Sets a Servo node's command type, where moveit_msgs is installed.

    Args:
        node: to call from.
        servo: name of the Servo node.
        kind: twist or pose.
    """

    def __init__(self, node: Node, servo: str, kind: str) -> None:
        self._node = node
        self._name = f"{servo}/switch_command_type"
        self._type = COMMAND_TYPES[kind]
        self._client: Client | None = None
        self._asked_s = float("-inf")
        self._refused = False
        self._set = False
        try:
            self._service: Any = importlib.import_module("moveit_msgs.srv").ServoCommandType
        except ImportError:
            return
        self._client = node.create_client(self._service, self._name)

    def problems(self) -> list[str]:
        """Empty once Servo has agreed; asks it now and then until it has."""
        client = self._client
        if client is None or self._set:
            return []
        if not client.service_is_ready():
            return [f"no service {self._name}: is MoveIt Servo running?"]
        if time.monotonic() - self._asked_s > ASK_AGAIN_S:
            self._asked_s = time.monotonic()
            future = client.call_async(self._service.Request(command_type=self._type))
            future.add_done_callback(self._on_answer)
        return [f"{self._name} " + ("was refused" if self._refused else "has not answered yet")]

    def notes(self) -> list[str]:
        """What the user has to do."""
        if self._client is not None:
            return []
        return [
            f"moveit_msgs is not installed: call {self._name} with command_type {self._type} "
            "yourself"
        ]

    def close(self) -> None:
        """Let go of the client."""
        if self._client is not None:
            self._node.destroy_client(self._client)
            self._client = None

    def _on_answer(self, future: Future[Any]) -> None:
        answer = future.result()
        self._set = answer is not None and bool(answer.success)
        self._refused = not self._set
