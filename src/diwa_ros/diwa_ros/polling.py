# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Topics that are looked at when somebody wants to know, instead of at every message.

An arm's state comes at up to 1 kHz, and a Python callback per message would keep a core busy. Here
the middleware keeps the newest message, which is deserialised only when it is asked for.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Best effort, so that it matches publishers of either kind; only the newest message is kept.
NEWEST = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)


class Received(NamedTuple):
    """The newest message of a topic."""

    message: Any
    received_s: float  # on the monotonic clock


class PolledTopic:
    """The newest message of a topic, taken on demand.

    A message with the same header stamp as the one before it is not taken for a new one: its sender
    repeats itself, and what it says grows old.

    Args:
        node: to subscribe with.
        kind: message class.
        topic: name.
    """

    def __init__(self, node: Node, kind: type, topic: str) -> None:
        self._node = node
        self._subscription = node.create_subscription(
            kind, topic, _ignore, NEWEST, callback_group=_NeverCalled()
        )
        self._newest: Received | None = None
        self._polled_s = time.monotonic()
        self._stamp: tuple[int, int] | None = None

    @property
    def topic(self) -> str:
        """Full name."""
        return str(self._subscription.topic_name)

    @property
    def publishers(self) -> int:
        """How many nodes publish it."""
        return self._node.count_publishers(self._subscription.topic_name)

    def newest(self) -> Received | None:
        """The newest message; None before the first."""
        now_s = time.monotonic()
        with self._subscription.handle:
            taken = self._subscription.handle.take_message(self._subscription.msg_type, False)
        if taken is not None:
            message, info = taken
            stamp = _stamp(message)
            if stamp is None or stamp != self._stamp:
                self._stamp = stamp
                # The middleware's clock may be set; the message came since the last look.
                age_s = time.time() - info["received_timestamp"] / 1e9
                age_s = min(max(age_s, 0.0), now_s - self._polled_s)
                self._newest = Received(message, now_s - age_s)
        self._polled_s = now_s
        return self._newest

    def close(self) -> None:
        """Subscribe no longer."""
        self._node.destroy_subscription(self._subscription)


class _NeverCalled(CallbackGroup):
    """Keeps an executor from waiting for its members."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return None


def _ignore(message: Any) -> None:
    """Never called."""


def _stamp(message: Any) -> tuple[int, int] | None:
    header = getattr(message, "header", None)
    if header is None:
        return None
    stamp = (int(header.stamp.sec), int(header.stamp.nanosec))
    return None if stamp == (0, 0) else stamp
