# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One episode being recorded: a bag that grows, and how each topic arrives.

A bag folder is an episode once it has an `episode.json`, which is written last. So a reader never
takes half an episode for a whole one, whatever happens to the recorder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diwa.data.bags import BagWriter, contract_topics
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord, Outcome

REMEMBERED = 4  # messages per topic, for an episode that starts at an earlier stamp
GAP_PERIODS = 2.0  # a longer time between two stamps of a topic is a gap


class Arrival(NamedTuple):
    """A message as it came in."""

    topic: str
    stamp_ns: int  # header stamp
    receive_ns: int
    data: bytes  # CDR


class Arrivals:
    """The last few messages of every topic."""

    def __init__(self) -> None:
        self._by_topic: dict[str, deque[Arrival]] = {}

    def add(self, arrival: Arrival) -> None:
        """Remember a message."""
        self._by_topic.setdefault(arrival.topic, deque(maxlen=REMEMBERED)).append(arrival)

    def latest(self) -> list[Arrival]:
        """What is remembered, in the order in which it came."""
        arrivals = [arrival for queue in self._by_topic.values() for arrival in queue]
        return sorted(arrivals, key=lambda arrival: arrival.receive_ns)

    def clear(self) -> None:
        """Forget everything."""
        self._by_topic.clear()


class TopicCount:
    """How one topic arrived during an episode."""

    def __init__(self, topic: str, period_ns: int) -> None:
        self.topic = topic
        self.received = 0
        self.size = 0  # [B]
        self.gaps = 0
        self.worst_gap_ns = 0
        self.first_ns: int | None = None  # header stamps
        self.last_ns: int | None = None
        self._limit_ns = GAP_PERIODS * period_ns

    def count(self, stamp_ns: int, size: int) -> None:
        """Count one message."""
        self.received += 1
        self.size += size
        if self.last_ns is None:
            self.first_ns = stamp_ns
        else:
            gap = stamp_ns - self.last_ns
            self.worst_gap_ns = max(self.worst_gap_ns, gap)
            self.gaps += gap > self._limit_ns
        self.last_ns = stamp_ns


class Recording:
    """An open bag.

    Args:
        folder: where the finished bag goes.
        episode_id: name of the bag.
        contract: what is recorded; kept with the bag.
        task: skill of a demonstration; empty for play.
        note: free text.
        started_ns: receive time at the start [ns].
        start_stamp_ns: messages with an older header stamp are left out.
    """

    def __init__(
        self,
        folder: Path,
        episode_id: str,
        contract: Contract,
        *,
        task: str = "",
        note: str = "",
        started_ns: int = 0,
        start_stamp_ns: int = 0,
    ) -> None:
        self.episode_id = episode_id
        self.task = task
        self.started_ns = started_ns
        self._last_receive_ns = started_ns
        self._closed = False
        self._note = note
        self._contract = contract
        self._start_stamp_ns = start_stamp_ns
        topics = contract_topics(contract)
        self.counts = {topic: TopicCount(topic, contract.period_ns) for topic in topics}
        self._writer = BagWriter(folder / episode_id, contract)

    @property
    def messages(self) -> int:
        """Messages written."""
        return sum(count.received for count in self.counts.values())

    def write(self, arrival: Arrival) -> None:
        """Add a message; repetitions (the same stamp again) are left out."""
        count = self.counts[arrival.topic]
        if arrival.stamp_ns < self._start_stamp_ns or arrival.stamp_ns == count.last_ns:
            return
        self._writer.write(arrival.topic, arrival.receive_ns, arrival.data)
        self._last_receive_ns = arrival.receive_ns
        count.count(arrival.stamp_ns, len(arrival.data))

    def missing(self) -> list[str]:
        """Observation topics without a message yet, in an episode with a start stamp."""
        if not self._start_stamp_ns:
            return []
        topics = (stream.topic for stream in self._contract.observations.values())
        return [topic for topic in topics if not self.counts[topic].received]

    def reached(self, end_ns: int) -> bool:
        """Whether every topic has come to `end_ns`, the actions to one period before."""
        for topic, count in self.counts.items():
            is_action = topic == self._contract.action.topic
            due = end_ns - (self._contract.period_ns if is_action else 0)
            if due >= self._start_stamp_ns and (count.last_ns is None or count.last_ns < due):
                return False
        return True

    def duration_s(self, now_ns: int) -> float:
        """Receive time from the start to now, or to the end of a finished episode [s]."""
        return ((self._last_receive_ns if self._closed else now_ns) - self.started_ns) / 1e9

    def finish(self, task: str, outcome: Outcome, reason: str) -> Path:
        """Complete the bag; returns its folder."""
        self._closed = True
        first = [count.first_ns for count in self.counts.values() if count.first_ns is not None]
        last = [count.last_ns for count in self.counts.values() if count.last_ns is not None]
        task = task or self.task
        record = EpisodeRecord(
            id=self.episode_id,
            kind="demo" if task else "play",
            task=task,
            outcome=outcome,
            reason=reason,
            note=self._note,
            contract=self._contract,
            started_ns=min(first, default=0),
            ended_ns=max(last, default=0),
        )
        self._writer.close(record)
        return self._writer.path

    def discard(self) -> None:
        """Close the bag and delete it."""
        self._closed = True
        self._writer.discard()


def next_episode_id(folder: Path, prefix: str) -> str:
    """`prefix_NNNN` with the number after the highest one in `folder`."""
    taken = [_number(path.name, prefix) for path in _folders(folder)]
    return f"{prefix}_{max(taken, default=-1) + 1:04d}"


def _folders(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _number(name: str, prefix: str) -> int:
    text = name.removeprefix(f"{prefix}_")
    return int(text) if text != name and text.isdecimal() else -1
