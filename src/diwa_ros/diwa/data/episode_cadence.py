# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How the topics of an episode arrive together, and what is outside the contract's tolerance."""

from __future__ import annotations

from collections.abc import Iterable

from diwa.data.cadence import GAP_PERIODS, SECOND_NS, TopicCadence, TopicRecord
from diwa.data.contract import Cadence, Contract

OTHER_CLOCK_NS = 600 * SECOND_NS  # topics that are further apart do not share a clock


class EpisodeCadence:
    """How all topics of a contract arrive during one episode.

    Attributes:
        topics: by name in the contract.
    """

    def __init__(self, contract: Contract) -> None:
        self._limits = contract.cadence
        self.topics = {
            topic: TopicCadence(topic, rate_hz)
            for topic, rate_hz in expected_rates(contract).items()
        }

    @property
    def messages(self) -> int:
        """Messages of all topics."""
        return sum(topic.received for topic in self.topics.values())

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(topic.bytes for topic in self.topics.values())

    def push(self, topic: str, stamp_ns: int, receive_ns: int, size: int) -> None:
        """Count a message; see `TopicCadence.push`."""
        self.topics[topic].push(stamp_ns, receive_ns, size)

    def records(self) -> tuple[TopicRecord, ...]:
        """One per topic, each with what is wrong with it so far."""
        ends = self._ends()
        records = []
        for topic in self.topics.values():
            record = topic.record()
            found = [*shortfall(record, self._limits), *self._cut_short(topic, ends)]
            records.append(record.model_copy(update={"problem": "; ".join(found)}))
        return tuple(records)

    def _ends(self) -> tuple[float, float, float]:
        """Usual first stamp, first and last stamp of the episode [ns]; of topics in one clock."""
        seen = [topic for topic in self.topics.values() if topic.first_ns is not None]
        firsts = sorted(topic.first_ns or 0 for topic in seen)
        usual = firsts[(len(firsts) - 1) // 2] if firsts else 0
        same = [topic for topic in seen if abs((topic.first_ns or 0) - usual) < OTHER_CLOCK_NS]
        first = min((topic.first_ns or 0 for topic in same), default=0)
        return usual, first, max((topic.last_ns or 0 for topic in same), default=0)

    def _cut_short(self, topic: TopicCadence, ends: tuple[float, float, float]) -> list[str]:
        """Whether a topic begins late, ends early or has another clock than the others."""
        if topic.first_ns is None or topic.last_ns is None:
            return []
        usual, first, last = ends
        if abs(topic.first_ns - usual) >= OTHER_CLOCK_NS:
            return [f"its stamps are {(topic.first_ns - usual) / SECOND_NS:+.0f} s off the others'"]
        if not topic.expected_hz:
            return []
        allowed = self._limits.max_gap_s + 1 / topic.expected_hz + self._spread_s()
        late, early = (topic.first_ns - first) / SECOND_NS, (last - topic.last_ns) / SECOND_NS
        found = [f"it begins {late:.2f} s after the first topic"] if late > allowed else []
        return found + ([f"it ends {early:.2f} s before the last topic"] if early > allowed else [])

    def _spread_s(self) -> float:
        """How much longer one topic is on its way than another; cuts at a receive time show it."""
        delays = [topic.delay_s for topic in self.topics.values() if topic.received]
        return min(max(delays) - min(delays), 1.0) if delays else 0.0


def expected_rates(contract: Contract) -> dict[str, float]:
    """Rate [Hz] of every topic; 0 where the latest message holds and no rate is given."""
    rates = {
        stream.topic: stream.rate_hz or (0.0 if stream.alignment == "hold" else contract.rate_hz)
        for stream in contract.observations.values()
    }
    if contract.action.topic:
        rates[contract.action.topic] = contract.rate_hz
    return rates


def describe_problems(records: Iterable[TopicRecord]) -> tuple[str, ...]:
    """What is wrong, as "topic: problem"."""
    return tuple(f"{record.topic}: {record.problem}" for record in records if record.problem)


def shortfall(record: TopicRecord, limits: Cadence) -> list[str]:
    """What of one topic, by itself, is outside the tolerance; one phrase each."""
    if not record.received:
        return ["nothing arrived"]
    found = []
    if record.loss > limits.max_loss:
        found.append(
            f"{record.loss:.1%} short ({record.rate_hz:.4g} of {record.expected_hz:.4g} Hz, "
            f"{record.missing} missing in {record.gaps} gap{'s' * (record.gaps != 1)}, "
            f"{record.lost} lost on the way)"
        )
    if record.expected_hz and record.worst_gap_s > max(
        limits.max_gap_s, GAP_PERIODS / record.expected_hz
    ):
        found.append(f"a gap of {record.worst_gap_s:.2f} s")
    if record.disordered > limits.max_loss * record.received:
        found.append(f"{record.disordered} messages out of order: is there a second publisher?")
    if record.jumps:
        found.append(
            f"the clock of its stamps was set {record.jumps} time{'s' * (record.jumps != 1)}"
        )
    return found
