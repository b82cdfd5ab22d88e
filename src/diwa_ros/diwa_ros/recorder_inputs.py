# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder's subscriptions: to what is published, in the way in which it is published.

The graph is looked at twice a second. Where a publisher is best effort the subscription becomes so
too, or it would get nothing; where an image is only published compressed, that is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from diwa.data.bags import contract_topics
from diwa.data.contract import Contract, Stream
from diwa.data.episode_cadence import expected_rates
from diwa.data.robot_check import accepted_types
from diwa_ros import qos
from diwa_ros.arrivals import Arrival, Source
from diwa_ros.conversions import message_type, serialized_stamp_ns
from diwa_ros.losses import Watch, subscribe_watched
from diwa_ros.robot_probe import find_source

DEPTH = 500  # messages per topic that may wait while the recorder is busy
SILENT_S = 2.0
SHORTEST = 12  # [B], a serialised message with a header stamp
BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT


@dataclass(slots=True)
class Input:
    """One topic of the contract."""

    topic: str
    stream: Stream | None  # None: the executed actions
    source: Source
    subscription: Subscription | None = None
    publishers: int = 0
    heard_s: float = float("-inf")  # when the last message came, on the monotonic clock
    numbered: bool = False  # its messages say by whom they are, and count
    said: str = ""  # the last warning


class Inputs:
    """Subscriptions to all topics of a contract.

    Args:
        node: to subscribe from.
        contract: names the topics.
        now_ns: receive clock.
        on_arrival: gets every message.
        on_lost: gets the topic and a number of messages, where only the middleware knows of them.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        now_ns: Callable[[], int],
        on_arrival: Callable[[Arrival], None],
        on_lost: Callable[[str, int], None],
    ) -> None:
        self._node = node
        self._contract = contract
        self._now_ns = now_ns
        self._on_arrival = on_arrival
        self._on_lost = on_lost
        self._rates = expected_rates(contract)
        streams: dict[str, Stream | None] = {s.topic: s for s in contract.observations.values()}
        self._inputs = {
            topic: Input(topic, streams.get(topic), self._default(topic, kind, streams.get(topic)))
            for topic, kind in contract_topics(contract).items()
        }
        for entry in self._inputs.values():
            self._subscribe(entry, entry.source)

    @property
    def publishers(self) -> dict[str, int]:
        """How many there are right now, by topic."""
        return {entry.topic: entry.publishers for entry in self._inputs.values()}

    def silent(self) -> list[str]:
        """Observation topics with a rate from which nothing has come for two seconds."""
        due = time.monotonic() - SILENT_S
        return [
            entry.topic
            for entry in self._inputs.values()
            if entry.stream is not None and self._rates[entry.topic] and entry.heard_s < due
        ]

    def refresh(self, fixed: Collection[str] = ()) -> None:
        """Look at the graph; the source of a topic in `fixed` stays, whatever is published."""
        for entry in self._inputs.values():
            name, infos = find_source(self._node, entry.topic, entry.stream)
            entry.publishers = len(infos)
            source = self._wanted(entry, name, infos)
            if source is None or source == entry.source:
                continue
            if entry.topic in fixed and source[:2] != entry.source[:2]:
                self._say(entry, f"{source.name} waits for the end of this episode")
                continue
            self._unsubscribe(entry)
            self._subscribe(entry, source)

    def close(self) -> None:
        """Unsubscribe."""
        for entry in self._inputs.values():
            self._unsubscribe(entry)
        self._inputs.clear()

    def _default(self, topic: str, kind: str, stream: Stream | None) -> Source:
        """What to subscribe to where nothing is published yet."""
        return Source(topic, kind, stream.reliability if stream is not None else "reliable")

    def _wanted(self, entry: Input, name: str, infos: list[TopicEndpointInfo]) -> Source | None:
        """How to subscribe to what is published; None to leave everything as it is."""
        if not infos:
            return None
        accepted = accepted_types(self._contract, entry.stream)
        kind = next((info.topic_type for info in infos if info.topic_type in accepted), "")
        if not kind:
            self._say(entry, f"{name} is published as {infos[0].topic_type}: not recorded")
            return None
        asked = entry.stream is not None and entry.stream.reliability == "best_effort"
        published = any(info.qos_profile.reliability == BEST_EFFORT for info in infos)
        if published and not asked:
            self._say(entry, f"{name} is published best effort: messages of it can be lost")
        return Source(name, kind, "best_effort" if asked or published else "reliable")

    def _unsubscribe(self, entry: Input) -> None:
        if entry.subscription is not None:
            self._node.destroy_subscription(entry.subscription)

    def _subscribe(self, entry: Input, source: Source) -> None:
        if entry.subscription is not None:
            words = f"{source.name}, {source.type}, {source.reliability.replace('_', ' ')}"
            self._node.get_logger().info(f"{entry.topic} is now recorded as {words}")
        profile = qos.reliable(DEPTH)
        if source.reliability == "best_effort":
            profile.reliability = BEST_EFFORT
        watch = Watch(
            lambda number: None if entry.numbered else self._on_lost(entry.topic, number),
            lambda policy: None,  # the next look at the graph mends it
        )
        entry.source = source
        entry.subscription, _ = subscribe_watched(
            self._node,
            message_type(source.type),
            source.name,
            partial(self._on_message, entry, source),
            profile,
            watch,
        )

    def _on_message(self, entry: Input, source: Source, data: bytes, info: dict[str, Any]) -> None:
        entry.heard_s = time.monotonic()
        if len(data) < SHORTEST:
            self._say(entry, f"{source.name}: a message without a header was left out")
            return
        sender = info.get("publisher_gid")
        sequence = info.get("publication_sequence_number")
        entry.numbered = bool(sender and sequence)
        self._on_arrival(
            Arrival(
                entry.topic,
                serialized_stamp_ns(data),
                self._now_ns(),
                data,
                source,
                sender["data"] if sender and sequence else b"",
                sequence or 0,
            )
        )

    def _say(self, entry: Input, warning: str) -> None:
        """Warn, once until something else is to be said."""
        if warning != entry.said:
            entry.said = warning
            self._node.get_logger().warning(warning)
