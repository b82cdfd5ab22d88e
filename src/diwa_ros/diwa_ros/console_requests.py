# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Sending the console's commands to the recorder, once more where an answer is lost.

An answer is lost when the recorder has not found the client yet. Asking again is harmless: every
command but the start names its episode, and a start that has happened shows in the status.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from diwa_msgs.msg import RecorderStatus
from diwa_msgs.srv import (
    DiscardEpisode,
    EndEpisode,
    LabelEpisode,
    RestoreEpisode,
    StartEpisode,
)
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from diwa_ros.console_keys import Command
from diwa_ros.recorder_messages import outcome_number

RESEND_S = 4.0  # a start or an end may take two seconds
ATTEMPTS = 5
SERVICES = {
    "start": (StartEpisode, "start_episode"),
    "end": (EndEpisode, "end_episode"),
    "label": (LabelEpisode, "label_episode"),
    "discard": (DiscardEpisode, "discard_episode"),
    "restore": (RestoreEpisode, "restore_episode"),
}


class Asked(NamedTuple):
    """A request without an answer yet."""

    command: Command
    request: Any
    future: Future
    at_s: float
    attempts: int


class Requests:
    """One request at a time.

    Attributes:
        message: what came of the last one, or that it is under way.
    """

    def __init__(self, node: Node, recorder: str) -> None:
        self.message = ""
        self._asked: Asked | None = None
        self._clients: dict[str, Client] = {
            kind: node.create_client(service, f"{recorder}/{name}")
            for kind, (service, name) in SERVICES.items()
        }

    def send(self, command: Command) -> None:
        """Ask the recorder to do something."""
        client = self._clients[command.kind]
        if self._asked is not None:
            self.message = f"wait: {self._asked.command.kind} is not answered yet"
        elif not client.service_is_ready():
            self.message = f"no service {client.srv_name}: is the recorder running?"
        else:
            request = make_request(command)
            future = client.call_async(request)
            self._asked = Asked(command, request, future, time.monotonic(), 1)
            self.message = f"{command.kind} ..."

    def update(self, status: RecorderStatus | None) -> None:
        """Take the answer; send the request again where it seems to be lost.

        Args:
            status: the latest, which may show that the request was done.
        """
        asked = self._asked
        if asked is None:
            return
        kind = asked.command.kind
        if asked.future.done():
            answer: Any = asked.future.result()
            done = f"{kind}: {answer.episode_id}" if answer.success else f"{kind} was refused"
            self._finish(asked, f"{done}: {answer.message}" if answer.message else done)
        elif time.monotonic() - asked.at_s > RESEND_S:
            if status is not None and _has_happened(asked.command, status):
                self._finish(asked, f"{kind}: {status.episode_id}")
            elif asked.attempts == ATTEMPTS:
                self._finish(asked, f"{kind}: no answer")
            else:
                self._send_again(asked)

    def _send_again(self, asked: Asked) -> None:
        client = self._clients[asked.command.kind]
        client.remove_pending_request(asked.future)
        self._asked = asked._replace(
            future=client.call_async(asked.request),
            at_s=time.monotonic(),
            attempts=asked.attempts + 1,
        )

    def _finish(self, asked: Asked, message: str) -> None:
        self._clients[asked.command.kind].remove_pending_request(asked.future)
        self._asked, self.message = None, message


def make_request(command: Command) -> Any:
    """The service request of a command."""
    values: dict[str, Any] = dict(command.values)
    if "outcome" in values:
        values["outcome"] = outcome_number(values["outcome"])
    return SERVICES[command.kind][0].Request(**values)


def _has_happened(command: Command, status: RecorderStatus) -> bool:
    """Whether the status shows what the command was to bring about."""
    if command.kind == "start":
        return bool(status.recording)
    return command.kind == "end" and not status.recording
