# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One episode being recorded: a bag that grows, and how each topic arrives."""

from __future__ import annotations

from pathlib import Path

from diwa.data.background_writer import BackgroundWriter
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord, Outcome
from diwa.data.episode_cadence import EpisodeCadence, describe_problems
from diwa_ros.arrivals import Arrival, Senders, Source


class Recording:
    """An open bag.

    Args:
        folder: where the bag goes.
        opening: what is known of the episode.
        started_ns: receive time at the start [ns].
        start_stamp_ns: messages with an older header stamp are left out.

    Attributes:
        opening: what was known at the start.
        cadence: how each topic arrives.
    """

    def __init__(
        self, folder: Path, opening: EpisodeRecord, started_ns: int = 0, start_stamp_ns: int = 0
    ) -> None:
        self.opening = opening
        self.cadence = EpisodeCadence(opening.contract)
        self._started_ns = self._ended_ns = started_ns
        self._start_stamp_ns = start_stamp_ns
        self._contract: Contract = opening.contract
        self._types = contract_topics(opening.contract)
        self._images = {s.topic for s in self._contract.observations.values() if s.kind == "image"}
        self._senders = {topic: Senders() for topic in self._types}
        self._sources: dict[str, Source] = {}
        self._clock_jumps: list[int] = []
        self._closed = False
        known = {topic: kind for topic, kind in self._types.items() if topic not in self._images}
        bag = BagWriter(folder / opening.id, opening.contract, topics=known, opening=opening)
        self.path = bag.path
        self._writer = BackgroundWriter(bag)

    @property
    def heard(self) -> list[str]:
        """Topics of the contract with a message; their source cannot change any more."""
        return [topic for topic, count in self.cadence.topics.items() if count.received]

    def write(self, arrival: Arrival) -> None:
        """Add a message; repetitions (the same stamp again) are left out.

        Raises:
            OSError: the bag cannot be written.
        """
        count = self.cadence.topics[arrival.topic]
        if arrival.sender:
            lost = self._senders[arrival.topic].see(arrival.sender, arrival.sequence)
            if lost:
                count.lost(lost)
        if arrival.stamp_ns < self._start_stamp_ns or arrival.stamp_ns == count.last_ns:
            return
        source = arrival.source or Source(arrival.topic, self._types[arrival.topic], "")
        if self._sources.get(arrival.topic) is not source:
            self._sources[arrival.topic] = source
            count.source, count.type, count.reliability = source
        self._writer.write(source.name, source.type, arrival.receive_ns, arrival.data)
        count.push(arrival.stamp_ns, arrival.receive_ns, len(arrival.data))

    def missing(self) -> list[str]:
        """Observation topics without a message yet."""
        topics = (stream.topic for stream in self._contract.observations.values())
        return [topic for topic in topics if not self.cadence.topics[topic].received]

    def reached(self, end_ns: int) -> bool:
        """Whether every topic has come to `end_ns`, the actions to one period before."""
        for topic, count in self.cadence.topics.items():
            is_action = topic == self._contract.action.topic
            due = end_ns - (self._contract.period_ns if is_action else 0)
            if due >= self._start_stamp_ns and (count.last_ns is None or count.last_ns < due):
                return False
        return True

    def clock_was_set(self, jump_ns: int) -> None:
        """Note that the system's clock was set."""
        self._clock_jumps.append(jump_ns)

    def check(self) -> None:
        """Raise the error that stopped the writing, if there was one."""
        self._writer.check()

    def duration_s(self, now_ns: int) -> float:
        """Receive time from the start to now, or to the end of a finished episode [s]."""
        return ((self._ended_ns if self._closed else now_ns) - self._started_ns) / 1e9

    def problems(self) -> tuple[str, ...]:
        """What is outside the contract's tolerance, or odd, so far."""
        found = list(describe_problems(self.cadence.records()))
        for topic, senders in self._senders.items():
            if senders.together > 1:
                found.append(f"{topic}: {senders.together} publishers at the same time")
        for jump_ns in self._clock_jumps:
            found.append(f"the system's clock was set by {jump_ns / 1e9:+.2f} s")
        return tuple(found)

    def finish(
        self, task: str, outcome: Outcome, reason: str, note: str = "", ended_ns: int = 0
    ) -> EpisodeRecord:
        """Complete the bag.

        Args:
            task: skill of a demonstration; empty: as it was opened.
            outcome: how it went.
            reason: why it ended.
            note: added to the one it was opened with.
            ended_ns: receive time [ns].

        Raises:
            OSError: the bag could not be completed; it is left for recovery.
        """
        self._closed, self._ended_ns = True, ended_ns
        counts = self.cadence.topics.values()
        first = [count.first_ns for count in counts if count.first_ns is not None]
        last = [count.last_ns for count in counts if count.last_ns is not None]
        task = task or self.opening.task
        fields = {
            "kind": "demo" if task else "play",
            "task": task,
            "outcome": outcome,
            "reason": reason,
            "note": "; ".join(text for text in (self.opening.note, note) if text),
            "started_ns": min(first, default=0),
            "ended_ns": max(last, default=0),
            "topics": self.cadence.records(),
            "problems": self.problems(),
        }
        record = self.opening.model_copy(update=fields)
        silent = {topic: self._types[topic] for topic in self._images - set(self.heard)}
        self._writer.close(record, silent)
        return record

    def discard(self) -> None:
        """Close the bag and delete it."""
        self._closed = True
        self._writer.discard()
