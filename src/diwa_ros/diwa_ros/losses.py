# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the middleware says about a subscription: messages lost on the way, QoS that does not fit.

Which of these events exist depends on the RMW, and asking for one that does not is an error there.
Loss is then seen in the header stamps alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription


class Watch(NamedTuple):
    """Who is told about one subscription."""

    lost: Callable[[int], None]  # with the number of messages lost since the last call
    incompatible: Callable[[str], None]  # with the name of the policy, as in RELIABILITY


def subscribe_watched(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    watch: Watch,
    *,
    raw: bool = True,
    **options: Any,
) -> tuple[Subscription, bool]:
    """Subscribe, with the events that this middleware has.

    Args:
        node: to subscribe from.
        kind: message class.
        topic: its name.
        callback: gets the message, serialised where `raw`.
        profile: quality of service.
        watch: is told what happens.
        raw: leave messages serialised.
        **options: further arguments of `create_subscription`.

    Returns:
        The subscription, and whether losses are reported.
    """

    def create(events: SubscriptionEventCallbacks) -> Subscription:
        return node.create_subscription(
            kind, topic, callback, profile, raw=raw, event_callbacks=events, **options
        )

    def on_lost(event: Any) -> None:
        watch.lost(event.total_count_change)

    def on_incompatible(event: Any) -> None:
        watch.incompatible(qos_policy_name_from_kind(event.last_policy_kind))

    for lost, incompatible in ((on_lost, on_incompatible), (on_lost, None), (None, None)):
        events = SubscriptionEventCallbacks(
            message_lost=lost,
            incompatible_qos=incompatible,
            use_default_callbacks=False,
        )
        try:
            return create(events), lost is not None
        except UnsupportedEventTypeError:
            continue
    raise AssertionError("a subscription without events needs none")
