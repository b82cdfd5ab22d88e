# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Listens to a robot for a few seconds and says what does not fit the contract.

The recorder feeds it from its own subscriptions after activation; `diwa check-robot` subscribes.
What is right or wrong is decided in `diwa.data.robot_check`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.topic_endpoint_info import TopicEndpointInfo

from diwa.data.contract import Contract, Stream
from diwa.data.disk_check import check_disk
from diwa.data.episode_cadence import EpisodeCadence
from diwa.data.robot_check import (
    COMPRESSED,
    Row,
    Seen,
    accepted_types,
    check_clocks,
    check_topics,
)
from diwa_ros import qos
from diwa_ros.conversions import message_type, serialized_stamp_ns

LOOK_S = 0.25  # between two looks for publishers that were not there yet
DEPTH = 100
TRIAL_BYTES = 4_000_000
BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT


class Probe:
    """What is seen of the contract's topics.

    Args:
        node: whose view of the graph counts.
        contract: what should be there.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        self._node = node
        self._contract = contract
        self._cadence = EpisodeCadence(contract)
        self._samples: dict[str, bytes] = {}
        self.streams: dict[str, Stream | None] = dict.fromkeys(self._cadence.topics)
        self.streams.update({stream.topic: stream for stream in contract.observations.values()})

    @property
    def complete(self) -> bool:
        """Whether something has come from every topic."""
        return len(self._samples) == len(self.streams)

    def push(self, topic: str, receive_ns: int, data: bytes) -> None:
        """Take a serialised message of `topic`, as named in the contract."""
        self._cadence.push(topic, serialized_stamp_ns(data), receive_ns, len(data))
        self._samples.setdefault(topic, data)

    def rows(self) -> list[Row]:
        """What is right and wrong, by what was seen until now."""
        seen = self._seen()
        simulated = bool(self._node.get_publishers_info_by_topic("/clock"))
        return [*check_topics(self._contract, seen), *check_clocks(seen, simulated)]

    def _seen(self) -> Mapping[str, Seen]:
        records = {record.topic: record for record in self._cadence.records()}
        found = {}
        for topic, stream in self.streams.items():
            source, infos = find_source(self._node, topic, stream)
            types = tuple(sorted({info.topic_type for info in infos}))
            sample = self._samples.get(topic)
            known = len(types) == 1 and types[0] in accepted_types(self._contract, stream)
            found[topic] = Seen(
                source=source,
                types=types,
                publishers=tuple(_full_name(info) for info in infos),
                best_effort=any(info.qos_profile.reliability == BEST_EFFORT for info in infos),
                similar=() if infos else self._similar(topic, stream),
                record=records[topic],
                sample=deserialize_message(sample, message_type(types[0]))
                if known and sample is not None
                else None,
            )
        return found

    def _similar(self, topic: str, stream: Stream | None) -> tuple[str, ...]:
        """Published topics of the same type; those with a similar name first."""
        kind = self._contract.action.type if stream is None else stream.type
        names = [name for name, types in self._node.get_topic_names_and_types() if kind in types]
        close = difflib.get_close_matches(topic, names, n=3, cutoff=0.4)
        return tuple(dict.fromkeys([*close, *names]))[:3]


class ListeningProbe(Probe):
    """A probe with subscriptions of its own, made as publishers appear."""

    def __init__(self, node: Node, contract: Contract) -> None:
        super().__init__(node, contract)
        self._subscriptions: dict[str, Subscription] = {}
        self._timer: Timer = node.create_timer(LOOK_S, self._look)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)

    def _look(self) -> None:
        for topic, stream in self.streams.items():
            source, infos = find_source(self._node, topic, stream)
            if topic in self._subscriptions or len({info.topic_type for info in infos}) != 1:
                continue
            if infos[0].topic_type not in accepted_types(self._contract, stream):
                continue
            profile = qos.reliable(DEPTH)
            if any(info.qos_profile.reliability == BEST_EFFORT for info in infos):
                profile.reliability = BEST_EFFORT
            self._subscriptions[topic] = self._node.create_subscription(
                message_type(infos[0].topic_type),
                source,
                partial(self._on_message, topic),
                profile,
                raw=True,
            )

    def _on_message(self, topic: str, data: bytes) -> None:
        self.push(topic, self._node.get_clock().now().nanoseconds, data)


class Preflight:
    """A probe that the recorder feeds for a few seconds after its activation, and then reports.

    The disk is tried at once, with little, so that it does not get in the way of a recording.

    Args:
        node: the recorder.
        contract: what should be there.
        seconds: how long to listen.
        report: gets the rows, once.
        folder: of the bags; None: the disk is not looked at.
        min_free_bytes: space that has to stay free on it.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        seconds: float,
        report: Callable[[list[Row]], None],
        folder: Path | None = None,
        min_free_bytes: float = 0.0,
    ) -> None:
        self._disk: list[Row] = []
        if folder is not None:
            self._disk = check_disk(contract, folder, min_free_bytes, TRIAL_BYTES)
        self._node = node
        self._probe: Probe | None = Probe(node, contract)
        self._report = report
        self._timer: Timer | None = node.create_timer(seconds, self._finish)

    def push(self, topic: str, receive_ns: int, data: bytes) -> None:
        """Take a serialised message; nothing happens after the report."""
        if self._probe is not None:
            self._probe.push(topic, receive_ns, data)

    def cancel(self) -> None:
        """Report nothing."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._timer = self._probe = None

    def _finish(self) -> None:
        rows = self._probe.rows() if self._probe is not None else []
        self.cancel()
        self._report([*rows, *self._disk])


def find_source(
    node: Node, topic: str, stream: Stream | None
) -> tuple[str, list[TopicEndpointInfo]]:
    """Topic to record for `topic`, and its publishers; a compressed image replaces an image."""
    infos = node.get_publishers_info_by_topic(topic)
    if infos or stream is None or stream.kind != "image":
        return topic, infos
    compressed = f"{topic}/compressed"
    others = node.get_publishers_info_by_topic(compressed)
    others = [info for info in others if info.topic_type == COMPRESSED]
    return (compressed, others) if others else (topic, infos)


def row_text(row: Row) -> str:
    """A row as one line of a log."""
    return f"{row.subject}: {row.found}" + (f" ({row.todo})" if row.todo else "")


def _full_name(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
