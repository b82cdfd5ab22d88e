# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The arm's own collision thresholds, set by the service of its driver."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from rclpy.timer import Timer

from diwa.control.robots import GuardLimits

TRY_PERIOD_S = 0.5
ANSWER_S = 5.0  # an answer that is later than this was lost: ask again


class CollisionThresholds:
    """Asks until it is answered; nobody waits for it.

    Args:
        node: to ask from.
        service: franka_msgs/srv/SetFullCollisionBehavior; empty: none.
        guard: thresholds; the same for contact and collision, accelerating or not.
    """

    def __init__(self, node: Node, service: str, guard: GuardLimits) -> None:
        self._node = node
        self._name = service
        self._guard = guard
        self._kind = _service_kind() if service else None
        self._client: Client | None = None
        self._timer: Timer | None = None
        self._asked: Future[Any] | None = None
        self._waits = 0  # tries since it was asked
        self._note = ""
        if self._kind is not None:
            self._note = f"collision thresholds are not set: nobody answers on {service}"
            self._client = node.create_client(self._kind, service)
            self._timer = node.create_timer(TRY_PERIOD_S, self._try)
        elif service:
            self._note = "franka_msgs is not installed: collision thresholds are the driver's"

    def notes(self) -> list[str]:
        """Why the thresholds are not those of the robot's file, in words."""
        return [self._note] if self._note else []

    def close(self) -> None:
        """Ask no more."""
        self._done()
        if self._client is not None:
            self._node.destroy_client(self._client)
            self._client = None

    def _try(self) -> None:
        client = self._client
        if client is None or not client.service_is_ready():
            return
        self._waits += 1
        if self._asked is not None and self._waits * TRY_PERIOD_S < ANSWER_S:
            return
        if self._asked is not None:
            client.remove_pending_request(self._asked)
        self._waits = 0
        self._asked = client.call_async(self._request())
        self._asked.add_done_callback(self._on_answer)

    def _request(self) -> Any:
        assert self._kind is not None
        request = self._kind.Request()
        for limit in ("lower", "upper"):
            for when in ("acceleration", "nominal"):
                torques, forces = (
                    [self._guard.collision_torque] * 7,
                    [self._guard.collision_force] * 6,
                )
                setattr(request, f"{limit}_torque_thresholds_{when}", torques)
                setattr(request, f"{limit}_force_thresholds_{when}", forces)
        return request

    def _on_answer(self, future: Future[Any]) -> None:
        if future.cancelled() or self._client is None:
            return
        answer = future.result()
        if answer is None:
            return
        self._note = "" if answer.success else f"collision thresholds were refused: {answer.error}"
        self._done()

    def _done(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None


def _service_kind() -> Any:
    try:
        module = importlib.import_module("franka_msgs.srv")
    except ImportError:
        return None
    return getattr(module, "SetFullCollisionBehavior", None)
