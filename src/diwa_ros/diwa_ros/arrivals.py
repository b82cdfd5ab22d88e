# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Messages as they come in at the recorder."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

REMEMBERED = 4  # messages per topic, for an episode that starts at an earlier stamp
ALTERNATIONS = 2  # times that a publisher follows another one; once is a restart


class Source(NamedTuple):
    """What is really subscribed to for a topic of the contract."""

    name: str
    type: str
    reliability: str  # "reliable" or "best_effort"


class Arrival(NamedTuple):
    """A message as it came in."""

    topic: str  # of the contract
    stamp_ns: int  # header stamp
    receive_ns: int
    data: bytes  # CDR
    source: Source | None = None  # None: the contract's own
    sender: bytes = b""  # publisher; empty where the middleware does not say
    sequence: int = 0  # number that the publisher gave it


class Arrivals:
    """The last few messages of every topic."""

    def __init__(self) -> None:
        self._by_topic: dict[str, deque[Arrival]] = {}

    def add(self, arrival: Arrival) -> None:
        """Remember a message, and forget those of another source of its topic."""
        queue = self._by_topic.setdefault(arrival.topic, deque(maxlen=REMEMBERED))
        if queue and queue[-1].source != arrival.source:
            queue.clear()
        queue.append(arrival)

    def latest(self) -> list[Arrival]:
        """What is remembered, in the order in which it came."""
        arrivals = [arrival for queue in self._by_topic.values() for arrival in queue]
        return sorted(arrivals, key=lambda arrival: arrival.receive_ns)

    def clear(self) -> None:
        """Forget everything."""
        self._by_topic.clear()


class Senders:
    """Who publishes one topic, and what of it was lost on the way."""

    def __init__(self) -> None:
        self._sequences: dict[bytes, int] = {}
        self._latest = b""
        self._alternations: Counter[bytes] = Counter()

    def see(self, sender: bytes, sequence: int) -> int:
        """Note a message; returns how many of its publisher's are missing before it."""
        if self._latest and sender != self._latest:
            self._alternations[sender] += 1
        self._latest = sender
        before = self._sequences.get(sender)
        if before is None or sequence > before:
            self._sequences[sender] = sequence
        return max(sequence - before - 1, 0) if before is not None else 0

    @property
    def together(self) -> int:
        """How many publish at the same time, by turns; one that replaces another is no second."""
        return sum(count >= ALTERNATIONS for count in self._alternations.values())
